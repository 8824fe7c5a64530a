"""Fine-tuning MiniLM on R8: the built-in task against transformers' Trainer, examples a second, in the same image.

Both sides: the same first documents of R8, one epoch, batches of 32, 128 tokens, fp32, two threads, the manifest's
environment, AdamW, the same learning rate falling in a line. They differ in two things, and a third measurement has
the first one only: the task batches documents of similar length, and the manifest turns dropout off.

`python -m bench.training accuracy SEED…` trains both on more documents and prints what each is right about.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.common import Figure, SkipBenchmark, median
from repro_tui import wire
from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.mirrors import mirrors_from
from repro_tui.artifacts.store import Store, default_store_path
from repro_tui.engines.embedded import EmbeddedEngine, run_in_root
from repro_tui.errors import ReproError
from repro_tui.images.assemble import assemble
from repro_tui.images.recipe import find_lock, find_recipe
from repro_tui.manifest import loading, pins
from repro_tui.manifest.code import builtin_code_files

_HERE = Path(__file__).parent
MANIFEST = _HERE.parent / "manifests" / "reuters-r8-minilm.toml"
BATCH_SIZE = 32
LEARNING_RATE = 2e-4
_ROUNDS = 3
_TRAIN, _TEST = 320, 64
_ACCURACY_TRAIN, _ACCURACY_TEST = 1600, 1000


@dataclass(frozen=True, slots=True)
class Side:
    """One way to train; `settings` are the task's hyperparameters or what the Trainer is asked for."""

    name: str
    script: str
    settings: dict[str, Any]


OURS = Side("the task", "task", {"dropout": 0.0})
OURS_DROPOUT = Side("the task with the checkpoint's dropout", "task", {"dropout": None})
FIXED = Side("Trainer, padding to 128", "trainer", {"padding": "max_length", "dropout": {}})
DYNAMIC = Side("Trainer, padding to the longest", "trainer", {"padding": False, "dropout": {}})


@dataclass(frozen=True, slots=True)
class Measured:
    """What one training came to."""

    examples_per_s: float
    """From the beginning of training to the end of its last step; nothing before and after it counts."""
    cpu_s: float
    """Processor time of both threads an example, which other load on the machine stretches less."""
    accuracy: float
    """On the test documents that were asked for, a fraction."""


def measure() -> list[Figure]:
    """Alternate the four trainings, and compare the medians of their examples a second."""
    sides = (OURS, OURS_DROPOUT, FIXED, DYNAMIC)
    found: dict[str, list[Measured]] = {side.name: [] for side in sides}
    with workplace() as place:
        for _ in range(_ROUNDS):
            for side in sides:
                found[side.name].append(place.run(side, seed=1, train=_TRAIN, test=_TEST))
    for name, runs in found.items():
        rates = [run.examples_per_s for run in runs]
        print(
            f"      {name}: {median(rates):.1f} examples/s ({min(rates):.1f} to {max(rates):.1f}), "
            f"{median([run.cpu_s for run in runs]) * 1e3:.0f} ms of processor time an example"
        )
    return [
        _ratio(OURS, FIXED, found, least=1.7),
        _ratio(OURS, DYNAMIC, found, least=1.5),
        _ratio(OURS_DROPOUT, FIXED, found, least=1.2),
    ]


def _ratio(ours: Side, theirs: Side, found: dict[str, list[Measured]], *, least: float) -> Figure:
    """Return how long a side takes for an example in terms of another: the figure that must stay below 1 / least."""
    mine, other = found[ours.name], found[theirs.name]
    times = median([run.examples_per_s for run in mine]) / median([run.examples_per_s for run in other])
    processor = median([run.cpu_s for run in other]) / median([run.cpu_s for run in mine])
    return Figure(
        name=f"seconds an example, {ours.name} / {theirs.name}",
        value=1 / times,
        limit=1 / least,
        unit="times",
        detail=f"{times:.2f} times as fast, at least {least:g}; {processor:.2f} times in processor time; "
        f"{_ROUNDS} rounds in turns, {_TRAIN} documents each",
    )


class Workplace:
    """The image, the artifacts and a scratch folder in which trainings run one after the other."""

    def __init__(self, folder: Path) -> None:
        answer = EmbeddedEngine().availability()
        if not answer.ok:
            raise SkipBenchmark(f"no embedded engine: {answer.reason}")
        self._folder = folder
        self._loaded = loading.load(MANIFEST)
        store = Store(default_store_path())
        fetcher = Fetcher(store, mirrors_from([]), base=MANIFEST.parent)
        image = find_recipe("torch-cpu"), find_lock("torch-cpu")
        try:
            self._root = assemble(*image, store=store, fetcher=fetcher, run_in_root=run_in_root).root
            artifacts = [(fetcher.artifact(each), f"/inputs/{each.path}") for each in self._loaded.manifest.artifacts]
        except ReproError as error:
            raise SkipBenchmark(error.message) from None
        self._inputs = [(path, target, True) for path, target in artifacts]
        code = folder / "code"
        for relative, source in builtin_code_files("text_classification").items():
            (code / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, code / relative)
        shutil.copyfile(_HERE / "sides.py", code / "sides.py")

    def run(self, side: Side, *, seed: int, train: int, test: int) -> Measured:
        """Train once on the first `train` documents and evaluate on the first `test` ones."""
        job, out = self._folder / "job", self._folder / "out"
        for folder in (job, out):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        environment = pins.container_environment(self._loaded)
        if side.script == "task":
            (job / "job.json").write_text(json.dumps(self._job(side, seed=seed, train=train, test=test)))
        else:
            asked = {**side.settings, "seed": seed, "train": train, "test": test, "learning_rate": LEARNING_RATE}
            environment["SIDES"] = json.dumps(asked)
        log = self._folder / "log"
        code = run_in_root(
            self._root,
            ["python3", "/code/sides.py", side.script],
            environment=environment,
            mounts=[*self._inputs, (self._folder / "code", "/code", True), (job, "/job", True), (out, "/out", False)],
            log=log,
        )
        if code != 0:
            raise SkipBenchmark(f"{side.name}: {log.read_text(errors='replace').strip()[-300:]}")
        events = [wire.decode(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        began = next(event for event in events if event["event"] == "phase")
        ended = [event for event in events if event["event"] == "step"][-1]
        accuracy = next(event["value"] for event in events if event.get("name") == "accuracy")
        return Measured(train / (ended["at"] - began["at"]), (ended["cpu"] - began["cpu"]) / train, accuracy)

    def _job(self, side: Side, *, seed: int, train: int, test: int) -> dict[str, Any]:
        """Return the manifest's job, with the settings that the two sides share."""
        job = pins.job(self._loaded)
        job |= {"seed": seed, "data_seed": seed}
        splits = {name: job["splits"][name] for name in ("train", "test")}
        for name, first in (("train", train), ("test", test)):
            splits[name] = {**splits[name], "first": first, "examples": None, "classes": None}
        shared = {
            "learning_rate": LEARNING_RATE, "epochs": 1, "train_batch_size": BATCH_SIZE, "max_length": 128,
            "weight_decay": 0.0, "schedule": "linear", "warmup_ratio": 0.0, "max_grad_norm": 1.0, "precision": "fp32",
        }  # fmt: skip
        return {**job, "splits": splits, "hyperparameters": {**job["hyperparameters"], **shared, **side.settings}}


@contextmanager
def workplace() -> Iterator[Workplace]:
    """Give a workplace whose scratch folder goes away at the end."""
    with tempfile.TemporaryDirectory(prefix="repro-tui-bench-", ignore_cleanup_errors=True) as name:
        yield Workplace(Path(name))


def accuracies(seeds: Sequence[int]) -> None:
    """Print the accuracy of the task and of the Trainer for each seed, and mean and deviation over them."""
    sides = (OURS, OURS_DROPOUT, DYNAMIC)
    found: dict[str, list[float]] = {side.name: [] for side in sides}
    with workplace() as place:
        for seed in seeds:
            for side in sides:
                done = place.run(side, seed=seed, train=_ACCURACY_TRAIN, test=_ACCURACY_TEST)
                found[side.name].append(done.accuracy)
                rate = f"{done.examples_per_s:.1f} examples/s"
                print(f"seed {seed}  {side.name}: {done.accuracy:.4f}, {rate}", flush=True)
    for name, values in found.items():
        deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
        print(f"{name}: mean {statistics.mean(values):.4f}, standard deviation {deviation:.4f}, {len(values)} seeds")


if __name__ == "__main__":
    if sys.argv[1:2] != ["accuracy"]:
        sys.exit("python -m bench.training accuracy SEED…; the speed is `python -m bench training`")
    accuracies([int(word) for word in sys.argv[2:]] or [1, 2, 3])
