"""Whatever one thing is changed between two runs, it is named first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from repro_tui.manifest.loading import load
from repro_tui.report.explain.explain import explain
from repro_tui.report.explain.model import Kind
from repro_tui.report.explain.sides import of_manifest, of_record
from tests.cli.project import Project
from tests.report.explain.workbench import Bench, Change, edit, recode, repin


def seen(key: str, value: Any) -> Change:
    """What the probe finds otherwise: `distributions.torch.version`."""

    def change(project: Project) -> None:
        *parents, last = key.split(".")
        table = project.wish["environment"]
        for parent in parents:
            table = table[parent]
        table[last] = value

    return change


def both(*changes: Change) -> Change:
    def change(project: Project) -> None:
        for each in changes:
            each(project)

    return change


def threads(project: Project) -> None:
    edit(project, "threads = 1", "threads = 2")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        seen(f"variables.{name}", "2")(project)
    seen("libraries.threads", 2)(project)


def package(project: Project) -> None:
    """As it is in life: another lock, so another image too."""
    repin(project, "lock.txt", "six==1.16.0 --hash=sha256:" + "1" * 64 + "\n")
    seen("distributions.torch", {"version": "2.12.0", "sha256": "d" * 64})(project)


CHANGES: dict[str, tuple[Change, Kind, str, str, str]] = {
    "hyperparameter": (
        lambda p: edit(p, "rate = 0.1", "rate = 0.101"), Kind.HYPERPARAMETER, "rate", "0.1", "0.101"),
    "package": (package, Kind.PACKAGE, "torch", "2.13.0", "2.12.0"),
    "threads": (threads, Kind.THREADS, "threads", "1", "2"),
    "data row": (
        lambda p: repin(p, "numbers.txt", "1 2 4\n"), Kind.DATA, "artifact numbers", "", ""),
    "code line": (
        lambda p: recode(p, 'print("step", step)', 'print("Step", step)'), Kind.CODE, "artifact code", "", ""),
    "seed": (lambda p: edit(p, "seed = 7", "seed = 8"), Kind.SEED, "seed", "7", "8"),
    "capability": (
        both(lambda p: edit(p, 'cpu_capability = "default"', 'cpu_capability = "avx2"'),
             seen("variables.ATEN_CPU_CAPABILITY", "avx2"), seen("libraries.cpu_capability", "avx2")),
        Kind.CPU_CAPABILITY, "CPU capability", "default", "avx2"),
    "split rule": (lambda p: edit(p, "fraction = 0.5", "fraction = 0.25"), Kind.SPLIT, "splits.part.fraction", "0.5",
                   "0.25"),
    "variable": (
        both(lambda p: edit(p, "threads = 1", 'threads = 1\nvariables = { WORDS = "yes" }'),
             seen("variables.WORDS", "yes")),
        Kind.VARIABLE, "WORDS", "", "yes"),
    "CPU": (seen("host.cpu_vendor", "Other"), Kind.CPU, "CPU vendor", "Acme", "Other"),
    "driver": (seen("host.driver", "550.1"), Kind.GPU, "driver", "none", "550.1"),
    "determinism": (
        lambda p: edit(p, 'level = "bitwise"', 'level = "metric"'), Kind.DETERMINISM, "level", "bitwise", "metric"),
    "files": (seen("distributions.torch.sha256", "f" * 64), Kind.PACKAGE, "torch", "2.13.0", "2.13.0"),
    "Python": (seen("python.version", "3.11.3"), Kind.PACKAGE, "Python", "3.11.2", "3.11.3"),
}  # fmt: skip


RUN = ("hyperparameter", "package", "threads", "data row", "code line")
"""These are really run; of the others the manifest and the probe's summary are the changed ones."""


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed_is_named_first(bench: Bench, name: str, tmp_path: Path) -> None:
    change, kind, what, left, right = CHANGES[name]
    found = bench.explain(bench.run(change) if name in RUN else bench.as_if_run(change, tmp_path))
    first = found.causes[0]
    assert (first.kind, first.name) == (kind, what), found.causes
    if left or right:
        assert (first.left, first.right) == (left, right)
    assert found.differs
    assert not found.same
    others = [each for each in found.causes[1:] if each.weight]
    assert not others, "everything else follows from it"


def test_a_changed_image_is_named_where_the_packages_are_the_same(bench: Bench) -> None:
    run = bench.run(lambda p: repin(p, "lock.txt", "six==1.17.0 --hash=sha256:" + "2" * 64 + "\n"))
    first, second = bench.explain(run).causes
    assert (first.kind, first.name) == (Kind.IMAGE, "image manifest digest")
    assert "the packages inside are the same" in first.why
    assert second.name == "dependency lock"


def test_the_row_that_was_changed_is_shown(bench: Bench, tmp_path: Path) -> None:
    run = bench.as_if_run(lambda p: repin(p, "numbers.txt", "1 2 5\n"), tmp_path)
    details = bench.explain(run).causes[0].details
    assert details == ("1 row changed; the first at row 1", "- 1 2 3", "+ 1 2 5")


def test_the_line_of_code_that_was_changed_is_shown(bench: Bench) -> None:
    run = bench.run(lambda p: recode(p, "rate / step", "rate / step + 1"))
    found = bench.explain(run)
    details = found.causes[0].details
    assert details[0] == "train.py: 1 line added, 1 removed"
    assert any(line.startswith("+") and "rate / step + 1" in line for line in details)
    assert found.parting is not None
    assert found.parting.bits == (1, 0.1, 1.1)
    assert "from the first step on" in found.parting.hint


def test_two_runs_of_the_same_are_the_same(bench: Bench) -> None:
    found = bench.explain(bench.run())
    assert found.causes == ()
    assert found.same
    assert not found.unknown
    assert found.parting is not None
    assert (found.parting.bits, found.parting.compared) == (None, 5)
    assert {each.name for each in found.outcomes} == {"test/accuracy", "bytes of weights"}
    assert all(each.same for each in found.outcomes)


def test_a_run_and_a_manifest(bench: Bench) -> None:
    run = bench.run(lambda p: edit(p, "rate = 0.1", "rate = 0.2"))
    loaded = load(bench.project.manifest)
    found = explain(of_manifest(loaded), bench.side(run))
    assert found.causes == (), "the run is one of this manifest"
    assert found.differs, "its metric is not the expected one"
    assert [each.difference for each in found.outcomes if each.name == "test/accuracy"] == ["+0.6"]
    assert "of the left one: what the probe saw, the machine" in found.unknown
    first = explain(of_manifest(loaded), bench.side(bench.base)).causes[0]
    assert (first.name, first.left, first.right) == ("rate", "0.2", "0.1")
    assert of_record(loaded).named.kind == "manifest", "there is no record"


def test_two_manifests_differ_in_a_package_of_their_locks(bench: Bench) -> None:
    bench.change(package)
    one = of_manifest(load(bench.project.manifest))
    bench.change(lambda p: repin(p, "lock.txt", "six==1.15.0 --hash=sha256:" + "1" * 64 + "\n"))
    other = of_manifest(load(bench.project.manifest))
    first = explain(one, other).causes[0]
    assert (first.kind, first.name, first.left, first.right) == (Kind.PACKAGE, "six", "1.16.0", "1.15.0")
