"""A small image to assemble: Debian packages and wheels written here, and a stand-in for the image's Python.

Also a program, for other users and other Pythons: `python image_parts.py PARTS STORE PROCESSES [USER]` prints the digests.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import lzma
import os
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.store import Store
from repro_tui.images.assemble import assemble
from repro_tui.images.model import Image
from repro_tui.images.recipe import Recipe, load_recipe

RECIPE = """\
schema = 1
python = "3.11"

[base]
release = "bookworm"
packages = ["one"]
drop = ["usr/share/doc/", "usr/share/man/"]
keep = ["usr/share/doc/*/copyright"]

[base.links]
"usr/bin/awk" = "mawk"

[bytecode]
leave_out = ["tests"]

[layers]
own_layer_bytes = 20_000
buckets = 4
"""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- Debian packages --------------------------------------------------------------------------------------------------


def tar_of(entries: Mapping[str, bytes | str | None], modes: Mapping[str, int] | None = None) -> bytes:
    """Bytes are a file, text a link's target, None a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, value in entries.items():
            info = tarfile.TarInfo("./" + name)
            info.mtime = 1_700_000_000
            info.uid, info.uname = 7, "someone"
            if value is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(value, str):
                info.type, info.linkname = tarfile.SYMTYPE, value
            else:
                info.size, info.mode = len(value), 0o644
            info.mode = (modes or {}).get(name, info.mode)
            archive.addfile(info, io.BytesIO(value) if isinstance(value, bytes) else None)
    return buffer.getvalue()


def ar_of(members: Mapping[str, bytes]) -> bytes:
    parts = [b"!<arch>\n"]
    for name, data in members.items():
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode())
        parts.append(data + b"\n" * (len(data) % 2))
    return b"".join(parts)


def deb_of(
    name: str, entries: Mapping[str, bytes | str | None], modes: Mapping[str, int] | None = None, version: str = "1.0-1"
) -> bytes:
    control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nDescription: {name}\n".encode()
    return ar_of(
        {
            "debian-binary": b"2.0\n",
            "control.tar.xz": lzma.compress(tar_of({"control": control})),
            "data.tar.xz": lzma.compress(tar_of(entries, modes)),
        }
    )


DEBS = {
    "one": deb_of(
        "one",
        {
            "bin": None,
            "bin/sh": b"shell",
            "lib": None,
            "lib/one": None,
            "lib/one/real.so": b"library",
            "lib/one.so": "one/real.so",
            "lib64": None,
            "lib64/ld.so": "../lib/one/real.so",
            "usr/bin/su": b"setuid once",
            "usr/lib/python3.11/os.py": b"import sys\n",
            "usr/lib/python3.11/tests/test_os.py": b"1\n",
            "usr/share/doc/one/copyright": b"free",
            "usr/share/doc/one/README": b"dropped",
            "usr/share/man/man1/one.1": b"dropped",
            "usr/share/ca-certificates/mozilla/B.crt": b"certificate B",
            "usr/share/ca-certificates/mozilla/A.crt": b"certificate A\n",
            "tmp": None,
        },
        {"usr/bin/su": 0o4755, "bin/sh": 0o755, "usr/share/doc/one/copyright": 0o600},
    ),
    "two": deb_of("two", {"usr/bin": None, "usr/bin/two": b"2", "usr/share/doc/two": "one"}, {"usr/bin/two": 0o700}),
}


# --- wheels -----------------------------------------------------------------------------------------------------------


def wheel_of(
    name: str,
    files: Mapping[str, bytes],
    *,
    version: str = "1.0",
    tag: str = "py3-none-any",
    record: Callable[[str], str] = lambda text: text,
    modes: Mapping[str, int] | None = None,
) -> bytes:
    dist_info = f"{name}-{version}.dist-info"
    everything = {
        **files,
        f"{dist_info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{dist_info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    rows = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')},{len(data)}\n"
        for path, data in everything.items()
    ]
    everything[f"{dist_info}/RECORD"] = record("".join(rows) + f"{dist_info}/RECORD,,\n").encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in everything.items():
            info = zipfile.ZipInfo(path)
            info.external_attr = (0o100000 | (modes or {}).get(path, 0o644)) << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def noise(size: int) -> bytes:
    """Bytes that do not compress."""
    return b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(size // 32))


WHEELS = {
    "alpha": wheel_of(
        "alpha",
        {
            "alpha/__init__.py": b"VALUE = 1\n",
            "alpha/tests/test_it.py": b"1\n",
            "alpha/bad.py": b"this does not compile",
            "alpha/tool": b"#!/bin/sh\n",
            "alpha-1.0.data/scripts/run-alpha": b"#!python\nprint(1)\n",
            "alpha-1.0.data/data/share/alpha/" + "long/" * 30 + "d\u00e4ta.txt": b"data",
            "alpha-1.0.dist-info/entry_points.txt": b"[console_scripts]\nalpha = alpha.cli:main.now [extra]\n",
        },
        modes={"alpha/tool": 0o755},
    ),
    "beta": wheel_of("beta", {"beta.py": b"import alpha\n", "shared/b.py": b"b = 1\n"}),
    "gamma": wheel_of("gamma", {"shared/g.py": b"g = 1\n", "gamma/blob.bin": noise(40_000), "gamma/__init__.py": b""}),
}


# --- all of it --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """A folder with a recipe, its locks, and a mirror that has everything they name."""

    folder: Path

    @property
    def recipe(self) -> Recipe:
        return load_recipe(self.folder / "small" / "image.toml")

    @property
    def lock(self) -> Path:
        return self.folder / "lock.txt"

    @property
    def mirror(self) -> Path:
        return self.folder / "mirror"

    def write(self, debs: Mapping[str, bytes], wheels: Mapping[str, bytes], recipe: str = RECIPE) -> None:
        """Write recipe, locks and mirror, in the order given; what was in the mirror stays."""
        (self.folder / "small").mkdir(exist_ok=True)
        self.mirror.mkdir(exist_ok=True)
        (self.folder / "small" / "image.toml").write_text(recipe)
        (self.folder / "small" / "base.lock").write_text(
            "".join(
                f"{name} 1.0-1 amd64 {sha256(data)} pool/main/{name[0]}/{name}/{name}_1.0-1_amd64.deb {len(data)}\n"
                for name, data in debs.items()
            )
        )
        self.lock.write_text(
            "".join(f"{name}==1.0 \\\n    --hash=sha256:{sha256(data)}\n" for name, data in wheels.items())
        )
        for data in (*debs.values(), *wheels.values()):
            (self.mirror / sha256(data)).write_bytes(data)

    def assemble(self, store: Store, *, processes: int = 1, compiler: Callable[..., int] | None = None) -> Image:
        fetcher = Fetcher(store, [self.mirror], base=self.folder, offline=True)
        return assemble(
            self.recipe,
            self.lock,
            store=store,
            fetcher=fetcher,
            run_in_root=compiler or Compiler(),
            processes=processes,
        )


class Compiler:
    """Stands for the image's Python: "byte code" is the digest of path and source; remembers what it compiled."""

    def __init__(self) -> None:
        self.compiled: list[str] = []

    def __call__(
        self,
        root: Path,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        mounts: Sequence[tuple[Path, str, bool]],
        log: Path,
    ) -> int:
        places = {target: source for source, target, _ in mounts}
        sources = (places["/job"] / "sources").read_text().split("\0")[:-1]
        processes = int(argv[-1])
        for process in range(processes):
            with (
                (places["/out"] / f"{process}.pack").open("wb") as pack,
                (places["/out"] / f"{process}.index").open("w") as index,
            ):
                for number in range(process, len(sources), processes):
                    source = (root / sources[number][1:]).read_bytes()
                    data = b"" if b"does not compile" in source else sha256(sources[number].encode() + source).encode()
                    index.write(f"{number} {pack.tell()} {len(data)}\n")
                    pack.write(data)
        self.compiled += sources
        return 0


def digests(image: Image) -> dict[str, object]:
    """What must be the same everywhere; modes and contents of the root included."""
    tree = [
        [
            os.fsencode(path.relative_to(image.root)).decode(),
            path.lstat().st_mode,
            int(path.lstat().st_mtime) if _is_file(path) else 0,
        ]
        for path in sorted(image.root.rglob("*"))
    ]
    return {
        "manifest": image.manifest_digest,
        "config": image.config_digest,
        "diff_ids": list(image.diff_ids),
        "inventory": sha256(image.inventory.read_bytes()),
        "root": sha256(json.dumps(tree).encode()),
    }


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


if __name__ == "__main__":
    parts = Parts(Path(sys.argv[1]))
    if len(sys.argv) > 4:  # as another user, who may not be able to read this Python: load all of it before
        parts.assemble(Store(Path(sys.argv[2] + "-before")))
        os.setgid(int(sys.argv[4]))
        os.setuid(int(sys.argv[4]))
    print(json.dumps(digests(parts.assemble(Store(Path(sys.argv[2])), processes=int(sys.argv[3])))))
