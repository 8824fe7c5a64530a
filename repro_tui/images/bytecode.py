"""Byte code of an image's Python files, compiled by the image's own Python in the sandbox (compile_script.py).

It is hash-based and unchecked (PEP 552): no time stamp in it, and a read-only image never needs to look at a source.
"""

from __future__ import annotations

import mmap
import posixpath
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from repro_tui.errors import InfrastructureError
from repro_tui.images.inventory import Item
from repro_tui.images.layers import LayerWriter
from repro_tui.images.recipe import Recipe

SCRIPT = Path(__file__).with_name("compile_script.py")

RunInRoot = Callable[..., int]
"""engines.embedded.run_in_root: (root, argv, *, environment, mounts, log) -> exit code; a mount is (source, target,
read-only)."""

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "TZ": "UTC", "HOME": "/tmp"}  # noqa: S108


@dataclass(frozen=True, slots=True)
class Compiled:
    """Byte code of one source: `size` bytes at `offset` of `pack`; size 0 where it did not compile."""

    pack: Path
    offset: int
    size: int


def sources(items: Iterable[Item], recipe: Recipe) -> list[Item]:
    """Return the Python files that get byte code: the standard library's and the installed packages'."""
    places = (f"usr/lib/python{recipe.python}/", "usr/lib/python3/", recipe.site_packages + "/")
    left_out = set(recipe.bytecode.leave_out)
    return [
        item
        for item in items
        if item.type == "file"
        and item.path.endswith(".py")
        and item.path.startswith(places)
        and left_out.isdisjoint(item.path.split("/"))
    ]


def compile_sources(
    root: Path,
    items: Sequence[Item],
    *,
    scratch: Path,
    processes: int,
    run_in_root: RunInRoot,
    log: Path,
    progress: Callable[[int, int, str], None],
) -> dict[str, Compiled]:
    """Compile every item (a file of `root`); return path → byte code. Raises InfrastructureError where that fails."""
    job, out = scratch / "job", scratch / "out"
    for folder in (job, out):
        folder.mkdir()
        folder.chmod(0o777)  # the sandbox may run as another user than this one
    (job / "compile_script.py").write_bytes(SCRIPT.read_bytes())
    names = "".join(f"/{item.path}\0" for item in items)
    (job / "sources").write_text(names, encoding="utf-8", errors="surrogateescape")
    for file in job.iterdir():
        file.chmod(0o644)
    job.chmod(0o755)
    argv = ["/usr/bin/python3", "-SsPB", "/job/compile_script.py", "/job/sources", "/out", str(processes)]
    mounts = [(job, "/job", True), (out, "/out", False)]
    with _watched(out, items, progress):
        code = run_in_root(root, argv, environment=_ENVIRONMENT, mounts=mounts, log=log)
    if code != 0:
        raise InfrastructureError(
            f"the image's Python could not compile its files: exit code {code}",
            where=str(log),
            hint="the log has its last words; `repro-tui doctor` says whether the embedded engine works here",
        )
    compiled: dict[str, Compiled] = {}
    for index in sorted(out.glob("*.index")):
        for line in index.read_text(encoding="ascii").splitlines():
            number, offset, size = map(int, line.split())
            compiled[items[number].path] = Compiled(index.with_suffix(".pack"), offset, size)
    if len(compiled) != len(items):
        raise InfrastructureError(
            f"the image's Python compiled {len(compiled)} of {len(items)} files", where=str(log), hint="see the log"
        )
    return compiled


@contextmanager
def _watched(out: Path, items: Sequence[Item], progress: Callable[[int, int, str], None]) -> Iterator[None]:
    """Tell how far the compiler is, twice a second: byte code is about as long as its source."""
    total = sum(item.size for item in items)
    text = f"compiling {len(items)} Python files"
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            progress(min(total - 1, sum(pack.stat().st_size for pack in out.glob("*.pack"))), total, text)

    watcher = threading.Thread(target=watch, daemon=True, name="byte code progress")
    progress(0, total, text)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def cache_path(source: str, python: str) -> str:
    """Return where the import system looks for a source's byte code (PEP 3147)."""
    folder, name = posixpath.split(source)
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-{python.replace('.', '')}.pyc"


def make_bytecode_layer(folder: Path, items: Sequence[Item], compiled: Mapping[str, Compiled], python: str) -> None:
    """Write the layer of the items' byte code; runs in a worker process."""
    packs = {one.pack: one.pack.read_bytes() if one.pack.stat().st_size < mmap.PAGESIZE else _map(one.pack)
             for one in compiled.values()}  # fmt: skip
    files = {cache_path(item.path, python): item for item in items if compiled[item.path].size}
    folders = {posixpath.dirname(path): item.owner for path, item in sorted(files.items(), reverse=True)}
    with LayerWriter(folder) as writer:
        for path in sorted([*folders, *files], key=str.encode):
            if path in folders:
                writer.folder(path, 0o755, folders[path])
            else:
                item = files[path]
                one = compiled[item.path]
                data = packs[one.pack][one.offset : one.offset + one.size]
                writer.file(path, 0o644, one.size, [data], owner=item.owner)
        writer.finish()


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
