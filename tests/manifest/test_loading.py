"""Loading: a good manifest, and every problem of a bad one at once, in plain words."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro_tui.errors import ExitCode, ManifestError
from repro_tui.manifest.canonical import digest
from repro_tui.manifest.loading import MAX_BYTES, inspect, load
from repro_tui.manifest.problems import Problem

Find = Callable[..., list[Problem]]


def test_good_manifest_loads(folder: Path, good: str) -> None:
    path = folder / "manifest.toml"
    path.write_text(good)
    loaded = load(path)
    assert loaded.manifest.hyperparameters == {"learning_rate": 1, "epochs": 2}
    assert loaded.manifest.splits["test"].text == 0
    assert loaded.sha256 == hashlib.sha256(good.encode()).hexdigest()
    assert loaded.resolve("lock.txt") == folder / "lock.txt"
    line = line_number(good, 'sha256 = "' + "b" * 64 + '"')
    assert loaded.line_of("artifacts.train.sha256") == loaded.line_of("artifacts[1].sha256") == line
    assert loaded.line_of("splits.test.first") == line_number(good, "[splits.test]")


def test_good_manifest_with_a_command_loads(problems: Find, with_command: str) -> None:
    assert problems(base=with_command) == []


def test_line_ends_of_another_system_change_nothing(folder: Path, good: str) -> None:
    path = folder / "manifest.toml"
    path.write_bytes(good.replace("\n", "\r\n").encode())
    assert load(path).line_of("splits.test.label") == line_number(good, "label = 1")


def test_everything_is_reported_at_once_in_the_order_of_the_file(problems: Find, good: str) -> None:
    found = problems(
        ('title = "A tiny', 'titel = "A tiny'),
        ('lock = "lock.txt"', 'lock = "gone.txt"'),
        ('kind = "weights"', 'kind = "weight"'),
        ('artifact = "train"', 'artifact = "trian"'),
        ("learning_rate = 1", 'learning_rat = "1"'),
        ("absolute = 0.01", ""),
    )
    assert [problem.toml_path for problem in found] == [
        "experiment.title",
        "experiment.titel",
        "environment.lock",
        "artifacts[0].kind",
        "splits.train.artifact",
        "hyperparameters.learning_rat",
        "expected.metrics[0]",
    ]
    lines = [problem.line or 0 for problem in found]
    assert lines == sorted(lines)
    assert lines[0] == line_number(good, "[experiment]"), "a missing key is on the line of its table"
    hints = {problem.toml_path: problem.hint for problem in found}
    assert hints["experiment.titel"] == "did you mean `title`?"
    assert hints["artifacts[0].kind"] == "did you mean `weights`?"
    assert hints["splits.train.artifact"] == "did you mean `train`?"
    assert hints["hyperparameters.learning_rat"] == "did you mean `learning_rate`?"


def test_load_raises_with_one_block_a_problem(folder: Path, good: str) -> None:
    path = folder / "manifest.toml"
    path.write_text(good.replace('kind = "weights"', 'kind = "weight"').replace("seed = 42", "seed = -1"))
    with pytest.raises(ManifestError) as caught:
        load(path)
    assert caught.value.exit_code is ExitCode.USAGE
    kind, seed = caught.value.problems
    assert kind.splitlines() == [
        f"{path}:{line_number(good, KIND)}: artifacts[0].kind",
        '  found   "weight"',
        "  allowed `data`, `weights` or `code`",
        "  hint    did you mean `weights`?",
    ]
    assert seed.splitlines() == [
        f"{path}:{line_number(good, 'seed = 42')}: determinism.seed",
        "  found   -1",
        "  allowed a number from 0 on",
    ]


def line_number(manifest: str, text: str) -> int:
    """Return on which line this stands alone."""
    return manifest.splitlines().index(text) + 1


A64 = "a" * 64
KIND = 'kind = "weights"'


@pytest.mark.parametrize(
    ("old", "new", "path", "words"),
    [
        # values
        ("schema = 1", "schema = 2", "schema", "reads schema 1 only"),
        ("schema = 1\n", "", "schema", "this key is needed"),
        ('name = "tiny"', 'name = "Not Tiny"', "experiment.name", "lower-case letters"),
        ('authors = ["A. Author"]', "authors = []", "experiment.authors", "at least one item"),
        ('authors = ["A. Author"]', 'authors = "A. Author"', "experiment.authors", "an array"),
        ('authors = ["A. Author"]', 'authors = ["x", 3]', "experiment.authors[1]", "text in quotes"),
        ("[determinism]\nseed = 42\n", "", "determinism", "this key is needed"),
        ("seed = 42", "seed = 4294967296", "determinism.seed", "a number less than 4294967296"),
        ("seed = 42", "seed = 4.5", "determinism.seed", "a whole number"),
        ("seed = 42", 'seed = "42"', "determinism.seed", "write it without quotes"),
        ("seed = 42", "seed = 2026-01-01", "determinism.seed", "2026-01-01 (a date or time)"),
        ("value = 0.9", "value = nan", "expected.metrics[0].value", "a finite number"),
        ("value = 0.9", "value = true", "expected.metrics[0].value", "a number"),
        ("bytes = 10", "bytes = 9007199254740992", "artifacts[0].bytes", "2^53 - 1"),
        ("[determinism]", '[resources]\nmemory = "8 gigs"\n[determinism]', "resources.memory", 'like "8 GiB"'),
        (
            "[determinism]",
            '[environment.variables]\n1A = ""\n[determinism]',
            "environment.variables.1A",
            "no digit first",
        ),
        ("[determinism]", '[environment.variables]\nA = "\\u0000"\n[determinism]', "environment.variables.A", "NUL"),
        ('path = "data/test.tsv"', 'path = "/data/test.tsv"', "artifacts[2].path", "a relative path"),
        ('path = "data/test.tsv"', 'path = "data/../../x"', "artifacts[2].path", "without '..'"),
        ('path = "data/test.tsv"', 'path = "."', "artifacts[2].path", "a relative path"),
        # digests and references
        (f'sha256 = "{A64}"', f'sha256 = "sha256:{A64}"', "artifacts[0].sha256", f"write {A64}"),
        (f'sha256 = "{A64}"', f'sha256 = "{A64.upper()}"', "artifacts[0].sha256", f"write {A64}"),
        (f'sha256 = "{A64}"', 'sha256 = "abc"', "artifacts[0].sha256", "64 lower-case hexadecimal digits"),
        (f'sha256 = "{A64}"\n', "", "artifacts[0].sha256", "by which an artifact is pinned"),
        (f'sha256 = "{A64}"', f'sha256 = "{A64}"\ntree_sha256 = "{A64}"', "artifacts[0]", "one of the two"),
        (
            'recipe = "torch-cpu"',
            'reference = "localhost:5000/torch:2.13"',
            "image.reference",
            "write localhost:5000/torch@sha256:DIGEST",
        ),
        (
            'recipe = "torch-cpu"',
            f'reference = "example.org/Torch@sha256:{A64}"',
            "image.reference",
            "the name in lower case",
        ),
        (
            'recipe = "torch-cpu"',
            f'recipe = "r"\nconfig_digest = "{A64}"',
            "image.config_digest",
            f"write sha256:{A64}",
        ),
        ('recipe = "torch-cpu"\n', "", "image", "a `recipe`, a `reference` or"),
        ('recipe = "torch-cpu"', 'recipe = "r"\ndockerfile = "D"', "image", "one or the other"),
        (
            'recipe = "torch-cpu"',
            f'dockerfile = "D"\nconfig_digest = "sha256:{A64}"',
            "image",
            "another digest each time",
        ),
        ('recipe = "torch-cpu"', 'dockerfile = "nowhere"', "image.dockerfile", "which is no file"),
        ('lock = "lock.txt"\n', "", "environment", "needs `lock`"),
        ("[determinism]", "[resources]\ngpus = true\n[determinism]", "resources.gpus", "how many"),
        ("[determinism]", "[resources]\ngpus = -1\n[determinism]", "resources.gpus", "how many"),
        ("[determinism]", '[resources]\ngpus = "some"\n[determinism]', "resources.gpus", '"all"'),
        ("[determinism]", '[resources]\ngpus = ["cuda"]\n[determinism]', "resources.gpus", 'indices ("0")'),
        # sources
        ('{ type = "local", path = "test.tsv" }', '{ type = "lokal" }', "artifacts[2].sources[0].type", "`local`?"),
        ('{ type = "local", path = "test.tsv" }', '{ path = "x" }', "artifacts[2].sources[0].type", "`pip`, `apt`"),
        ('{ type = "local", path = "test.tsv" }', "{ type = 1 }", "artifacts[2].sources[0].type", "`pip`, `apt`"),
        ('{ type = "local", path = "test.tsv" }', '"test.tsv"', "artifacts[2].sources[0]", "a table"),
        ('package = "p"', 'pakage = "p"', "artifacts[1].sources[0].pakage", "did you mean `package`?"),
        ('version = "1"', "version = 1", "artifacts[1].sources[0].version", "text in quotes"),
        (
            '{ type = "local", path = "test.tsv" }',
            '{ type = "git", url = "u", commit = "main" }',
            "artifacts[2].sources[0].commit",
            "pins it",
        ),
        (
            '{ type = "local", path = "test.tsv" }',
            '{ type = "git", url = "u", commit = "HEAD~1" }',
            "artifacts[2].sources[0].commit",
            "`git rev-parse NAME` prints the commit",
        ),
        (
            '{ type = "local", path = "test.tsv" }',
            '{ type = "https", url = "https://e.org/x.zip", path = "x" }',
            "artifacts[2].sources[0]",
            "needs its own `sha256`",
        ),
        ("bytes = 10", "bytes = 10\nsource = []", "artifacts[0].source", "did you mean `sources`?"),
        # splits
        ('artifact = "train"\n', "", "splits.train", "one of them"),
        ("fraction = 0.1\n", "", "splits.validation", "`part_of` needs `fraction` and `seed`"),
        ("fraction = 0.1", "fraction = 1", "splits.validation.fraction", "less than 1"),
        ("fraction = 0.1", 'fraction = 0.1\nformat = "csv"', "splits.validation", "go with `artifact`"),
        ("text = 0", "text = 0\nstratified = true", "splits.test", "go with `part_of`"),
        ("text = 0", "text = 0.5", "splits.test.text", "a whole number or text in quotes"),
        ("text = 0", 'text = 0\nformat = "xls"', "splits.test.format", "`orange-tab`"),
        ("[splits.validation]", '[splits."A b"]', 'splits."A b"', "lower-case letters"),
        ('part_of = "train"', 'part_of = "trian"', "splits.validation.part_of", "did you mean `train`?"),
        ('part_of = "train"', 'part_of = "validation"', "splits.validation.part_of", "a circle"),
        ('artifact = "test"', 'artifact = "encoder"', "splits.test.artifact", "of kind `weights`"),
        ("[splits.test]", "[splits.tests]", "splits.test", "needs the split `test`"),
        # task and hyperparameters
        ('name = "text_classification"', 'name = "text-classification"', "task.name", "`text_classification`?"),
        ('model = "encoder"\n', "", "task.model", "needs `model`"),
        ('model = "encoder"', 'model = "encodr"', "task.model", "did you mean `encoder`?"),
        ('model = "encoder"', 'model = "encoder"\ncode = "train"', "task", "`code` belongs to a `command`"),
        ("epochs = 2", "epochs = 2.5", "hyperparameters.epochs", "a whole number"),
        ("epochs = 2", "epochs = [2]", "hyperparameters.epochs", "an array of 1"),
        ("epochs = 2", 'schedule = "lineer"', "hyperparameters.schedule", "did you mean `linear`?"),
        ("epochs = 2", 'averaging = "binary"\nselect_best_on = "macro_f1"', "hyperparameters.select_best_on", "report"),
        ("learning_rate = 1", "learning_rate = inf", "hyperparameters.learning_rate", "a finite number"),
        ("learning_rate = 1", "learning_rate = 0", "hyperparameters.learning_rate", "greater than 0"),
        # what is expected
        ('name = "accuracy"', 'name = "acuracy"', "expected.metrics[0].name", "did you mean `accuracy`?"),
        ('name = "accuracy"', 'name = "binary_f1"', "expected.metrics[0].name", "does not report"),
        ("value = 0.9", 'value = 0.9\nsplit = "dev"', "expected.metrics[0].split", "no split"),
        # what must be there once
        ('name = "test"', 'name = "train"', "artifacts[2].name", "artifacts[1] has already"),
        ('path = "data/test.tsv"', 'path = "data/./train.tsv"', "artifacts[2].path", "artifacts[1] has already"),
        ('path = "data/test.tsv"', 'path = "data/train.tsv/x"', "artifacts[2].path", "lies inside artifacts[1]"),
        # what other keys set
        (
            "[determinism]",
            '[environment.variables]\nOMP_NUM_THREADS = "4"\n[determinism]',
            "environment.variables.OMP_NUM_THREADS",
            "set `environment.threads` instead",
        ),
    ],
)
def test_a_problem_says_where_and_what(problems: Find, old: str, new: str, path: str, words: str) -> None:
    found = problems((old, new))
    matching = [problem for problem in found if problem.toml_path == path]
    assert matching, f"{[problem.toml_path for problem in found]}"
    assert any(words in problem.block("m.toml") for problem in matching), matching
    assert all(problem.found and problem.allowed for problem in found)
    assert "pydantic" not in str(found).lower()


def test_one_mistake_is_one_problem(problems: Find) -> None:
    for change in (
        ('kind = "data"\npath = "data/train.tsv"', 'kind = "date"\npath = "data/train.tsv"'),
        ("fraction = 0.1\n", ""),
        ("seed = 42", "seed = false"),
        ("learning_rate = 1", "learning_rate = [1]"),
        ('artifact = "test"', 'artifact = "tests"'),
        ('model = "encoder"', 'model = "encodr"'),
    ):
        assert len(problems(change)) == 1, change


def test_a_mistyped_name_of_an_artifact_does_not_make_its_users_wrong(problems: Find) -> None:
    found = problems(('name = "train"', 'nmae = "train"'))
    assert {problem.toml_path for problem in found} == {"artifacts[1].name", "artifacts[1].nmae"}


def test_circles_of_splits_are_found_from_each_of_them(problems: Find) -> None:
    part = "fraction = 0.5\nseed = 1\n"
    found = problems(
        ("[splits.test]", f'[splits.a]\npart_of = "b"\n{part}[splits.b]\npart_of = "a"\n{part}[splits.test]'),
        ('part_of = "train"', 'part_of = "a"'),
    )
    assert [(problem.toml_path, problem.found) for problem in found] == [
        ("splits.a.part_of", "a circle: a → b → a"),
        ("splits.b.part_of", "a circle: b → a → b"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "path", "words"),
    [
        ("{learning_rate}", "{learning_rat}", "task.command[2]", "did you mean `learning_rate`?"),
        ("{learning_rate}", "{x}", "task.command[2]", "`{{x}}` stands for `{x}` itself"),
        ('code = "code"', 'code = "cod"', "task.code", "did you mean `code`?"),
        ('code = "code"', 'code = "train"', "task.code", "of kind `data`"),
        ('code = "code"\n', "", "task", "needs `code`"),
        ('code = "code"', f'code = "code"\ncode_sha256 = "{A64}"', "task", "belongs to a built-in task"),
        ("tree_sha256", "sha256", "task.code", "a folder"),
        ("epochs = 2", "seed = 2", "hyperparameters.seed", "`determinism.seed`"),
        ('command = ["python3"', 'name = "text_classification"\ncommand = ["python3"', "task", "one of the two"),
    ],
)
def test_problems_of_commands(problems: Find, old: str, new: str, path: str, words: str, with_command: str) -> None:
    found = problems((old, new), base=with_command)
    assert any(problem.toml_path == path and words in problem.block("m.toml") for problem in found), found


def test_braces_that_are_no_placeholder_are_left_alone(problems: Find, with_command: str) -> None:
    assert problems(("{learning_rate}", r"{\"a\": {}} {{learning_rate}} {}"), base=with_command) == []


def test_what_is_expected_twice(problems: Find) -> None:
    digests = f'[[expected.digests]]\nname = "weights"\nsha256 = "{A64}"\n' * 2
    again = '[[expected.metrics]]\nname = "accuracy"\nsplit = "test"\nvalue = 0.8\nrelative = 0.1\n'
    found = problems(("absolute = 0.01\n", f"absolute = 0.01\n{again}{digests}"))
    assert [problem.toml_path for problem in found] == ["expected.metrics[1]", "expected.digests[1]"]


# --- files beside the manifest ----------------------------------------------------------------------------------------


def test_a_changed_lock_names_both_digests(problems: Find, folder: Path) -> None:
    lock = (folder / "lock.txt").read_bytes()
    (folder / "lock.txt").write_bytes(lock + b"# changed\n")
    (problem,) = problems()
    assert problem.toml_path == "environment.lock_sha256"
    assert hashlib.sha256(lock).hexdigest() in problem.found
    assert hashlib.sha256((folder / "lock.txt").read_bytes()).hexdigest() in problem.found


@pytest.mark.parametrize("lock", ["gone.txt", "folder", "pipe", "nul\\u0000"])
def test_a_lock_that_cannot_be_read(problems: Find, folder: Path, lock: str) -> None:
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (problem,) = problems(('lock = "lock.txt"', f'lock = "{lock}"'))
    assert problem.toml_path == "environment.lock"
    assert problem.allowed == "the lock file, relative to the manifest"


def record(**changes: object) -> str:
    body = {
        "schema": 1,
        "experiment": "tiny",
        "job": {"determinism": {"seed": 42}},
        "environment": {"schema": 1, "variables": {"LANG": "C.UTF-8"}},
        "image": {"manifest_digest": f"sha256:{A64}", "config_digest": f"sha256:{A64}", "diff_ids": []},
        **changes,
    }
    return json.dumps(body)


def with_record(folder: Path, content: str, *, environment_hash: str = "") -> tuple[tuple[str, str], ...]:
    (folder / "record.json").write_text(content)
    pin = hashlib.sha256(content.encode()).hexdigest()
    changes = [("[determinism]", f'[recorded]\nfile = "record.json"\nsha256 = "{pin}"\n[determinism]')]
    if environment_hash:
        changes.append(('lock = "lock.txt"', f'hash = "{environment_hash}"\nlock = "lock.txt"'))
    return tuple(changes)


def test_a_good_record_is_loaded(folder: Path, good: str) -> None:
    environment = digest({"schema": 1, "variables": {"LANG": "C.UTF-8"}})
    text = good
    for old, new in with_record(folder, record(), environment_hash=environment):
        text = text.replace(old, new)
    (folder / "manifest.toml").write_text(text)
    loaded = load(folder / "manifest.toml")
    assert loaded.record is not None
    assert loaded.record.job == {"determinism": {"seed": 42}}


def test_a_record_of_another_environment(problems: Find, folder: Path) -> None:
    (problem,) = problems(*with_record(folder, record(), environment_hash=f"sha256:{A64}"))
    assert problem.toml_path == "environment.hash"
    assert digest({"schema": 1, "variables": {"LANG": "C.UTF-8"}}) in problem.found


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[]", "the record is not one of a run"),
        (record(schema=2), "schema"),
        (record(image={}), "image.manifest_digest"),
        ('{"a": ' * 100_000, "not JSON"),
    ],
)
def test_a_record_that_is_none(problems: Find, folder: Path, content: str, words: str) -> None:
    (problem,) = problems(*with_record(folder, content))
    assert problem.toml_path == "recorded.file"
    assert words in problem.found


def test_a_changed_or_missing_record(problems: Find, folder: Path) -> None:
    changes = with_record(folder, record())
    (folder / "record.json").write_text(record(experiment="other"))
    (problem,) = problems(*changes)
    assert problem.toml_path == "recorded.sha256"
    (folder / "record.json").unlink()
    (problem,) = problems(*changes)
    assert problem.toml_path == "recorded.file"


# --- files that are no manifest ---------------------------------------------------------------------------------------


def only_problem(path: Path) -> Problem:
    inspection = inspect(path)
    assert inspection.loaded is None
    (problem,) = inspection.problems
    return problem


def test_a_missing_file_names_the_one_that_is_near(folder: Path, good: str) -> None:
    (folder / "manifest.toml").write_text(good)
    problem = only_problem(folder / "manifets.toml")
    assert problem.found == "no such file"
    assert problem.hint == "did you mean `manifest.toml`?"
    assert only_problem(folder / "no" / "such" / "folder.toml").found == "no such file"


def test_a_folder_names_the_manifests_in_it(folder: Path, good: str) -> None:
    (folder / "manifest.toml").write_text(good)
    problem = only_problem(folder)
    assert problem.found == "a folder"
    assert "manifest.toml" in problem.hint


def test_other_things_that_are_no_file(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert only_problem(folder / "pipe").found == "no regular file"
    assert "cannot be read" in only_problem(folder / "lock.txt" / "x").found
    assert "cannot be read" in only_problem(Path("nul\0")).found


def test_empty_and_blank_files(folder: Path) -> None:
    for content in (b"", b" \n\t\n"):
        (folder / "manifest.toml").write_bytes(content)
        assert only_problem(folder / "manifest.toml").found == "an empty file"


def test_a_huge_file_is_not_read(folder: Path) -> None:
    path = folder / "manifest.toml"
    with path.open("wb") as stream:
        stream.truncate(100 << 20)
    assert only_problem(path).found == "a file of 104,857,600 bytes"
    assert f"{MAX_BYTES:,}" in only_problem(path).allowed


def test_bytes_that_are_no_utf8(folder: Path, good: str) -> None:
    path = folder / "manifest.toml"
    path.write_bytes(b"schema = 1\n# caf\xe9\n")
    problem = only_problem(path)
    assert problem.line == 2
    assert problem.found == "the byte 0xe9 at byte 6 of the line"
    path.write_bytes(b"\xef\xbb\xbf" + good.encode())
    assert only_problem(path).found == "a byte order mark"
    path.write_bytes(good.encode("utf-16"))
    assert only_problem(path).allowed == "text in UTF-8"


@pytest.mark.parametrize(
    ("text", "line", "found", "hint"),
    [
        ("schema = 1\nname = tiny\n", 2, "not TOML: invalid value at column 8", "text needs quotes"),
        ("schema = 1\nschema = 2\n", 2, "not TOML: cannot overwrite a value at column 11", "given twice"),
        ("[a]\n[a]\n", 2, "not TOML: cannot declare ('a',) twice at column 3", "[[two brackets]]"),
        ('schema = 1\na = """x\n', 2, "not TOML: unterminated string at the end of the file", ""),
        ("a = 1\x00\n", 1, "not TOML", ""),
        ("a = " + "[" * 100_000, None, "arrays or tables nested too deep", ""),
        ("a = " + "9" * 5_000, None, "not TOML", ""),
    ],
)
def test_syntax_errors_have_line_and_column(folder: Path, text: str, line: int | None, found: str, hint: str) -> None:
    path = folder / "manifest.toml"
    path.write_text(text)
    problem = only_problem(path)
    assert problem.line == line
    assert problem.found.startswith(found)
    assert hint in problem.hint


def test_problems_are_blocks_of_short_lines(problems: Find) -> None:
    long = "x" * 5_000
    for problem in problems(
        ('title = "A tiny experiment"', f"title = 1\n{long} = 1"), ('kind = "weights"', f'kind = "{long}"')
    ):
        shown = re.sub("x{100,}", "x", problem.block("m.toml"))
        assert all(len(line) < 200 for line in shown.splitlines())


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_manifest_makes_it_fall_over(folder: Path, data: st.DataObject, good: str, with_command: str) -> None:
    """Cut, double and swap pieces of a good manifest: there is a manifest or there are problems, never an exception."""
    lines = data.draw(st.sampled_from([good, with_command])).splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        key, equals, value = lines[at].partition(" = ")
        other = data.draw(st.sampled_from(lines)).partition(" = ")[2] or "{}"
        lines[at] = data.draw(
            st.sampled_from(["", f"{key}x{equals}{value}", f"{key} = {other}", f"{key} = [{value}]", f"[{key}]"])
        )
    path = folder / "manifest.toml"
    path.write_text("\n".join(lines))
    inspection = inspect(path)
    assert (inspection.loaded is None) == bool(inspection.problems)
    for problem in inspection.problems:
        assert problem.found
        assert problem.allowed
        assert problem.line is None or 1 <= problem.line <= len(lines)
