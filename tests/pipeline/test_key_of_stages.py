"""The key under which a stage is kept: everything that its outputs depend on is in it, and nothing else."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from repro_tui.artifacts.store import Store
from repro_tui.images.model import Image
from repro_tui.manifest.loading import load
from repro_tui.pipeline.context import Context
from repro_tui.pipeline.handed_on import HandedOn, key_of
from repro_tui.pipeline.interrupt import Interrupt
from repro_tui.pipeline.plan import Options
from repro_tui.pipeline.reserve import Reserve
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.journal import Journal
from tests.cli.project import ENVIRONMENT, Project

PREPARE = """\
[[stage]]
name = "prepare"

[stage.task]
name = "data_preparation"
code_sha256 = "{pinned}"

[stage.splits.train]
artifact = "texts"
format = "tsv"
clean = ["nfc", "strip"]

[stage.splits.test]
part_of = "train"
fraction = 0.25
seed = 1

[stage.hyperparameters]
shared = "keep"

"""
VOCABULARY = """\
[[stage]]
name = "vocabulary"

[stage.task]
command = ["python3", "words.py"]
code = "code"

"""
SPLITS = {
    name: f'[stage.splits.{name}]\nstage = "prepare"\nfile = "{name}.jsonl"\nformat = "jsonl"\n\n'
    for name in ("train", "test")
}
TRAIN = """\
[[stage]]
name = "train"
needs = ["prepare", "vocabulary"]

[stage.task]
command = ["python3", "train.py", "--rate", "{rate}"]
code = "code"

{splits}[stage.hyperparameters]
rate = 0.1
layers = 2

"""
ARTIFACTS = """\
[[artifacts]]
name = "texts"
kind = "data"
path = "texts.tsv"
sha256 = "1111111111111111111111111111111111111111111111111111111111111111"
bytes = 10
sources = [{ type = "local", path = "texts.tsv" }]

[[artifacts]]
name = "start"
kind = "weights"
path = "start"
tree_sha256 = "2222222222222222222222222222222222222222222222222222222222222222"
bytes = 20
sources = [{ type = "local", path = "start" }]

"""
PINNED = "3" * 64
NUMBERS = '[[artifacts]]\nname = "numbers"'
NUMBERS_PATH = 'path = "data/numbers.txt"'


@dataclass
class Facts:
    """Everything that a key could be made from, for a test to change one thing of."""

    folder: Path
    text: str
    options: Options
    summary: dict[str, Any]
    image: Image
    trees: dict[str, str]
    run: str = "tiny-20250101T000000Z-0001"
    task_code: dict[str, Path] = field(default_factory=dict)

    def replace(self, old: str, new: str) -> None:
        """Change the manifest."""
        assert self.text.count(old) == 1, f"{old!r} is there {self.text.count(old)} times"
        self.text = self.text.replace(old, new)

    def keys(self) -> list[str]:
        """Return the keys of the stages, in a run of all this."""
        manifest = self.folder / "tiny.toml"
        manifest.write_text(self.text)
        run = RunDirectory(self.folder / self.run)
        run.path.mkdir(exist_ok=True)
        with Journal(run.path / "events.jsonl") as journal:
            context = Context(
                run=run, options=self.options, journal=journal, store=Store(self.folder / "store"),
                interrupt=Interrupt(lambda: None, lambda: None), reserve=Reserve(run.path / "reserve"),
            )  # fmt: skip
            context.loaded = dataclasses.replace(load(manifest), task_code=self.task_code)
            context.image, context.summary = self.image, self.summary
            context.handed_on = {name: HandedOn(self.folder / name, tree) for name, tree in self.trees.items()}
            return [key_of(context, stage) for stage in context.loaded.manifest.every_stage]


@pytest.fixture
def facts(tmp_path: Path) -> Facts:
    project = Project(tmp_path)
    project.write()
    text = project.manifest.read_text()
    begin, end = text.index("[task]"), text.index("[determinism]")
    text = (
        text[:begin]
        + PREPARE.replace("{pinned}", PINNED)
        + VOCABULARY
        + TRAIN.replace("{splits}", "".join(SPLITS.values()))
        + text[end:]
    )
    text = text.replace(NUMBERS, ARTIFACTS + NUMBERS)
    for name in ("accuracy", "weights"):
        text = text.replace(f'name = "{name}"\n', f'name = "{name}"\nstage = "train"\n')
    return Facts(
        tmp_path, text, Options(manifest=str(project.manifest), experiment="tiny", title="Tiny"),
        {**copy.deepcopy(ENVIRONMENT), "host": {"cpu_vendor": "Acme", "gpus": ["H100"], "cores": 2, "kernel": "6.1"}},
        Image("tiny", "linux/amd64", "sha256:" + "a" * 64, "sha256:" + "b" * 64, (), tmp_path, tmp_path, tmp_path),
        {"prepare": "4" * 64, "vocabulary": "5" * 64},
        task_code={PINNED: tmp_path / "code"},
    )  # fmt: skip


@pytest.fixture
def before(facts: Facts) -> list[str]:
    """Return the keys as long as nothing was changed."""
    return facts.keys()


Change = Callable[[Facts], object]


def manifest(old: str, new: str) -> Change:
    """Return a change of the manifest."""
    return lambda facts: facts.replace(old, new)


def image(**changed: Any) -> Change:
    """Return another image."""

    def make(facts: Facts) -> None:
        facts.image = dataclasses.replace(facts.image, **changed)

    return make


def environment(key: str, value: object) -> Change:
    """Return another environment, as the probe finds it."""
    return lambda facts: facts.summary.update({key: value})


def host(key: str, value: object) -> Change:
    """Return another host, as the probe finds it."""
    return lambda facts: facts.summary["host"].update({key: value})


def options(**changed: Any) -> Change:
    """Return another command line."""

    def make(facts: Facts) -> None:
        facts.options = dataclasses.replace(facts.options, **changed)

    return make


def other_code(facts: Facts) -> None:
    facts.replace(PINNED, "6" * 64)
    facts.task_code = {"6" * 64: facts.folder / "code"}


def code_artifact(facts: Facts) -> None:
    begin = facts.text.index('tree_sha256 = "', facts.text.index('kind = "code"'))
    facts.text = facts.text[:begin] + f'tree_sha256 = "{"7" * 64}"' + facts.text[begin + len('tree_sha256 = ""') + 64 :]


def renamed(old: str, new: str) -> Change:
    """Return another name for a stage or an artifact."""

    def make(facts: Facts) -> None:
        facts.text, count = re.subn(rf'((?:name|stage) = |needs = \[)"{old}"', rf'\g<1>"{new}"', facts.text)
        assert count
        if old in facts.trees:
            facts.trees[new] = facts.trees.pop(old)

    return make


def another_run(facts: Facts) -> None:
    facts.run = "tiny-20260202T020202Z-ffff"


def reordered(facts: Facts) -> None:
    """Write all there is in another order."""
    prepare = PREPARE.replace("{pinned}", PINNED)
    facts.replace(ARTIFACTS, "")
    facts.replace("[determinism]", f"{ARTIFACTS}[determinism]")
    facts.replace(prepare + VOCABULARY, VOCABULARY + prepare)
    facts.replace('needs = ["prepare", "vocabulary"]', 'needs = ["vocabulary", "prepare"]')
    facts.replace("rate = 0.1\nlayers = 2\n", "layers = 2\nrate = 0.1\n")
    facts.replace(SPLITS["train"] + SPLITS["test"], SPLITS["test"] + SPLITS["train"])
    facts.summary = backwards(facts.summary)
    facts.trees = backwards(facts.trees)


def backwards(value: Any) -> Any:
    """Return the same JSON value with the keys of its objects from the last to the first."""
    if isinstance(value, dict):
        return {key: backwards(item) for key, item in reversed(value.items())}
    return value


SEEN_BY_ALL: dict[str, Change] = {
    "image digest": image(manifest_digest="sha256:" + "c" * 64),
    "environment: Python": environment("python", {"version": "3.11.3"}),
    "environment: variables": environment("variables", {"OMP_NUM_THREADS": "2"}),
    "environment: libraries": environment("libraries", {"threads": 2, "cpu_capability": "default"}),
    "environment: base": environment("base", {"bash": {"version": "5.2", "sha256": "f" * 64}}),
    "environment: distributions": environment("distributions", {}),
    "environment: other files": environment("other", "f" * 64),
    "CPU vendor": host("cpu_vendor", "Other"),
    "GPUs": host("gpus", ["H100", "H100"]),
    "GPUs asked for": manifest("[resources]\n", "[resources]\ngpus = 1\n"),
    "seed": manifest("seed = 7", "seed = 8"),
    "data seed": manifest("seed = 7", "seed = 7\ndata_seed = 8"),
    "level": manifest('level = "bitwise"', 'level = "metric"'),
    "threads": manifest("threads = 1", "threads = 2"),
    "CPU capability": manifest('cpu_capability = "default"', 'cpu_capability = "avx2"'),
    "data that it sees": manifest("1" * 64, "8" * 64),
    "where it sees data": manifest('path = "texts.tsv"\nsha256', 'path = "other.tsv"\nsha256'),
    "weights": manifest("2" * 64, "8" * 64),
}
OF_PREPARE: dict[str, Change] = {
    "code of a built-in task": other_code,
    "hyperparameter": manifest('shared = "keep"', 'shared = "drop"'),
    "cleaning": manifest('clean = ["nfc", "strip"]', 'clean = ["strip", "nfc"]'),
    "format of a split": manifest('format = "tsv"', 'format = "csv"'),
    "share of a split": manifest("fraction = 0.25", "fraction = 0.5"),
    "seed of a split": manifest("fraction = 0.25\nseed = 1", "fraction = 0.25\nseed = 2"),
    "stratified": manifest("fraction = 0.25", "fraction = 0.25\nstratified = true"),
}
OF_COMMANDS: dict[str, Change] = {
    "code": code_artifact,
    "data of nobody's splits": manifest(NUMBERS_PATH, 'path = "data/others.txt"'),
}
OF_TRAIN: dict[str, Change] = {
    "argument": manifest('"train.py", "--rate"', '"train.py", "--speed"'),
    "hyperparameter in the command": manifest("rate = 0.1", "rate = 0.2"),
    "hyperparameter in job.json": manifest("layers = 2", "layers = 3"),
    "hyperparameter added": manifest("layers = 2", "layers = 2\nheads = 1"),
    "file of a split": manifest('file = "train.jsonl"', 'file = "all.jsonl"'),
    "folder of a stage that it needs": lambda facts: facts.trees.update(prepare="9" * 64),
    "folder of another that it needs": lambda facts: facts.trees.update(vocabulary="9" * 64),
    "stages that it needs": manifest('needs = ["prepare", "vocabulary"]', 'needs = ["prepare"]'),
    "name of the stage": renamed("train", "fit"),
}
OF_NONE: dict[str, Change] = {
    "another run": another_run,
    "engine, mirrors, offline": options(engine="docker", mirrors=("/m",), offline=True, store="/s"),
    "fresh": options(fresh=True),
    "series": options(seeds=(7, 8), twice=True, jobs=2),
    "bundle": options(bundle="tiny.repro", bundle_sha256="a" * 64),
    "title": manifest('title = "A tiny experiment"', 'title = "Another title"'),
    "comment": manifest("[resources]\n", "# so many\n[resources]\n"),
    "engine that is wished for": manifest("[resources]\n", '[resources]\nengine = "podman"\n'),
    "limits": manifest("time_limit_s = 60", 'time_limit_s = 61\nmemory = "1 GiB"\ncpus = 1.5\nprocesses = 99'),
    "where an artifact is from": manifest('{ type = "local", path = "numbers.txt" }', '{ type = "local", path = "n" }'),
    "name of an artifact": renamed("numbers", "figures"),
    "what is expected": manifest("value = 0.6", "value = 0.7"),
    "place of the image": image(name="other", layout=Path("/x"), root=Path("/y"), inventory=Path("/z")),
    "how the image came here": image(origin="pulled", config_digest="sha256:" + "d" * 64),
    "facts about the host": lambda facts: facts.summary["host"].update(cores=64, kernel="7.0"),
    "files that could not be read": environment("unreadable", ["/etc/shadow"]),
    "folder of a stage that nobody needs": lambda facts: facts.trees.update(other="9" * 64),
    "a default that is left out": manifest('[stage.hyperparameters]\nshared = "keep"\n', ""),
}


STAGES = ("prepare", "vocabulary", "train")
CASES = [
    *(pytest.param(change, set(STAGES), id=f"all: {name}") for name, change in SEEN_BY_ALL.items()),
    *(pytest.param(change, {"prepare"}, id=f"built-in task: {name}") for name, change in OF_PREPARE.items()),
    *(pytest.param(change, {"vocabulary", "train"}, id=f"commands: {name}") for name, change in OF_COMMANDS.items()),
    *(pytest.param(change, {"train"}, id=f"last: {name}") for name, change in OF_TRAIN.items()),
    pytest.param(renamed("prepare", "clean-up"), {"prepare", "train"}, id="name of a stage, and of one that is needed"),
    *(pytest.param(change, set(), id=f"none: {name}") for name, change in OF_NONE.items()),
]


@pytest.mark.parametrize(("change", "others"), CASES)
def test_a_change_gives_other_keys_to_the_stages_that_depend_on_it(
    facts: Facts, before: list[str], change: Change, others: set[str]
) -> None:
    change(facts)
    after = facts.keys()
    assert {name for name, old, new in zip(STAGES, before, after, strict=True) if old != new} == others
    assert len(set(after)) == len(STAGES)


def test_no_order_is_in_a_key(facts: Facts, before: list[str]) -> None:
    reordered(facts)
    vocabulary, prepare, train = facts.keys()
    assert [prepare, vocabulary, train] == before
