"""The environment probe: says what a process in this container would run on, from inside, before training.

Standard library only, Python 3.8 or later, one file, run as

    python3 -I probe.py FOLDER [--root DIR]

It writes FOLDER/environment.json (docs/environment-hash.md) and FOLDER/files.jsonl (every file, one JSON object a
line), and ends with 0; with 1 and a line on stderr where it could not. A file it may not read is listed as unreadable.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import time
from typing import Any, Callable, Iterable, Iterator, NamedTuple  # noqa: UP035 - runs on Python 3.8 too

SCHEMA = 1

EXCLUDED_FOLDERS = ("/proc", "/sys", "/dev", "/tmp", "/out", "/inputs", "/code", "/job", "/run")  # noqa: S108 - names
"""Folders of the kernel, and what a run mounts: inputs are pinned by their own digests."""

ENGINE_FILES = (
    "/.dockerenv", "/etc/hostname", "/etc/hosts", "/etc/mtab", "/etc/resolv.conf", "/sbin/docker-init",
    "/usr/sbin/docker-init",
)  # fmt: skip
"""Files that an engine writes into every container."""

ENGINE_VARIABLES = ("HOSTNAME", "OLDPWD", "PWD", "SHLVL", "TERM", "_", "container")
"""Variables that an engine, or a shell on the way, sets."""

UNKNOWN = "unknown"
"""Said of a library that is not there, or does not answer."""

_CHUNK_BYTES = 1 << 20
_SMALL_BYTES = 1 << 17
_FILE_COST_BYTES = 40_000
"""What opening a file costs, in bytes hashed in the same time."""
_MAX_WORKERS = 32


class File(NamedTuple):
    """A regular file: path from the root with a leading slash, size in bytes, whether its owner may execute it."""

    path: str
    size: int
    executable: bool


class Tree(NamedTuple):
    """What a walk found."""

    files: list[File]
    links: list[tuple[str, str]]
    """Path and target."""
    unreadable: list[str]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


# --- files ------------------------------------------------------------------------------------------------------------


def walk(root: str) -> Tree:
    """List every file and symbolic link under `root` but the excluded ones; links are never followed."""
    prefix = "" if root == "/" else root.rstrip("/")
    cut = len(prefix)
    skip = {prefix + path for path in EXCLUDED_FOLDERS + ENGINE_FILES}
    files: list[File] = []
    links: list[tuple[str, str]] = []
    unreadable: list[str] = []
    pending = [prefix or "/"]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = entry.path
                    if path in skip:
                        continue
                    if entry.is_symlink():
                        links.append((path[cut:], os.readlink(path)))
                    elif entry.is_dir(follow_symlinks=False):
                        pending.append(path)
                    elif entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        files.append(File(path[cut:], status.st_size, bool(status.st_mode & stat.S_IXUSR)))
        except OSError:
            unreadable.append(folder[cut:])
    return Tree(files, links, unreadable)


def _batches(files: list[File]) -> list[list[File]]:
    """Split the files, biggest first, into pieces of about equal work; a file is never split."""
    ordered = sorted(files, key=lambda file: file.size, reverse=True)
    share = max(1, sum(file.size + _FILE_COST_BYTES for file in ordered) // 256)
    batches: list[list[File]] = []
    load = share
    for file in ordered:
        if load >= share:
            batches.append([])
            load = 0
        batches[-1].append(file)
        load += file.size + _FILE_COST_BYTES
    return batches


def _digests(prefix: str, batch: Iterable[File], buffer: bytearray) -> Iterator[bytes]:
    """Yield one record of 33 bytes a file: 1 and its SHA-256, or 0 and zeros where it cannot be read."""
    view = memoryview(buffer)
    for file in batch:
        try:
            descriptor = os.open(prefix + file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            yield bytes(33)
            continue
        try:
            if file.size < _SMALL_BYTES:
                data = os.read(descriptor, _SMALL_BYTES)
                digest = hashlib.sha256(data)
                more = len(data) == _SMALL_BYTES
            else:
                digest = hashlib.sha256()
                more = True
            while more:
                count = os.readv(descriptor, [buffer])
                digest.update(view[:count])
                more = count > 0
            yield b"\1" + digest.digest()
        except OSError:
            yield bytes(33)
        finally:
            os.close(descriptor)


def _work(prefix: str, batches: list[list[File]], queue: int, results: int) -> None:
    """Take batch numbers from the queue until it is empty, then write what came out."""
    buffer = bytearray(_CHUNK_BYTES)
    pieces: list[bytes] = []
    while True:
        ticket = os.read(queue, 2)
        if not ticket:
            break
        pieces.append(ticket)
        pieces.extend(_digests(prefix, batches[int.from_bytes(ticket, "little")], buffer))
    with os.fdopen(results, "wb") as out:
        out.write(b"".join(pieces))


def _fork(work: Callable[[int], None]) -> tuple[int, int]:
    """Run `work(descriptor to write to)` in a child; return its process id and the descriptor to read from."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            work(writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    return child, reading


def _collect(child: int, reading: int) -> bytes | None:
    """Return what a child wrote, None where it did not end well."""
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    return data if os.waitpid(child, 0)[1] == 0 else None


class Hashing:
    """SHA-256 of many files by as many processes as there are cores; they take batches from one pipe.

    Small reads of a pipe are atomic, so it serves as the queue, and a core that is busy elsewhere simply takes less.
    """

    def __init__(self, root: str, files: list[File]) -> None:
        prefix = "" if root == "/" else root.rstrip("/")
        self._batches = _batches(files)
        queue, tickets = os.pipe()
        os.write(tickets, b"".join(number.to_bytes(2, "little") for number in range(len(self._batches))))
        os.close(tickets)
        gc.freeze()
        workers = min(len(os.sched_getaffinity(0)), _MAX_WORKERS, max(1, len(self._batches)))
        self._children = [_fork(lambda results: _work(prefix, self._batches, queue, results)) for _ in range(workers)]
        os.close(queue)

    def result(self) -> tuple[dict[str, str], list[str]]:
        """Return hex digests by path, and the paths that could not be read; raises RuntimeError for a lost worker."""
        digests: dict[str, str] = {}
        unreadable: list[str] = []
        batches_left = len(self._batches)
        for child, reading in self._children:
            data = _collect(child, reading)
            if data is None:
                raise RuntimeError("a hashing process died")
            at = 0
            while at < len(data):
                batch = self._batches[int.from_bytes(data[at : at + 2], "little")]
                at += 2
                batches_left -= 1
                for file in batch:
                    if data[at]:
                        digests[file.path] = data[at + 1 : at + 33].hex()
                    else:
                        unreadable.append(file.path)
                    at += 33
        if batches_left:
            raise RuntimeError("a hashing process did not finish")
        return digests, unreadable


# --- owners -----------------------------------------------------------------------------------------------------------


class Owners:
    """Who owns which file: a Debian package ("deb:libc6"), a Python distribution ("pip:torch"), or "other"."""

    def __init__(self, root: str, tree: Tree) -> None:
        self._prefix = "" if root == "/" else root.rstrip("/")
        self._paths: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        # /bin -> usr/bin and its like: package lists may still say /bin/bash
        self._merged = {
            path + "/": os.path.normpath("/" + target) + "/" for path, target in tree.links if path.count("/") == 1
        }
        lists = [file.path for file in tree.files if re.fullmatch(r"/var/lib/dpkg/info/[^/]+\.list", file.path)]
        self._add_packages(sorted(lists))
        records = [file.path for file in tree.files if file.path.endswith(".dist-info/RECORD")]
        for path in sorted(records, key=lambda path: (path.count("/"), path)):
            if path not in self._paths:  # a distribution vendored inside another belongs to that one
                self._add_distribution(path)

    def of(self, path: str) -> str:
        """Return the owner; byte code belongs to whoever owns its source."""
        if path.endswith(".pyc"):
            folder, _, name = path.rpartition("/")
            if folder.endswith("/__pycache__"):
                stem = re.sub(r"\.opt-[^.]*$", "", name[:-4]).rpartition(".")[0]
                source = folder[: -len("__pycache__")] + stem + ".py"
                if source in self._paths:
                    return self._paths[source]
        return self._paths.get(path, "other")

    def _add_packages(self, lists: list[str]) -> None:
        if not lists:
            return
        installed: dict[str, str] = {}
        for stanza in _read(self._prefix + "/var/lib/dpkg/status").split("\n\n"):
            fields = dict(re.findall(r"^(Package|Version|Architecture): *(.*)$", stanza, re.MULTILINE))
            if "Package" in fields:
                version = fields.get("Version", UNKNOWN)
                installed.setdefault(fields["Package"], version)
                installed[fields["Package"] + ":" + fields.get("Architecture", "")] = version
        for path in lists:
            package = path[len("/var/lib/dpkg/info/") : -len(".list")]
            owner = "deb:" + package
            self.versions[owner] = installed.get(package, UNKNOWN)
            self._paths[path] = owner
            for suffix in (".md5sums", ".conffiles", ".triggers", ".shlibs", ".symbols"):
                self._paths[path[: -len(".list")] + suffix] = owner
            for entry in _read(self._prefix + path).splitlines():
                top = entry[: entry.find("/", 1) + 1]
                merged = self._merged.get(top)
                self._paths[merged + entry[len(top) :] if merged else entry] = owner

    def _add_distribution(self, record: str) -> None:
        folder = record[: -len("/RECORD")]
        headers = _read(self._prefix + folder + "/METADATA").split("\n\n", 1)[0]
        fields = dict(re.findall(r"^(Name|Version): *(.*)$", headers, re.MULTILINE))
        stem = folder.rpartition("/")[2][: -len(".dist-info")]
        name = re.sub(r"[-_.]+", "-", fields.get("Name", stem.partition("-")[0])).lower()
        owner = "pip:" + name
        if owner in self.versions:
            owner = f"pip:{name} ({folder})"
        self.versions[owner] = fields.get("Version", stem.partition("-")[2] or UNKNOWN)
        site = folder.rpartition("/")[0] + "/"
        text = _read(self._prefix + record)
        if '"' in text:
            import csv

            entries: Iterable[str] = (row[0] for row in csv.reader(text.splitlines()) if row)
        else:
            entries = (line.partition(",")[0] for line in text.splitlines())
        for entry in entries:
            path = os.path.normpath(os.path.join(site, entry)) if entry.startswith((".", "/")) else site + entry
            self._paths.setdefault(path, owner)


# --- interpreter, libraries, host -------------------------------------------------------------------------------------

_ASK_PYTHON = """
import json, locale, os, sys, time
fixed = os.environ.get("PYTHONHASHSEED", "random") != "random"
print(json.dumps({
    "implementation": sys.implementation.name, "cache_tag": sys.implementation.cache_tag,
    "version": ".".join(map(str, sys.version_info[:3])), "build": sys.version,
    "flags": dict(sorted((name, int(getattr(sys.flags, name))) for name in dir(sys.flags)
                         if name[0] != "_" and name[:2] != "n_" and name not in ("count", "index"))),
    "options": {name: str(value) for name, value in sys._xoptions.items()}, "warnings": sys.warnoptions,
    "path": [entry for entry in sys.path if entry], "string_hash": str(hash("repro-tui")) if fixed else "random",
    "recursion_limit": sys.getrecursionlimit(), "float_repr_style": sys.float_repr_style,
    "byte_order": sys.byteorder, "pointer_bits": sys.maxsize.bit_length() + 1,
    "filesystem_encoding": sys.getfilesystemencoding(),
    "locale_encoding": locale.getpreferredencoding(False).lower(), "time_zone": list(time.tzname),
}))
"""


def ask_python() -> subprocess.Popen[bytes]:
    """Start the interpreter as a task would meet it: with the variables that this isolated one ignores."""
    return subprocess.Popen([sys.executable, "-c", _ASK_PYTHON], stdout=subprocess.PIPE, cwd="/")


class _CxxString(ctypes.Structure):
    """std::string of libstdc++: short strings (15 bytes at most) live in `inside`."""

    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("inside", ctypes.c_char * 16))


def _libraries(results: int, torch: list[str], openmp: list[str]) -> None:
    """Write what the libraries say, as JSON; asked by their exported symbols, since importing torch costs seconds."""
    found: dict[str, Any] = {}

    def ask(key: str, path: str, symbol: str) -> None:
        with contextlib.suppress(OSError, AttributeError):
            found[key] = int(getattr(ctypes.CDLL(path), symbol)())

    if torch:
        # PyTorch makes the OpenMP and MKL counts agree when it is first asked, so it is asked first.
        ask("threads", torch[0], "_ZN2at15get_num_threadsEv")
        ask("mkl_threads", torch[0], "MKL_Get_Max_Threads")
        with contextlib.suppress(OSError, AttributeError):
            capability = ctypes.CDLL(torch[0])._ZN2at18get_cpu_capabilityB5cxx11Ev  # noqa: SLF001 - a mangled name
            capability.restype = _CxxString
            text = capability()
            if text.length <= 15:
                found["cpu_capability"] = text.inside.decode("ascii", "replace")
    if torch or openmp:
        ask("openmp_threads", (torch or openmp)[0], "omp_get_max_threads")
    os.write(results, json.dumps(found).encode())


_CPU_FLAGS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
              "amx_bf16", "amx_int8", "sha_ni", "asimd", "sve", "sve2", "bf16", "i8mm")  # fmt: skip


def _host() -> dict[str, Any]:
    """Return what describes the machine and not the image: recorded, never hashed."""
    cpu = dict(re.findall(r"^([^\t\n:]+?)\s*: *(.*)$", _read("/proc/cpuinfo").split("\n\n", 1)[0], re.MULTILINE))
    flags = (cpu.get("flags") or cpu.get("Features") or "").split()
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    driver = re.search(r"Kernel Module[^\n]*?\s(\d+\.\d+(?:\.\d+)?)\s", _read("/proc/driver/nvidia/version"))
    return {
        "cpu_model": cpu.get("model name") or cpu.get("CPU part") or UNKNOWN,
        "cpu_vendor": cpu.get("vendor_id") or cpu.get("CPU implementer") or UNKNOWN,
        "cpu_flags": [flag for flag in _CPU_FLAGS if flag in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": int(memory.group(1)) * 1024 if memory else 0,
        "machine": os.uname().machine,
        "kernel": f"{os.uname().sysname} {os.uname().release}",
        "driver": driver.group(1) if driver else "",
        "gpus": _gpus(),
    }


def _gpus() -> list[str]:
    try:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        asked = subprocess.run(query, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in asked.stdout.decode("utf-8", "replace").splitlines() if line.strip()]


# --- putting it together ----------------------------------------------------------------------------------------------


def _listing_line(kind: str, digest: str, path: str) -> bytes:
    """Return one line of what is hashed for an owner; paths are escaped as sha256sum does it."""
    if "\n" in path or "\\" in path:
        path = path.replace("\\", "\\\\").replace("\n", "\\n")
    return f"{digest}  {kind}  {path}\n".encode("utf-8", "surrogateescape")


def _json_text(text: str) -> str:
    plain = text.isascii() and text.isprintable() and '"' not in text and "\\" not in text
    return f'"{text}"' if plain else json.dumps(text)


def _summarise(tree: Tree, owners: Owners, digests: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the SHA-256 of each owner's listing, and the lines of files.jsonl in path order."""
    listings: dict[str, list[bytes]] = {owner: [] for owner in owners.versions}
    listings["other"] = []
    lines: list[tuple[str, str]] = []

    def add(path: str, kind: str, digest: str, facts: str) -> None:
        owner = owners.of(path)
        listings[owner].append(_listing_line(kind, digest, path))
        lines.append((path, f'{{"path": {_json_text(path)}, {facts}, "owner": {_json_text(owner)}}}\n'))

    for path, size, executable in tree.files:
        mode, digest = "755" if executable else "644", digests.get(path, UNKNOWN)
        add(path, mode, digest, f'"type": "file", "mode": "{mode}", "size": {size}, "sha256": "{digest}"')
    for path, target in tree.links:
        digest = hashlib.sha256(os.fsencode(target)).hexdigest()
        add(path, "link", digest, f'"type": "link", "target": {_json_text(target)}')
    sums = {owner: hashlib.sha256(b"".join(sorted(listing))).hexdigest() for owner, listing in listings.items()}
    return sums, [line for _, line in sorted(lines)]


def probe(root: str) -> tuple[dict[str, Any], list[str]]:
    """Return the summary and the lines of files.jsonl for the image at `root`."""
    started = time.perf_counter()
    interpreter = ask_python()
    tree = walk(root)
    prefix = "" if root == "/" else root.rstrip("/")
    shared = sorted(prefix + file.path for file in tree.files if ".so" in file.path)
    torch = [path for path in shared if path.endswith("/torch/lib/libtorch_cpu.so")]
    openmp = [path for path in shared if re.search(r"/libgomp[^/]*\.so[.\d]*$", path)]
    asked = _fork(lambda out: _libraries(out, torch, openmp))
    hashing = Hashing(root, tree.files)
    owners = Owners(root, tree)
    machine = _host()
    digests, unreadable = hashing.result()
    sums, lines = _summarise(tree, owners, digests)
    libraries = _collect(*asked)
    answer, _ = interpreter.communicate(timeout=60)

    def owned(kind: str) -> dict[str, dict[str, str]]:
        return {
            owner[len(kind) :]: {"version": version, "sha256": sums[owner]}
            for owner, version in sorted(owners.versions.items())
            if owner.startswith(kind)
        }

    absent = dict.fromkeys(("threads", "openmp_threads", "mkl_threads", "cpu_capability"), UNKNOWN)
    summary = {
        "schema": SCHEMA,
        "python": json.loads(answer),
        "variables": {name: value for name, value in sorted(os.environ.items()) if name not in ENGINE_VARIABLES},
        "base": owned("deb:"),
        "distributions": owned("pip:"),
        "other": sums["other"],
        "libraries": {**absent, **(json.loads(libraries) if libraries else {})},
        "unreadable": sorted(tree.unreadable + unreadable),
        "host": machine,
        "probe": {
            "files": len(tree.files),
            "bytes": sum(file.size for file in tree.files),
            "elapsed_s": round(time.perf_counter() - started, 3),
        },
    }
    return summary, lines


def _write(path: str, text: str) -> None:
    with open(path + ".part", "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    os.replace(path + ".part", path)


def main(arguments: list[str]) -> int:
    """Probe and write; return the exit code."""
    if not arguments or len(arguments) not in (1, 3) or (len(arguments) == 3 and arguments[1] != "--root"):
        sys.stderr.write("usage: probe.py FOLDER [--root DIR]\n")
        return 2
    folder, root = arguments[0], arguments[2] if len(arguments) == 3 else "/"
    gc.disable()  # much is made, nothing is thrown away
    try:
        summary, lines = probe(os.path.abspath(root))
        _write(os.path.join(folder, "files.jsonl"), "".join(lines))
        _write(os.path.join(folder, "environment.json"), json.dumps(summary, indent=1, sort_keys=True) + "\n")
    except (OSError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"probe: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
