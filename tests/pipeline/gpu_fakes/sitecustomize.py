"""Put first on the worker's PYTHONPATH: the engine of tests/cli/fakes, on a host with made-up GPUs.

$REPRO_TEST_GPUS is JSON: "host" the folder of a host as tests/engines/gpus/gpu_lab.py makes it, "capability" what the
engine says of GPUs, "seen" what the GPU probe writes, "lost" a file whose being there means that NVML lost GPU 0.
"""

import json
import os
import sys
from pathlib import Path

_CLI = Path(__file__).parents[2] / "cli/fakes/sitecustomize.py"
exec(compile(_CLI.read_text(encoding="utf-8"), str(_CLI), "exec"), globals())

if "repro_tui.pipeline.worker" in sys.orig_argv:
    import functools
    from collections.abc import Mapping
    from typing import Any

    from repro_tui.engines import choose, fake
    from repro_tui.engines.gpus.discover import discover
    from repro_tui.engines.gpus.model import Ground
    from repro_tui.engines.gpus.samples import Watch
    from repro_tui.pipeline import gpus, supervise
    from repro_tui.pipeline.stages import resolve
    from tests.engines.gpus.gpu_lab import FakeNvml, gpu

    GPUS = json.loads(os.environ["REPRO_TEST_GPUS"])

    class Losing(FakeNvml):
        """NVML that loses GPU 0 when a file appears."""

        def nvmlDeviceGetHandleByUUID(self, uuid: str) -> dict[str, Any]:  # noqa: N802
            self.gpus[0]["lost"] = Path(GPUS.get("lost", "/nonexistent")).exists()
            return super().nvmlDeviceGetHandleByUUID(uuid)

    GROUND = Ground(Path(GPUS["host"]), nvml=lambda: Losing([gpu(0), gpu(1)]), ask=lambda command: None, variables={})

    class GpuEngine(fake.FakeEngine):
        """The fake engine, with something to say of GPUs; it notes which it was asked for."""

        def capabilities(self) -> Mapping[str, str]:
            return {**super().capabilities(), "gpus": GPUS["capability"]}

        def start(self, image: Any, spec: Any) -> Any:
            with Path(GPUS["host"], "asked").open("a") as file:
                asked = None if spec.gpus is None else list(spec.gpus.ids)
                file.write(json.dumps([spec.name.rpartition("-")[2], asked]) + "\n")
            return super().start(image, spec)

    def look(container: fake.FakeContainer) -> int:
        (container.path("/out") / "gpus.json").write_text(json.dumps(GPUS["seen"]))
        return 0

    make = choose.ENGINES["fake"]

    def engine() -> GpuEngine:
        made = make()
        assert isinstance(made, fake.FakeEngine)
        return GpuEngine({**made.behaviours, "-gpus": look})

    choose.ENGINES["fake"] = engine
    found = functools.partial(discover, GROUND)
    setattr(resolve, "discover", found)  # noqa: B010 - a function is not assigned to, says mypy
    setattr(gpus, "discover", found)  # noqa: B010
    setattr(supervise, "Watch", functools.partial(Watch, ground=GROUND, interval_s=0.05))  # noqa: B010
