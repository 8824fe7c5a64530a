"""What a manifest says of seeds: which are wrong, and that one which says nothing stays what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from repro_tui.manifest.loading import inspect, load
from repro_tui.manifest.pins import pinned_job
from tests.cli.project import Project


def with_seeds(folder: Path, *, metric: str = "", verify: str = "") -> Path:
    project = Project(folder, extra=f"\n[verify]\n{verify}\n" if verify else "")
    project.write()
    project.change("absolute = 0.001", f"absolute = 0.001\n{metric}")
    return project.manifest


@pytest.mark.parametrize(
    ("metric", "verify", "path", "found"),
    [
        ("", "seeds = 0", "verify.seeds", "0"),
        ("", "seeds = []", "verify.seeds", "an empty array"),
        ("", "seeds = [1, 2, 1]", "verify.seeds[2]", "the seed 1 a second time"),
        ("", 'seeds = 3\ntest = "t"', "verify.test", '"t"'),
        ("", "seeds = 3\nconfidence = 1.0", "verify.confidence", "1.0"),
        ("", 'seeds = 3\ntest = "prediction-interval"', "expected.metrics[0].samples", "nothing"),
        ("samples = [0.6]", 'seeds = 3\ntest = "prediction-interval"', "expected.metrics[0].samples", "one value"),
        ("samples = [0.6, 0.7]", 'seeds = 3\ntest = "equivalence"', "expected.metrics[0].margin", "nothing"),
        ("samples = [0.6, 0.7]\nseeds = [1]", "", "expected.metrics[0].seeds", "1 seeds for 2 samples"),
        ("seeds = [1]", "", "expected.metrics[0]", "`seeds`"),
        ("margin = 0.0", "", "expected.metrics[0].margin", "0.0"),
        ('samples = ["x"]', "", "expected.metrics[0].samples[0]", '"x"'),
    ],
)
def test_what_is_wrong_with_seeds_is_said_by_its_key(
    tmp_path: Path, metric: str, verify: str, path: str, found: str
) -> None:
    problems = {
        problem.toml_path: problem for problem in inspect(with_seeds(tmp_path, metric=metric, verify=verify)).problems
    }
    assert path in problems, problems
    assert found in problems[path].found
    assert problems[path].line is not None


@pytest.mark.parametrize(
    ("metric", "verify"),
    [
        ("samples = [0.6, 1]\nseeds = [7, 8]", "seeds = 5"),
        ("samples = [0.6, 0.7]", 'seeds = [3, 4]\ntest = "prediction-interval"'),
        ("samples = [0.6, 0.7]\nmargin = 0.1", 'seeds = 2\ntest = "equivalence"'),
        ("samples = [0.6, 0.7]", 'seeds = 2\ntest = "equivalence"\nrelative_margin = 0.01\nconfidence = 0.9'),
    ],
)
def test_seeds_change_nothing_of_what_a_record_pins(tmp_path: Path, metric: str, verify: str) -> None:
    (tmp_path / "plain").mkdir()
    plain: dict[str, Any] = pinned_job(load(with_seeds(tmp_path / "plain")))
    assert pinned_job(load(with_seeds(tmp_path, metric=metric, verify=verify))) == plain
