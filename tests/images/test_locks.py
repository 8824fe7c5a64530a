"""Locks: what is read, and that every problem is reported with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro_tui.errors import ManifestError
from repro_tui.images.debs import read_base_lock
from repro_tui.images.locks import NOTHING, LockedWheel, read_lock
from repro_tui.images.recipe import find_lock, find_recipe, known_recipes, load_recipe
from tests.images.image_parts import RECIPE

A, B, C = "a" * 64, "b" * 64, "c" * 64


def lock(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "lock"
    path.write_text(text)
    return path


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read_lock(lock(tmp_path, text))
    return [problem.removeprefix(str(tmp_path / "lock")) for problem in caught.value.problems]


def test_requirements_with_continuations_comments_and_several_hashes(tmp_path: Path) -> None:
    text = f"""\
# made by hand
--require-hashes
Zope.Interface==5.0 \\
    --hash=sha256:{B} \\
    --hash=sha256:{A}
    # via something
torch[opt]==2.1+cpu --hash=sha256:{C}  # a comment
"""
    assert read_lock(lock(tmp_path, text)) == (
        LockedWheel("torch", "2.1+cpu", (C,)),
        LockedWheel("zope-interface", "5.0", (B, A)),
    )


def test_markers_are_evaluated_for_the_image(tmp_path: Path) -> None:
    text = f"""\
kept==1 ; python_version == "3.11" and sys_platform == "linux" --hash=sha256:{A}
gone==1 ; sys_platform == "win32" --hash=sha256:{B}
arm==1 ; platform_machine == "aarch64" --hash=sha256:{C}
"""
    path = lock(tmp_path, text)
    assert [wheel.name for wheel in read_lock(path)] == ["kept"]
    assert [wheel.name for wheel in read_lock(path, platform="linux/arm64")] == ["arm", "kept"]


def test_every_problem_of_a_lock_is_reported_with_its_line(tmp_path: Path) -> None:
    text = f"""\
good==1 --hash=sha256:{A}
loose>=1 --hash=sha256:{A}
star==1.* --hash=sha256:{A}
bare==1
weak==1 --hash=md5:abc
direct @ https://example.org/x.whl
--index-url https://example.org/simple
-e .
Good==2 --hash=sha256:{B}
not a requirement
odd==1 --hash=sha256:{A} --no-deps
"""
    found = problems(tmp_path, text)
    for number, words in [
        (2, "loose is not pinned"),
        (3, "star is not pinned"),
        (4, "bare has no hash"),
        (5, "weak: found --hash=md5:abc"),
        (6, "direct is required by an address"),
        (7, "'--index-url'"),
        (8, "'-e'"),
        (9, "good is locked twice"),
        (10, "'not a requirement'"),
        (11, "'--no-deps'"),
    ]:
        assert any(problem.startswith(f":{number}: ") and words in problem for problem in found), (number, words)
    assert len(found) == 10


def test_empty_and_missing_locks_are_problems(tmp_path: Path) -> None:
    assert problems(tmp_path, "# nothing\n") == [": no package is locked"]
    with pytest.raises(ManifestError, match="cannot be read"):
        read_lock(tmp_path / "none")


def test_a_lock_of_nothing_says_so(tmp_path: Path) -> None:
    assert read_lock(lock(tmp_path, f"# made by hand\n{NOTHING}\n")) == ()
    assert read_lock(lock(tmp_path, 'lock-version = "1.0"\npackages = []\n')) == ()


def test_pylock_takes_the_wheels_that_fit_best_first(tmp_path: Path) -> None:
    text = f"""\
lock-version = "1.0"
created-by = "a test"

[[packages]]
name = "Num_Py"
version = "2.0"
[[packages.wheels]]
url = "https://example.org/num_py-2.0-py3-none-any.whl"
hashes = {{sha256 = "{A}"}}
[[packages.wheels]]
name = "num_py-2.0-cp311-cp311-manylinux_2_28_x86_64.whl"
hashes = {{sha256 = "{B}"}}
[[packages.wheels]]
name = "num_py-2.0-cp312-cp312-manylinux_2_28_x86_64.whl"
hashes = {{sha256 = "{C}"}}

[[packages]]
name = "windows-only"
version = "1"
marker = "sys_platform == 'win32'"
"""
    assert read_lock(lock(tmp_path, text)) == (LockedWheel("num-py", "2.0", (B, A)),)


def test_every_problem_of_a_pylock_is_reported_with_its_line(tmp_path: Path) -> None:
    text = f"""\
lock-version = "1.0"

[[packages]]
name = "vcs"
version = "1"
vcs = {{type = "git"}}

[[packages]]
name = "unversioned"

[[packages]]
name = "elsewhere"
version = "1"
wheels = [{{name = "elsewhere-1-cp311-cp311-win_amd64.whl", hashes = {{sha256 = "{A}"}}}}]

[[packages]]
name = "unhashed"
version = "1"
wheels = [{{name = "unhashed-1-py3-none-any.whl", hashes = {{md5 = "abc"}}}}]
"""
    found = problems(tmp_path, text)
    assert [problem.partition(": ")[0] for problem in found] == [":3", ":8", ":11", ":16"]
    assert "comes from a vcs" in found[0]
    assert "has no version" in found[1]
    assert "no wheel for this image" in found[2]


def test_pylock_of_another_version_is_refused(tmp_path: Path) -> None:
    assert "lock-version is '2.0'" in problems(tmp_path, 'lock-version = "2.0"\npackages = []\n')[0]


def test_base_lock_reports_bad_lines(tmp_path: Path) -> None:
    good = f"bash 5.2-1 amd64 {A} pool/main/b/bash/bash_5.2-1_amd64.deb 100"
    path = lock(tmp_path, f"# comment\n{good}\n{good}\nbash 5.2\nx 1 amd64 {A} http://example.org/x.deb 1\n")
    with pytest.raises(ManifestError) as caught:
        read_base_lock(path)
    assert [problem.partition("lock:")[2][0] for problem in caught.value.problems] == ["3", "4", "5"]


def test_recipe_reports_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "image.toml"
    path.write_text(RECIPE.replace('"usr/share/doc/",', '"../etc/",').replace("buckets = 4", "bucket = 4"))
    with pytest.raises(ManifestError) as caught:
        load_recipe(path)
    assert {problem.split(": ")[1] for problem in caught.value.problems} == {"base.drop.0", "layers.bucket"}


def test_unknown_recipe_names_the_known_ones() -> None:
    assert "torch-cpu" in known_recipes()
    with pytest.raises(ManifestError) as caught:
        find_recipe("torch-cpuu")
    assert "torch-cpu" in caught.value.hint


def test_shipped_locks_are_exact_and_hold_no_address() -> None:
    for name in known_recipes():
        recipe = find_recipe(name)
        debs = read_base_lock(recipe.base_lock)
        assert not {deb.name for deb in debs} & set(recipe.base.leave_out)
        assert all("/security/" not in deb.pool_path for deb in debs)
        wheels = read_lock(find_lock(name))
        assert all(len(wheel.sha256s) == 1 for wheel in wheels)
        for path in (recipe.path, recipe.base_lock, find_lock(name)):
            assert "://" not in path.read_text()
