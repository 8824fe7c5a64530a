"""Put first on the worker's PYTHONPATH: an engine without containers, and an image without assembly.

$REPRO_TEST_FAKE is JSON: "environment" what the probe finds (null: there is no Python), "train" how the container ends
("" a host process, "oom", "lost", "hang"), "slow" seconds that a stage takes besides, by its name, "killed" a stage in which the worker kills
itself (once: the file "once" says that it has), "full" a stage in which no space is left.
"""

import json
import os
import sys

if "repro_tui" in sys.orig_argv and {"run", "--run", "record"} & set(sys.orig_argv):
    from repro_tui.engines import choose

    choose.ENGINES["fake"] = choose.ENGINES["embedded"]

if "repro_tui.pipeline.worker" in sys.orig_argv:
    import errno
    import hashlib
    import signal
    import time
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any
    from unittest import mock

    from repro_tui.artifacts.store import Store
    from repro_tui.engines import choose, fake
    from repro_tui.engines.base import Progress
    from repro_tui.images.model import Image, Layer
    from repro_tui.images.recipe import Recipe
    from repro_tui.pipeline import runner
    from repro_tui.pipeline.context import Context, StageResult

    WISH = json.loads(os.environ["REPRO_TEST_FAKE"])
    BEHAVIOURS: dict[str, fake.Behaviour] = {
        "": fake.host_process,
        "oom": fake.out_of_memory,
        "lost": fake.lost,
        "hang": fake.hang,
    }

    def assembled(recipe: Recipe, lock: Path, *, store: Store, progress: Progress, **_: Any) -> Image:
        text = Path(lock).read_bytes()
        folder = store.folder("images", hashlib.sha256(text).hexdigest())
        if not folder.exists():
            for step in range(11):
                progress(step * 1000, 10_000, "unpacking")
            with store.scratch() as scratch:
                (scratch / "new" / "layout").mkdir(parents=True)
                (scratch / "new" / "inventory.jsonl").touch()
                folder = store.publish(scratch / "new", "images", hashlib.sha256(text).hexdigest())
        digest = "sha256:" + hashlib.sha256(text).hexdigest()
        layers = (Layer(digest, 10_000, "base"),)
        return Image(
            "fake", "linux/amd64", digest, digest, layers, folder / "layout", folder, folder / "inventory.jsonl"
        )

    def probe(container: fake.FakeContainer) -> int:
        out = container.path("/out")
        if WISH["environment"] is None:
            return 127
        (out / "environment.json").write_text(json.dumps(WISH["environment"]))
        (out / "files.jsonl").write_text("")
        return 0

    def slowed(stage: str, run: Callable[[Context], StageResult]) -> Callable[[Context], StageResult]:
        def slower(context: Context) -> StageResult:
            time.sleep(WISH.get("slow", {}).get(stage, 0))
            once = Path(WISH.get("once", "/nonexistent"))
            if WISH.get("killed") == stage and not once.exists():
                once.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if WISH.get("full") == stage:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(context.run.path))
            return run(context)

        return slower

    behaviours: dict[str, fake.Behaviour] = {"environment": probe, "train": BEHAVIOURS[WISH.get("train", "")]}
    choose.ENGINES["fake"] = lambda: fake.FakeEngine(behaviours)
    mock.patch("repro_tui.pipeline.stages.image.assemble", assembled).start()
    runner._RUN = {stage: slowed(stage, run) for stage, run in runner._RUN.items()}
