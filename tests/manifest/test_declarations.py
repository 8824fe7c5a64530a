"""What a task's file declares, those of other packages included; and what is said of a declaration that is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from pydantic import ValidationError

from repro_tui.errors import ReproError, UsageError
from repro_tui.manifest import code, tasks
from repro_tui.manifest.declarations import declared

TASK = '''"""Count words, for tests."""

import torch  # the host has none of it

from repro_tui.tasks.common import loop
from words_task import counting

SPLITS = ("train",)
FORMATS = ("tsv", "texts")
CHECKPOINT = "none"
METRICS = ("accuracy", "{averaging}_f1")
OUTPUTS = ("counts",)


class Settings(loop.Settings):
    """Hyperparameters."""

    learning_rate: Annotated[float, Gt(0)] = 0.5
    """Another default than the loop's."""
    averaging: Literal["macro", "binary"] = "macro"
    """Which mean."""
    layers: Annotated[int, Ge(-1), Le(4)]
    """How many."""
    names: tuple[str, ...] = ("a", "b")
    """Some names."""
    share: Annotated[float, Ge(0), Lt(1)] | None = None
    """Part of all."""
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that adds a task, as if it were installed."""
    folder = tmp_path / "words_task"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('the host imports no task')\n")
    (folder / "task.py").write_text(TASK)
    (folder / "counting.py").write_text("from words_task.deeper import more\n")
    (folder / "deeper.py").write_text("import repro_tui.wire\nmore = 1\n")
    (folder / "unused.py").write_text("nothing = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    entries = EntryPoints([EntryPoint("count_words", "words_task.task", tasks.GROUP)])
    monkeypatch.setattr(tasks, "entry_points", lambda group: entries.select(group=group))
    tasks._added.cache_clear()
    yield folder
    tasks._added.cache_clear()


@pytest.fixture
def problem(tmp_path: Path) -> Callable[[str, str], UsageError]:
    def find(old: str, new: str) -> UsageError:
        assert old in TASK
        path = tmp_path / "task.py"
        path.write_text(TASK.replace(old, new))
        with pytest.raises(UsageError) as raised:
            declared("count_words", "task", path, tasks.module_file)
        return raised.value

    return find


def test_a_package_adds_a_task_that_nothing_imports(package: Path) -> None:
    assert tasks.names()[-1] == "count_words"
    task = tasks.find("count_words")
    assert (task.module, task.splits, task.formats, task.checkpoint, task.outputs) == (
        "words_task.task", ("train",), ("tsv", "texts"), "none", ("counts",),
    )  # fmt: skip
    assert task.reported_metrics({}) == ("accuracy", "macro_f1")
    assert task.reported_metrics({"averaging": "binary"}) == ("accuracy", "binary_f1")
    resolved = task.resolve({"layers": -1})
    assert resolved["learning_rate"] == 0.5
    assert resolved["epochs"] == 3, "the loop's own"
    assert (resolved["names"], resolved["share"]) == (["a", "b"], None)
    assert task.hyperparameters.model_fields["learning_rate"].description == "Another default than the loop's."
    assert "words_task" not in sys.modules


def test_its_code_is_what_it_imports_of_its_own_and_of_ours(package: Path) -> None:
    files = code.builtin_code_files("count_words")
    assert {name for name in files if name.startswith("words_task/")} == {
        "words_task/__init__.py", "words_task/task.py", "words_task/counting.py", "words_task/deeper.py",
    }  # fmt: skip
    assert {"repro_tui/tasks/common/loop.py", "repro_tui/wire.py"} <= set(files)
    assert files["words_task/__init__.py"] == tasks.PACKAGE / "tasks" / "__init__.py", "stood in for"
    before = code.builtin_code_digest("count_words")
    (package / "unused.py").write_text("nothing = 2\n")
    assert code.builtin_code_digest("count_words") == before
    (package / "deeper.py").write_text("more = 2\n")
    assert code.builtin_code_digest("count_words") != before


@pytest.mark.parametrize(
    "given", [{}, {"layers": 5}, {"layers": -2}, {"layers": 1, "share": 1.0}, {"layers": 1, "averaging": "x"},
              {"layers": 1, "names": [1]}, {"layers": 1, "other": 1}]
)  # fmt: skip
def test_hyperparameters_are_held_to_the_declared_types_and_bounds(package: Path, given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        tasks.find("count_words").resolve(given)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('CHECKPOINT = "none"', 'CHECKPOINT = "maybe"', "one of needed, optional, none"),
        ('CHECKPOINT = "none"', "", "CHECKPOINT is missing"),
        ('METRICS = ("accuracy", "{averaging}_f1")', "METRICS = tuple(NAMES)", "METRICS is not a literal"),
        ('OUTPUTS = ("counts",)', 'OUTPUTS = ["counts"]', "a tuple is written out"),
        ("class Settings(loop.Settings)", "class Setting(loop.Settings)", "Settings is missing"),
        ("class Settings(loop.Settings)", "class Settings(Other)", "has the base Other"),
        ('    """Which mean."""\n', "", "Settings.averaging has no docstring"),
        ("Annotated[int, Ge(-1), Le(4)]", "dict[str, int]", "dict[str, int] is no type of a hyperparameter"),
        ("= 0.5", "= 1 / 2", "Settings.learning_rate is not to be read"),
        ("import torch", "import torch torch", "cannot be read"),
    ],
)
def test_a_wrong_declaration_is_named(
    problem: Callable[[str, str], UsageError], old: str, new: str, words: str
) -> None:
    error = problem(old, new)
    assert words in f"{error.message} {error.hint}"
    assert "task.py" in error.where


def test_an_entry_point_without_its_module_says_so(package: Path) -> None:
    (package / "task.py").unlink()
    with pytest.raises(ReproError, match="is not there"):
        tasks.find("count_words")


def test_every_built_in_task_declares_itself() -> None:
    for name in tasks.builtin_names():
        task = tasks.find(name)
        assert task.hyperparameters.__doc__
        assert task.reported_metrics({})
        assert task.formats
