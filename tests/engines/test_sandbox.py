"""Which options bubblewrap gets, and what is refused before it is asked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from repro_tui.engines import sandbox
from repro_tui.engines.base import Limits, Mount, tmpfs_bytes
from repro_tui.errors import EngineError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    for name in ("proc", "dev", "tmp", "out", "inputs", "job", "usr/lib"):
        (made / name).mkdir(parents=True)
    (made / "usr/lib/file").touch()
    (made / "link").symlink_to("/out")
    return made


def options(
    root: Path, *mounts: Mount, environment: Mapping[str, str] | None = None, overlay: bool = False
) -> list[str]:
    return sandbox.arguments(
        root, mounts, environment or {}, cwd="/out", tmp_bytes=1 << 20, shared_memory_bytes=1 << 19, overlay=overlay
    )


def test_a_mount_below_an_empty_folder_gets_a_read_only_tmpfs_there(root: Path, tmp_path: Path) -> None:
    data, job = tmp_path / "data", tmp_path / "job.json"
    data.mkdir()
    job.touch()
    line = " ".join(
        options(root, Mount(data, "/inputs/a/b"), Mount(data, "/inputs/c"), Mount(job, "/job/job.json"), Mount(data, "/out", read_only=False))
    )  # fmt: skip
    assert line.count("--tmpfs /inputs ") == 1
    assert (
        line.index("--tmpfs /inputs") < line.index(f"--ro-bind {data} /inputs/a/b") < line.index("--remount-ro /inputs")
    )
    assert f"--ro-bind {job} /job/job.json" in line
    assert f"--bind {data} /out" in line
    assert "--tmpfs /out" not in line


def test_the_environment_is_cleared_and_set(root: Path) -> None:
    given = options(root, environment={"A": "x y", "B": ""})
    assert "--clearenv" in given
    at = given.index("A")
    assert given[at - 1 : at + 2] == ["--setenv", "A", "x y"]
    assert given[given.index("B") + 1] == ""


@pytest.mark.parametrize(
    "option",
    ["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session", "--clearenv"],
)
def test_no_container_is_without_its_isolation(root: Path, option: str) -> None:
    assert option in options(root)
    assert "--share-net" not in options(root)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("relative", "not a place to mount on"),
        ("/", "not a place to mount on"),
        ("/out/../etc", "not a place to mount on"),
        ("/nowhere/x", "nothing at /nowhere/x"),
        ("/usr/lib/x", "nothing at /usr/lib/x"),
        ("/link", "nothing at /link"),
        ("/usr/lib/file", "nothing at /usr/lib/file"),
    ],
)
def test_a_place_that_cannot_be_mounted_on_is_named(root: Path, tmp_path: Path, target: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        options(root, Mount(tmp_path, target))


def test_a_source_that_is_not_there_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="gone"):
        options(root, Mount(tmp_path / "gone", "/out"))


def test_two_mounts_on_one_place_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="two things"):
        options(root, Mount(tmp_path, "/out"), Mount(tmp_path / "root", "/out/"))


def test_a_mount_inside_a_mount_needs_its_place_there(root: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    with pytest.raises(EngineError, match="/out has no /out/inner"):
        options(root, Mount(outer, "/out"), Mount(tmp_path, "/out/inner"))
    (outer / "inner").mkdir()
    assert "/out/inner" in options(root, Mount(outer, "/out"), Mount(tmp_path, "/out/inner"))


def test_a_root_without_mount_points_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="nothing at /proc"):
        options(tmp_path)


def test_places_that_the_image_lacks_are_made_in_an_overlay_that_is_read_only_in_the_end(
    root: Path, tmp_path: Path
) -> None:
    (root / "dev").rmdir()
    data, job = tmp_path / "data", tmp_path / "job.json"
    data.mkdir()
    job.touch()
    mounts = [Mount(data, "/opt/my data/x"), Mount(job, "/usr/lib/job.json"), Mount(data, "/inputs/a")]
    assert sandbox.lacking(root, mounts) == ["/dev", "/opt/my data/x", "/usr/lib/job.json"]
    given = options(root, *mounts, overlay=True)
    line = " ".join(given)
    assert (
        f"--overlay-src {root} --tmp-overlay / --perms 0755 --dir /opt --perms 0755 --dir /opt/my data --proc" in line
    )
    assert line.index(f"--ro-bind {job} /usr/lib/job.json") < line.index("--remount-ro / ")
    assert "--tmpfs /inputs" in line
    assert f"--ro-bind {root} /" not in line


def test_an_image_that_lacks_nothing_is_no_overlay(root: Path, tmp_path: Path) -> None:
    given = options(root, Mount(tmp_path, "/inputs/a"), overlay=True)
    assert "--tmp-overlay" not in given
    assert given[given.index("--ro-bind") : given.index("--ro-bind") + 3] == ["--ro-bind", str(root), "/"]


@pytest.mark.parametrize("target", ["/link", "/link/x", "/usr/lib/file", "/usr/lib/file/x"])
def test_an_overlay_replaces_nothing_of_the_image(root: Path, tmp_path: Path, target: str) -> None:
    with pytest.raises(EngineError, match=f"nothing at {target} to mount on"):
        options(root, Mount(tmp_path, target), overlay=True)


def test_an_old_bubblewrap_makes_no_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = sandbox.Bubblewrap(tmp_path / "bwrap", (0, 8, 0), "host")
    monkeypatch.setattr(sandbox, "candidates", lambda: (old,))
    assert sandbox.choose_overlay(tmp_path) == (None, "bubblewrap is older than 0.11")


def test_an_old_bubblewrap_on_path_gives_way_to_the_bundled_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "bwrap"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for version, origin in (("0.6.1", "bundled"), ("0.8.0", "host"), ("nonsense", "bundled")):
        fake.write_text(f"#!/bin/sh\necho 'bubblewrap {version}'\n")
        fake.chmod(0o755)
        sandbox.candidates.cache_clear()
        try:
            assert sandbox.candidates()[0].origin == origin
        finally:
            sandbox.candidates.cache_clear()


def test_one_that_does_not_work_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo bubblewrap 1.0 && exit 0\necho "no permissions" >&2; exit 1\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    sandbox.candidates.cache_clear()
    sandbox.choose.cache_clear()
    try:
        assert sandbox.candidates()[0].trial() == "no permissions"
        program, reason = sandbox.choose()
        assert program is None or program.origin == "bundled"
        assert reason or program
    finally:
        sandbox.candidates.cache_clear()
        sandbox.choose.cache_clear()


def test_tmp_is_as_large_as_the_memory_or_half_the_hosts() -> None:
    assert tmpfs_bytes(Limits(memory_bytes=5)) == 5
    assert tmpfs_bytes(Limits()) * 2 == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
