"""The content-addressed store: whatever a run needs, kept on this host under the SHA-256 of its bytes.

    blobs/<sha256>          one file each, mode 0444
    trees/<tree digest>/    one folder each, as manifest/trees.py digests it
    derived/<kind>/<key>/   what was made from those (an image), published whole by one rename
    partial/<sha256>        an interrupted download that can be resumed
    quarantine/             what no longer had the bytes it was stored under
    scratch/ locks/ users/  work in progress, who holds what, and what live processes are using

Nothing here is trusted: content is hashed again before every use, and everything arrives by a rename after it was
checked, so that a process killed at any moment leaves nothing that could be taken for whole.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from repro_tui.artifacts.digests import Readable, copy_hashed, sha256_file
from repro_tui.artifacts.locking import ClaimsFile, lock_new, locked, try_lock
from repro_tui.errors import DigestMismatchError, InfrastructureError, StoreFullError
from repro_tui.manifest.trees import tree_digest, tree_files

ENV_STORE = "REPRO_TUI_STORE"
"""Environment variable that names the store's folder."""

_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# A cache of repro-tui; `repro-tui prune` shrinks it.\n"
_SAFE_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def default_store_path() -> Path:
    """Return the store's folder: $REPRO_TUI_STORE, else "repro-tui" in the platform's cache folder."""
    if named := os.environ.get(ENV_STORE):
        return Path(named).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("repro-tui")


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn "no space left" into StoreFullError, and a folder that may not be written into an error with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise store_full(folder) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOLCK}:
            raise InfrastructureError(
                f"the store cannot be used: {error.strerror or error}",
                where=str(error.filename or folder),
                hint=f"make {folder} a folder that you may write to, or name another one in {ENV_STORE}",
            ) from error
        raise


def store_full(folder: Path) -> StoreFullError:
    """Return the error for a full disk; the clients (pip, apt) that fill it raise it too."""
    return StoreFullError(
        "no space left for the store",
        where=str(folder),
        hint=f"free some space, shrink the store with `repro-tui prune`, or name another folder in {ENV_STORE}",
    )


def make_folder(path: Path) -> Path:
    """Create a folder and its parents, readable by all whatever the umask is; one that exists is left as it is."""
    if not path.is_dir():
        make_folder(path.parent)
        with suppress(FileExistsError):
            path.mkdir()
            path.chmod(0o755)
    return path


def sync_folder(path: Path) -> None:
    """Make a rename into the folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Remove a file or folder, read-only folders in it too; one that is not there is no error."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for folder, _, _ in os.walk(path):
        with suppress(OSError):
            if os.lstat(folder).st_mode & 0o700 != 0o700:
                os.chmod(folder, 0o700)
    shutil.rmtree(path, ignore_errors=False)


class Store:
    """The store in one folder; any number of processes and threads may use it at once.

    What a method returns is claimed: `prune` leaves it alone for as long as this process lives (or until `close`).
    Every method raises StoreFullError when the disk is full.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._guard = threading.Lock()
        self._claims: set[str] = set()
        self._claims_file: ClaimsFile | None = None
        self._swept = False

    # --- files --------------------------------------------------------------------------------------------------------

    def blob(self, sha256: str) -> Path | None:
        """Return the file with that digest, hashed again just now, or None; a corrupt one goes to quarantine."""
        path = self._blob_path(sha256)
        if not path.is_file():
            return None
        with disk_errors(self.root):
            self._claim(path)
            try:
                observed = sha256_file(path)
            except FileNotFoundError:
                return None
            if observed != sha256:
                self._quarantine(path)
                return None
            _touch(path)
            return path

    def has_blob(self, sha256: str) -> bool:
        """Tell whether there is a file under that digest, without reading it: a hint, never a reason to use it."""
        return self._blob_path(sha256).is_file()

    def put_file(
        self,
        source: Path,
        *,
        sha256: str | Collection[str],
        component: str,
        where: str = "",
        move: bool = False,
        observed: str = "",
    ) -> Path:
        """Keep a file under its digest and return where it is; `move` takes it away from `source` (in scratch).

        `observed` is the digest of a file to move, where the caller took it of every byte that it wrote. Of several
        digests the file must have one. Raises DigestMismatchError, naming `component` and `where` (else the source),
        for other bytes.
        """
        if not move:
            with source.open("rb", buffering=0) as stream:
                return self.put_stream(stream, sha256=sha256, component=component, where=where or str(source))
        observed = observed or sha256_file(source)
        _expect(observed, sha256, component, where or str(source))
        path = self._blob_path(observed)
        with disk_errors(self.root):
            self._claim(path)
            self._publish_file(source, path)
        return path

    def put_stream(
        self,
        stream: Readable,
        *,
        sha256: str | Collection[str],
        component: str,
        where: str,
        limit_bytes: int | None = None,
        copied: Callable[[int], None] | None = None,
    ) -> Path:
        """Keep a stream's bytes under their digest and return the file, as `put_file` does.

        Raises TooLargeError past `limit_bytes`; `copied` is called with the bytes so far.
        """
        with disk_errors(self.root), self.scratch() as scratch:
            new = scratch / "new"
            with new.open("wb", buffering=0) as file:
                observed, _ = copy_hashed(stream, file, limit_bytes=limit_bytes, copied=copied)
            _expect(observed, sha256, component, where)
            path = self._blob_path(observed)
            self._claim(path)
            self._publish_file(new, path)
        return path

    def _publish_file(self, new: Path, path: Path) -> None:
        new.chmod(0o444)
        descriptor = os.open(new, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        make_folder(path.parent)
        try:
            os.replace(new, path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with self.scratch() as scratch:
                copy = scratch / "copy"
                shutil.copyfile(new, copy)
                self._publish_file(copy, path)
            new.unlink()
            return
        _touch(path)
        sync_folder(path.parent)

    def partial(self, sha256: str) -> Path:
        """Return where an interrupted download of that file is kept; use it under `lock("download-" + sha256)`."""
        with disk_errors(self.root):
            return make_folder(self._ready() / "partial") / _checked(sha256)

    # --- trees --------------------------------------------------------------------------------------------------------

    def tree(self, tree_sha256: str) -> Path | None:
        """Return the folder with that tree digest, hashed again just now, or None; a corrupt one goes to quarantine."""
        path = self.root / "trees" / _checked(tree_sha256)
        if not path.is_dir():
            return None
        with disk_errors(self.root):
            self._claim(path)
            try:
                whole = tree_digest(tree_files(path)) == tree_sha256
            except FileNotFoundError:
                return None
            except ValueError:
                whole = False
            if not whole:
                self._quarantine(path)
                return None
            _touch(path)
            return path

    def has_tree(self, tree_sha256: str) -> bool:
        """Tell whether there is a folder under that tree digest, without reading it, as `has_blob` does."""
        return (self.root / "trees" / _checked(tree_sha256)).is_dir()

    def put_tree(
        self, source: Path, *, tree_sha256: str, component: str, where: str = "",
        files: Mapping[str, Path] | None = None, plain: bool = False,
    ) -> Path:  # fmt: skip
        """Copy a folder's files (all, or those given by their relative path) into the store under its tree digest.

        With `plain` none of them is executable there. Raises DigestMismatchError for another tree, ValueError for one
        that holds anything but files and folders.
        """
        path = self.root / "trees" / _checked(tree_sha256)
        with disk_errors(self.root), self.scratch() as scratch:
            new = scratch / "tree"
            make_folder(new)
            for relative, file in (tree_files(source) if files is None else files).items():
                target = new / relative
                make_folder(target.parent)
                shutil.copyfile(file, target, follow_symlinks=False)
                target.chmod(0o555 if file.stat().st_mode & 0o100 and not plain else 0o444)
            observed = tree_digest(tree_files(new))
            if observed != tree_sha256:
                raise DigestMismatchError(
                    component=component, expected=tree_sha256, observed=observed, where=where or str(source)
                )
            self._claim(path)
            make_folder(path.parent)
            self._publish_folder(new, path)
        return path

    # --- derived things -----------------------------------------------------------------------------------------------

    def folder(self, kind: str, key: str) -> Path:
        """Return (and claim) the place of a derived thing; it exists only once something was published there."""
        path = self.root / "derived" / _safe(kind) / _safe(key.replace(":", "-"))
        with disk_errors(self.root):
            self._claim(path)
            make_folder(path.parent)
            _touch(path)
        return path

    def publish(self, source: Path, kind: str, key: str) -> Path:
        """Rename a finished folder of `scratch()` to its place in one step; where one is already, that one stays."""
        path = self.folder(kind, key)
        with disk_errors(self.root):
            self._publish_folder(source, path)
        return path

    def _publish_folder(self, new: Path, path: Path) -> None:
        # Content that decides what bytes are used is hashed again before use: what the kernel has not yet written
        # when the power goes is found then, so 40,000 files need not be synced one by one.
        try:
            os.rename(new, path)
        except OSError as error:
            if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                raise
            remove_tree(new)
        sync_folder(path.parent)

    # --- locks and work in progress -----------------------------------------------------------------------------------

    def lock(self, key: str, *, on_wait: Callable[[], None] | None = None) -> AbstractContextManager[None]:
        """Hold a named lock against other processes and threads; it is released when this process dies."""
        with disk_errors(self.root):
            return locked(make_folder(self._ready() / "locks") / _safe(key.replace(":", "-")), on_wait=on_wait)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give an empty folder on the store's file system, removed at the end, or swept once its owner is dead."""
        with disk_errors(self.root):
            parent = make_folder(self._ready() / "scratch")
            self._sweep(parent)
            path = parent / secrets.token_hex(8)
            lock_path = path.with_suffix(".lock")
            descriptor = lock_new(lock_path)
            make_folder(path)
        try:
            yield path
        finally:
            remove_tree(path)
            lock_path.unlink(missing_ok=True)
            os.close(descriptor)

    def _sweep(self, parent: Path) -> None:
        """Remove the scratch and the claims of dead processes, once in this one's life."""
        with self._guard:
            if self._swept:
                return
            self._swept = True
        users = self.root / "users"
        for lock_path in (*parent.glob("*.lock"), *(users.iterdir() if users.is_dir() else ())):
            with suppress(OSError):  # another process sweeps too
                descriptor = try_lock(lock_path)
                if descriptor is None:
                    continue
                try:
                    if lock_path.suffix:
                        remove_tree(lock_path.with_suffix(""))
                    lock_path.unlink(missing_ok=True)
                finally:
                    os.close(descriptor)

    def _quarantine(self, path: Path) -> None:
        target = make_folder(self.root / "quarantine") / f"{path.name}-{time.time_ns()}"
        with suppress(FileNotFoundError):  # another process was faster
            os.rename(path, target)

    # --- claims: what live processes use ------------------------------------------------------------------------------

    def _claim(self, path: Path) -> None:
        """Write down that this process uses the entry, so that no prune of another removes it meanwhile."""
        relative = str(path.relative_to(self.root))
        with self._guard:
            if relative in self._claims:
                return
            if self._claims_file is None:
                self._claims_file = ClaimsFile(make_folder(self._ready() / "users"), self.root / "locks" / "gate")
            self._claims_file.add(relative)
            self._claims.add(relative)

    def keep(self, path: Path) -> None:
        """Claim the entry that a path of this store lies in, as for a manifest of an opened bundle; others are none."""
        if path.is_relative_to(self.root):
            parts = path.relative_to(self.root).parts
            self._claim(self.root.joinpath(*parts[: 3 if parts[0] == "derived" else 2]))

    def close(self) -> None:
        """Give up all claims; the end of the process does the same."""
        with self._guard:
            if self._claims_file is not None:
                self._claims_file.close()
            self._claims_file = None
            self._claims.clear()

    # --- places -------------------------------------------------------------------------------------------------------

    def _blob_path(self, sha256: str) -> Path:
        return self.root / "blobs" / _checked(sha256)

    def _ready(self) -> Path:
        tag = self.root / "CACHEDIR.TAG"
        if not tag.exists():
            make_folder(self.root / "locks")
            tag.write_text(_TAG, encoding="ascii")
            tag.chmod(0o644)
        return self.root


def _touch(path: Path) -> None:
    """Note the use, for `prune`; a store that belongs to somebody else is used all the same."""
    with suppress(OSError):
        os.utime(path)


def _expect(observed: str, sha256: str | Collection[str], component: str, where: str) -> None:
    expected = (sha256,) if isinstance(sha256, str) else sorted(sha256)
    for digest in expected:
        _checked(digest)
    if observed not in expected:
        words = " or ".join(expected[:3]) + (f" or one of {len(expected) - 3} more" if len(expected) > 3 else "")
        raise DigestMismatchError(component=component, expected=words, observed=observed, where=where)


def _checked(sha256: str) -> str:
    if _SHA256.fullmatch(sha256) is None:
        raise ValueError(f"not a SHA-256 in lower-case hex: {sha256!r}")
    return sha256


def _safe(name: str) -> str:
    if _SAFE_KEY.fullmatch(name) is None:
        raise ValueError(f"not a name that can be a file's: {name!r}")
    return name
