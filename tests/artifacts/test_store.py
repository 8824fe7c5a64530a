"""The store under damage, kills, full disks, other umasks and company."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from repro_tui.artifacts.store import Store, default_store_path
from repro_tui.errors import DigestMismatchError, InfrastructureError, StoreFullError
from repro_tui.manifest.trees import tree_digest, tree_files
from tests.artifacts.artifact_lab import sha256

DATA = b"some bytes\n" * 1000
OTHER = b"other bytes\n"


def put(store: Store, data: bytes, folder: Path) -> Path:
    source = folder / "source"
    source.write_bytes(data)
    return store.put_file(source, sha256=sha256(data), component="thing")


def files_of(store: Store) -> list[str]:
    """Return what is kept, without locks, claims and empty folders."""
    kept = (path.relative_to(store.root) for path in store.root.rglob("*") if path.is_file())
    return sorted(str(path) for path in kept if path.parts[0] not in {"locks", "users", "CACHEDIR.TAG"})


def test_kept_files_are_read_only_and_found_again(store: Store, tmp_path: Path) -> None:
    path = put(store, DATA, tmp_path)
    assert path.stat().st_mode & 0o777 == 0o444
    assert store.blob(sha256(DATA)) == path
    assert path.read_bytes() == DATA


def test_other_bytes_are_refused_and_leave_nothing(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(OTHER)
    for move in (False, True):
        with pytest.raises(DigestMismatchError) as caught:
            store.put_file(source, sha256=sha256(DATA), component="weights", move=move)
        assert caught.value.component == "weights"
        assert (caught.value.expected, caught.value.observed) == (sha256(DATA), sha256(OTHER))
        assert str(source) in caught.value.where
    assert files_of(store) == []


def test_a_flipped_byte_is_found_before_use_and_put_aside(store: Store, tmp_path: Path) -> None:
    path = put(store, DATA, tmp_path)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(5000)
        file.write(b"X")
    assert store.blob(sha256(DATA)) is None
    assert not path.exists()
    assert [name.partition("/")[0] for name in files_of(store)] == ["quarantine"]
    assert put(store, DATA, tmp_path).read_bytes() == DATA


def test_a_damaged_tree_is_found_before_use(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "train.py").write_bytes(DATA)
    (folder / "run.sh").write_bytes(OTHER)
    (folder / "run.sh").chmod(0o755)
    digest = tree_digest(tree_files(folder))
    kept = store.put_tree(folder, tree_sha256=digest, component="code")
    assert store.tree(digest) == kept
    assert os.access(kept / "run.sh", os.X_OK)
    (kept / "sub" / "extra.py").write_bytes(b"")
    assert store.tree(digest) is None
    again = store.put_tree(folder, tree_sha256=digest, component="code")
    (again / "run.sh").chmod(0o644)
    assert store.tree(digest) is None


def test_a_tree_with_a_link_is_refused(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "secret").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="symbolic link"):
        store.put_tree(folder, tree_sha256="0" * 64, component="code")
    assert files_of(store) == []


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o277])
def test_any_umask_gives_the_same_modes(tmp_path: Path, umask: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "train.py").write_bytes(DATA)
    digest = tree_digest(tree_files(folder))
    before = os.umask(umask)
    try:
        store = Store(tmp_path / "a" / "store")
        blob = store.put_file(source, sha256=sha256(DATA), component="thing")
        tree = store.put_tree(folder, tree_sha256=digest, component="code")
        with store.lock("x"), store.scratch() as scratch:
            (scratch / "built").mkdir(mode=0o755)
            (scratch / "built").chmod(0o755)
            derived = store.publish(scratch / "built", "images", "sha256:1")
        assert Store(store.root).blob(sha256(DATA)) == blob
    finally:
        os.umask(before)
    modes = {
        path: path.stat().st_mode & 0o777 for path in (blob, tree, tree / "train.py", derived, blob.parent, store.root)
    }
    assert list(modes.values()) == [0o444, 0o755, 0o444, 0o755, 0o755, 0o755]
    store.close()


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_process_leaves_nothing_whole_and_its_scratch_is_swept(tmp_path: Path) -> None:
    root = tmp_path / "store"
    writer = run_python(
        """
        import sys, time
        from pathlib import Path
        from repro_tui.artifacts.store import Store

        class Endless:
            def read(self, size):
                print("reading", flush=True)
                time.sleep(0.05)
                return b"x" * 65536

        store = Store(Path(sys.argv[1]))
        with store.lock("artifact-x"):
            store.put_stream(Endless(), sha256="0" * 64, component="c", where="w")
        """,
        root,
    )
    assert writer.stdout is not None
    for _ in range(3):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert any((root / "scratch").iterdir())
    store = Store(root)
    with store.lock("artifact-x"), store.scratch() as scratch:  # the lock went with its holder
        assert sorted(path.name for path in (root / "scratch").iterdir()) == [scratch.name, f"{scratch.name}.lock"]
    assert store.blob("0" * 64) is None
    assert files_of(store) == []


def test_claims_of_dead_processes_are_swept_and_those_of_live_ones_stay(tmp_path: Path) -> None:
    root = tmp_path / "store"
    dead = run_python(
        """
        import os, sys
        from pathlib import Path
        from repro_tui.artifacts.store import Store
        Store(Path(sys.argv[1])).folder("images", "key")
        os._exit(0)
        """,
        root,
    )
    dead.communicate()
    assert len(list((root / "users").iterdir())) == 1
    live = Store(root)
    live.folder("images", "key")
    with Store(root).scratch():
        assert [path.read_text() for path in (root / "users").iterdir()] == ["derived/images/key\n"]
    live.close()
    assert list((root / "users").iterdir()) == []


def test_scratch_of_a_live_process_is_left_alone(tmp_path: Path) -> None:
    mine, other = Store(tmp_path / "store"), Store(tmp_path / "store")
    with mine.scratch() as first:
        (first / "work").write_bytes(DATA)
        with other.scratch():
            assert (first / "work").read_bytes() == DATA


def test_a_lock_keeps_others_out_until_its_process_ends(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    holder = run_python(
        """
        import sys, time
        from pathlib import Path
        from repro_tui.artifacts.store import Store
        with Store(Path(sys.argv[1])).lock("digest"):
            print("held", flush=True)
            time.sleep(60)
        """,
        store.root,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    waited = []

    def on_wait() -> None:
        waited.append(time.monotonic())
        holder.kill()

    with store.lock("digest", on_wait=on_wait):
        assert len(waited) == 1
    holder.wait()
    holder.stdout.close()


def test_two_processes_may_put_the_same_file_at_once(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA * 500)
    digest = sha256(DATA * 500)
    code = """
        import sys
        from pathlib import Path
        from repro_tui.artifacts.store import Store
        store = Store(Path(sys.argv[1]))
        for _ in range(5):
            store.put_file(Path(sys.argv[2]), sha256=sys.argv[3], component="c")
            assert store.blob(sys.argv[3]) is not None
        """
    writers = [run_python(code, tmp_path / "store", source, digest) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.close()
    store = Store(tmp_path / "store")
    assert files_of(store) == [f"blobs/{digest}"]


def test_a_folder_is_published_whole_and_the_first_one_stays(store: Store) -> None:
    for text in ("first", "second"):
        with store.scratch() as scratch:
            (scratch / "image").mkdir()
            (scratch / "image" / "text").write_text(text)
            assert not (place := store.folder("images", "sha256:abc")).exists() or text == "second"
            assert store.publish(scratch / "image", "images", "sha256:abc") == place
    assert (store.folder("images", "sha256:abc") / "text").read_text() == "first"


@pytest.mark.parametrize("key", ["../x", "a/b", "", ".hidden"])
def test_names_cannot_lead_out_of_the_store(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        store.folder("images", key)
    with pytest.raises(ValueError, match="not a SHA-256"):
        store.blob(f"../{key}")


def test_a_store_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InfrastructureError) as caught:
        put(Store(tmp_path / "file" / "store"), DATA, tmp_path)
    assert "REPRO_TUI_STORE" in caught.value.hint


def test_the_environment_names_the_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REPRO_TUI_STORE", str(tmp_path / "mine"))
    assert default_store_path() == tmp_path / "mine"
    monkeypatch.delenv("REPRO_TUI_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_store_path() == tmp_path / "cache" / "repro-tui"


FULL_DISK = """
    import subprocess, sys
    from pathlib import Path
    from repro_tui.artifacts.fetch import Fetcher
    from repro_tui.artifacts.store import Store
    from repro_tui.errors import StoreFullError

    root, source, digest, small, small_digest = sys.argv[1:]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", root], check=True)
    store = Store(Path(root) / "store")
    store.put_file(Path(small), sha256=small_digest, component="small")
    try:
        store.put_file(Path(source), sha256=digest, component="large")
    except StoreFullError as error:
        print(error.hint)
    assert store.blob(digest) is None
    assert store.blob(small_digest) is not None
    assert [p.name for p in (store.root / "blobs").iterdir()] == [small_digest]
    assert list((store.root / "scratch").iterdir()) == []
    """


def test_a_full_disk_is_said_and_leaves_the_store_usable(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Urm", "true"], check=False).returncode != 0:
        pytest.skip("no user namespaces here, so no small file system can be mounted")
    mount, large, small = tmp_path / "disk", tmp_path / "large", tmp_path / "small"
    mount.mkdir()
    large.write_bytes(os.urandom(3 << 20))
    small.write_bytes(DATA)
    arguments = [mount, large, sha256(large.read_bytes()), small, sha256(DATA)]
    finished = subprocess.run(
        ["unshare", "-Urm", sys.executable, "-c", textwrap.dedent(FULL_DISK), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "repro-tui prune" in finished.stdout


def test_a_quota_counts_as_full(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def over_quota(*_: object) -> None:
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr("repro_tui.artifacts.store.os.replace", over_quota)
    with pytest.raises(StoreFullError):
        put(store, DATA, tmp_path)
