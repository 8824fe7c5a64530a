"""Pruning: by last use, around what others use, exactly so much, and by the command line."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from repro_tui.artifacts.pruning import prune
from repro_tui.artifacts.store import Store
from repro_tui.cli.main import main
from tests.artifacts.artifact_lab import sha256

DAY_S = 24 * 3600.0


def put(root: Path, data: bytes, *, days: float) -> Path:
    """Keep data that was last used so many days ago, by a process that has ended."""
    store = Store(root)
    source = root.parent / "source"
    source.write_bytes(data)
    path = store.put_file(source, sha256=sha256(data), component="thing")
    then = time.time() - days * DAY_S
    os.utime(path, (then, then))
    store.close()
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_what_was_not_used_for_long_goes(root: Path) -> None:
    old, new = put(root, b"old" * 100, days=40), put(root, b"new" * 100, days=3)
    pruned = prune(Store(root), older_than_s=30 * DAY_S)
    assert (old.exists(), new.exists()) == (False, True)
    assert (pruned.freed_bytes, pruned.left_bytes) == (300, 300)
    assert [entry.name for entry in pruned.removed] == [f"blobs/{old.name}"]


def test_use_counts_not_age(root: Path) -> None:
    old = put(root, b"old" * 100, days=40)
    user = Store(root)
    assert user.blob(old.name) == old
    user.close()
    assert prune(Store(root), older_than_s=30 * DAY_S).removed == ()


def test_the_longest_unused_go_first_until_it_fits(root: Path) -> None:
    paths = [put(root, bytes([day]) * 1000, days=day) for day in (1, 4, 2, 3)]
    prune(Store(root), max_bytes=2500)
    assert [path.exists() for path in paths] == [True, False, True, False]


def test_a_dry_run_only_tells(root: Path) -> None:
    path = put(root, b"x" * 1000, days=1)
    pruned = prune(Store(root), everything=True, dry_run=True)
    assert (pruned.freed_bytes, pruned.left_bytes, path.exists()) == (1000, 0, True)


def test_what_a_live_process_uses_stays(root: Path) -> None:
    used, unused = put(root, b"used", days=99), put(root, b"unused", days=99)
    code = """
        import sys, time
        from pathlib import Path
        from repro_tui.artifacts.store import Store
        store = Store(Path(sys.argv[1]))
        store.blob(sys.argv[2])
        store.folder("images", "key")
        print("using", flush=True)
        time.sleep(60)
        """
    user = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(root), used.name], stdout=subprocess.PIPE, text=True
    )
    assert user.stdout is not None
    assert user.stdout.readline() == "using\n"
    image = root / "derived" / "images" / "key"
    image.mkdir()
    (image / "layer").write_bytes(b"layer")
    try:
        pruned = prune(Store(root), everything=True)
        assert (used.exists(), unused.exists(), image.exists()) == (True, False, True)
        assert {entry.name for entry in pruned.in_use} == {f"blobs/{used.name}", "derived/images/key"}
    finally:
        user.kill()
        user.wait()
        user.stdout.close()
    prune(Store(root), everything=True)
    assert not used.exists()
    assert not image.exists()


def test_a_download_in_progress_stays(root: Path) -> None:
    store = Store(root)
    part = store.partial("0" * 64)
    part.write_bytes(b"half")
    with store.lock("download-" + "0" * 64):
        assert [entry.name for entry in prune(Store(root), everything=True).in_use] == [f"partial/{part.name}"]
        assert part.exists()
    prune(Store(root), everything=True)
    assert not part.exists()


def test_shared_files_count_once_and_free_with_their_last_link(root: Path) -> None:
    store = Store(root)
    for name in ("layer", "image"):
        with store.scratch() as scratch:
            (scratch / name).mkdir()
            if name == "layer":
                (scratch / name / "file").write_bytes(b"x" * 1000)
            else:
                os.link(store.folder("layers", "layer") / "file", scratch / name / "file")
            place = store.publish(scratch / name, f"{name}s", name)
            then = time.time() - (9 if name == "layer" else 5) * DAY_S
            os.utime(place, (then, then))
    store.close()
    pruned = prune(Store(root), older_than_s=7 * DAY_S)
    assert (pruned.freed_bytes, pruned.left_bytes) == (0, 1000)
    pruned = prune(Store(root), everything=True)
    assert (pruned.freed_bytes, pruned.left_bytes) == (1000, 0)


def test_rubbish_goes_always_and_read_only_folders_too(root: Path) -> None:
    path = put(root, b"good", days=0)
    path.chmod(0o644)
    path.write_bytes(b"evil")
    store = Store(root)
    assert store.blob(path.name) is None
    with store.scratch() as scratch:
        (scratch / "image" / "sub").mkdir(parents=True)
        (scratch / "image" / "sub" / "file").write_bytes(b"1")
        (scratch / "image" / "sub").chmod(0o555)
        image = store.publish(scratch / "image", "images", "old")
    os.utime(image, (0, 0))
    with store.lock("unused"):
        pass
    store.close()
    prune(Store(root), older_than_s=DAY_S)
    left = sorted(
        str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.parent.name != "users"
    )
    assert left == ["CACHEDIR.TAG", "locks/gate"]


def test_the_command_prints_what_went(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = put(root, b"old" * 1000, days=40), put(root, b"new" * 1000, days=3)
    assert main(["prune", "--store", str(root), "--dry-run"]) == 0
    assert old.exists()
    assert "would free 3.0 kB, 3.0 kB left" in capsys.readouterr().err
    assert main(["prune", "--store", str(root)]) == 0
    told = capsys.readouterr()
    assert told.out.split()[:3] == [f"blobs/{old.name}", "3.0", "kB"]
    assert "freed 3.0 kB" in told.err
    assert main(["prune", "--store", str(root), "--max-size", "1 kB"]) == 0
    assert not new.exists()


def test_the_command_refuses_nonsense_and_an_empty_store_is_fine(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prune", "--store", str(root)]) == 0
    assert not root.exists()
    for arguments in (["--older-than", "-1"], ["--max-size", "much"], ["--older-than", "nan"]):
        with pytest.raises(SystemExit) as caught:
            main(["prune", "--store", str(root), *arguments])
        assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
