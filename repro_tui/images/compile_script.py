"""Compiles Python files inside the image, with the image's own Python; standard library only, one file.

    python3 -SsPB compile_script.py SOURCES FOLDER PROCESSES

SOURCES holds absolute paths, each ended by a zero byte. Every process writes FOLDER/<n>.pack (byte code, one file's
after another's) and FOLDER/<n>.index (lines "number offset size"; size 0 for a source that does not compile).

Byte code depends on the process that makes it: a set of strings that several functions use is kept once or more than
once, according to whether one of the strings is known to the interpreter already, by any module that was imported.
So nothing of the image's packages is imported (-S), and everything that compiling imports is imported beforehand.
"""

from __future__ import annotations

import codecs
import encodings
import gc
import importlib
import marshal
import os
import pkgutil
import sys
import warnings
from importlib.util import MAGIC_NUMBER, source_hash

_UNCHECKED_HASH = 0b01
"""Flags of PEP 552: hash-based, and the source is not looked at when the module is imported."""


def compile_file(path: str) -> bytes:
    """Return what goes into the .pyc; nothing where the source does not compile (templates, other Pythons)."""
    with open(path, "rb") as file:
        source = file.read()
    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return b""
    return MAGIC_NUMBER + _UNCHECKED_HASH.to_bytes(4, "little") + source_hash(source) + marshal.dumps(code)


def settle() -> None:
    """Import what compiling imports: the codecs that sources name, and the names of characters."""
    for module in pkgutil.iter_modules(encodings.__path__):
        try:
            codecs.lookup(module.name)
        except (LookupError, ImportError):
            continue
    importlib.import_module("unicodedata")


def work(paths: list[str], queue: int, stem: str) -> None:
    """Take numbers from the queue until it is empty."""
    with open(stem + ".pack", "wb") as pack, open(stem + ".index", "w", encoding="ascii") as index:
        while ticket := os.read(queue, 4):
            number = int.from_bytes(ticket, "little")
            data = compile_file(paths[number])
            index.write(f"{number} {pack.tell()} {len(data)}\n")
            pack.write(data)


def main(sources: str, folder: str, processes: int) -> int:
    """Share the sources out, biggest first; return 0 when every process ended well."""
    with open(sources, encoding="utf-8", errors="surrogateescape") as file:
        paths = file.read().split("\0")[:-1]
    order = sorted(range(len(paths)), key=lambda number: (-os.path.getsize(paths[number]), number))
    settle()
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(5000)
    gc.disable()
    reader, writer = os.pipe()
    children: list[int] = []
    for number in range(processes):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(writer)
                work(paths, reader, f"{folder}/{number}")
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        for number in order:
            pipe.write(number.to_bytes(4, "little"))
    return max([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
