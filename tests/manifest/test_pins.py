"""What a manifest pins: environment, job, command, and how a difference is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from repro_tui.manifest import pins
from repro_tui.manifest.code import builtin_code_digest
from repro_tui.manifest.loading import LoadedManifest, load

Load = Callable[[str], LoadedManifest]


@pytest.fixture
def loaded(folder: Path) -> Load:
    def read(text: str) -> LoadedManifest:
        (folder / "manifest.toml").write_text(text)
        return load(folder / "manifest.toml")

    return read


def test_the_environment_is_closed_and_follows_the_pins(
    loaded: Load, good: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("SECRET", "x")
    plain = pins.container_environment(loaded(good))
    assert "SECRET" not in plain
    assert plain["OMP_NUM_THREADS"] == "1"
    changed = pins.container_environment(
        loaded(
            good.replace('lock = "lock.txt"', 'lock = "lock.txt"\nthreads = 3\ncpu_capability = "avx512"').replace(
                "[determinism]", '[environment.variables]\nMALLOC_ARENA_MAX = "2"\n[determinism]'
            )
        )
    )
    assert {key: value for key, value in changed.items() if plain.get(key) != value} == {
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "3",
        "ATEN_CPU_CAPABILITY": "avx512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
        "MALLOC_ARENA_MAX": "2",
    }


def test_another_seed_is_another_job_in_the_same_environment(loaded: Load, good: str) -> None:
    one, other = loaded(good), loaded(good.replace("seed = 42", "seed = 43"))
    assert pins.container_environment(one) == pins.container_environment(other)
    assert pins.differences(pins.pinned_job(one), pins.pinned_job(other)) == [("determinism.seed", 42, 43)]


def test_job_says_everything_as_the_container_sees_it(loaded: Load, good: str) -> None:
    job = pins.job(loaded(good))
    assert job["task"] == "text_classification"
    assert job["model"] == "/inputs/encoder"
    assert job["data_seed"] == 42
    assert job["hyperparameters"]["learning_rate"] == 1
    assert job["hyperparameters"]["train_batch_size"] == 32
    assert job["splits"]["test"] == {
        "path": "/inputs/data/test.tsv", "targets": None, "joins": None, "folder": None, "listed_in": None, "skip": None,
        "first": None, "examples": None, "classes": None, "format": "tsv", "text": 0, "text_pair": None, "label": 1,
        "columns": None, "clean": None,
    }  # fmt: skip
    assert job["splits"]["validation"] == {
        "part_of": "train", "fraction": 0.1, "seed": 1, "stratified": False, "first": None, "examples": None,
        "classes": None,
    }  # fmt: skip
    assert json.loads(json.dumps(job, allow_nan=False)) == job


def test_parts_are_drawn_in_an_order_that_the_file_does_not_change(loaded: Load, good: str) -> None:
    parts = ('[splits.{}]\npart_of = "{}"\nfraction = 0.1\nseed = 1\n', ("c", "a"), ("b", "train"), ("a", "train"))
    text = "".join(parts[0].format(*names) for names in parts[1:])
    job = pins.job(loaded(good.replace("[splits.test]", f"{text}[splits.test]")))
    assert list(job["splits"]) == ["test", "train", "a", "b", "validation", "c"]


def test_command_is_filled_in(loaded: Load, with_command: str) -> None:
    assert pins.command(loaded(with_command)) == ["python3", "train.py", "--lr=1", "42"]
    odd = with_command.replace('"--lr={learning_rate}"', "'{{learning_rate}}', '{\"x\": {}}', '{flag}{flag}{rate}{t}'")
    odd = odd.replace("epochs = 2", 'flag = true\nrate = 1e-5\nt = "{seed}"')
    assert pins.command(loaded(odd)) == [
        "python3", "train.py", "{learning_rate}", '{"x": {}}', "truetrue1e-05{seed}", "42",
    ]  # fmt: skip


def test_job_of_a_command_keeps_its_hyperparameters_as_given(loaded: Load, with_command: str) -> None:
    job = pins.job(loaded(with_command))
    assert job["task"] is None
    assert job["model"] is None
    assert job["hyperparameters"] == {"learning_rate": 1, "epochs": 2}


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("learning_rate = 1", "learning_rate = 0.5", "hyperparameters.learning_rate"),
        ("epochs = 2", "epochs = 2\nweight_decay = 0.01", "hyperparameters.weight_decay"),
        ("seed = 42", "seed = 42\ndata_seed = 7", "determinism.data_seed"),
        ("seed = 42", 'seed = 42\nlevel = "bitwise"', "determinism.level"),
        ('artifact = "test"', 'artifact = "train"', "splits.test.artifact"),
        ("text = 0", "text = 2", "splits.test.text"),
        ("fraction = 0.1", "fraction = 0.2", "splits.validation.fraction"),
        (f'sha256 = "{"b" * 64}"', f'sha256 = "{"9" * 64}"', "artifacts.train.sha256"),
        ('path = "data/train.tsv"\n', 'path = "other.tsv"\n', "artifacts.train.path"),
        ("[determinism]", "[resources]\ngpus = 1\n[determinism]", "resources.gpus"),
    ],
)
def test_a_difference_names_its_key(loaded: Load, good: str, old: str, new: str, path: str) -> None:
    recorded = json.loads(json.dumps(pins.pinned_job(loaded(good))))
    assert old in good
    now = loaded(good.replace(old, new))
    ((found, _, _),) = pins.differences(recorded, pins.pinned_job(now))
    assert found == path
    assert now.line_of(path) is not None


def test_what_changes_no_result_is_no_difference(loaded: Load, good: str) -> None:
    before = pins.pinned_job(loaded(good))
    for old, new in (
        ("label = 1", "label = 1\nexamples = 100"),
        ("[determinism]", '[resources]\nmemory = "1 GiB"\ntime_limit_s = 9\n[determinism]'),
        ("epochs = 2", "epochs = 2\ntrain_batch_size = 32"),
        ("learning_rate = 1", "learning_rate = 1.0"),
        ('title = "A tiny experiment"', 'title = "Another title"'),
    ):
        assert pins.differences(before, pins.pinned_job(loaded(good.replace(old, new)))) == [], new


def test_the_code_is_part_of_the_job(loaded: Load, good: str, with_command: str) -> None:
    job = pins.pinned_job(loaded(good))
    assert job["task"]["code_sha256"] == builtin_code_digest("text_classification")
    recorded = {**job, "task": {**job["task"], "code_sha256": "0" * 64}}
    assert [path for path, _, _ in pins.differences(recorded, job)] == ["task.code_sha256"]
    command = pins.pinned_job(loaded(with_command))
    assert command["artifacts"]["code"]["tree_sha256"] == "e" * 64


def test_differences_are_leaves_with_paths_that_toml_knows() -> None:
    expected = {"a": {"x.y": [1, {"b": True}], "same": 1}, "gone": 2, "null": None}
    observed = {"a": {"x.y": [1.0, {"b": 1}, "more"], "same": 1.0}, "new": {"k": 1}}
    assert pins.differences(expected, observed, "job") == [
        ('job.a."x.y"[1].b', True, 1),
        ('job.a."x.y"[2]', None, "more"),
        ("job.gone", 2, None),
        ("job.new", None, {"k": 1}),
    ]
    assert pins.differences(1, 2, "seed") == [("seed", 1, 2)]


def test_canonical_json_is_that_of_rfc_8785() -> None:
    # The examples of RFC 8785, sections 3.2.2 and 3.2.3.
    value = {"numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 1e-27], "literals": [None, True, False]}
    assert (
        pins.canonical(value) == b'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}'
    )
    assert list(json.loads(pins.canonical({"\u20ac": 1, "\r": 2, "1": 3}))) == ["\r", "1", "\u20ac"]
    for impossible in (float("nan"), 2**53 + 1, {1: 2}, object()):
        with pytest.raises(ValueError, match="not representable"):
            pins.canonical(impossible)
