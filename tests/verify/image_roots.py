"""A small image root with packages, distributions and everything odd that a file can be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "TZ": "UTC"}


def write(root: Path, path: str, content: bytes | str = b"", *, mode: int = 0o644) -> Path:
    """Write a file at an absolute path of the image."""
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    file.chmod(mode)
    return file


def make_root(root: Path) -> Path:
    """Make the image."""
    site = "/usr/local/lib/python3.11/site-packages"
    write(root, "/usr/bin/bash", b"bash", mode=0o755)
    (root / "bin").symlink_to("usr/bin")
    write(root, "/etc/bash.bashrc", "set -u")
    write(root, "/usr/lib/x86_64-linux-gnu/libc.so.6", os.urandom(0) + bytes(range(256)) * 4096)
    (root / "usr/lib/x86_64-linux-gnu/libc.so").symlink_to("libc.so.6")
    write(root, "/var/lib/dpkg/info/bash.list", "/.\n/bin\n/bin/bash\n/etc\n/etc/bash.bashrc\n")
    write(root, "/var/lib/dpkg/info/bash.md5sums", "0  bin/bash\n")
    write(
        root,
        "/var/lib/dpkg/info/libc6:amd64.list",
        "/usr/lib/x86_64-linux-gnu/libc.so.6\n/usr/lib/x86_64-linux-gnu/libc.so\n",
    )
    write(
        root,
        "/var/lib/dpkg/status",
        "Package: bash\nArchitecture: amd64\nVersion: 5.2.15-2\n\n"
        "Package: libc6\nArchitecture: amd64\nVersion: 2.36-9\nDescription: C\n library\n",
    )
    write(root, f"{site}/torch/__init__.py", "x = 1\n")
    write(root, f"{site}/torch/__pycache__/__init__.cpython-311.pyc", b"code")
    write(root, f"{site}/torch/__pycache__/__init__.cpython-311.opt-1.pyc", b"faster code")
    write(root, f"{site}/torch/odd, name.py", "y = 2\n")
    write(root, f"{site}/torch/_vendor/inner-9.dist-info/RECORD", "inner.py,,\n")
    write(root, f"{site}/torch/_vendor/inner-9.dist-info/METADATA", "Name: inner\nVersion: 9\n")
    write(root, "/usr/local/bin/torchrun", "#!/usr/bin/python3\n", mode=0o755)
    write(
        root,
        f"{site}/torch-2.13.0.dist-info/METADATA",
        "Metadata-Version: 2.1\nName: Torch\nVersion: 2.13.0+cpu\n\nName: no",
    )
    write(
        root,
        f"{site}/torch-2.13.0.dist-info/RECORD",
        '../../../bin/torchrun,sha256=0,1\ntorch/__init__.py,,\n"torch/odd, name.py",,\n'
        "torch/_vendor/inner-9.dist-info/RECORD,,\ntorch/_vendor/inner-9.dist-info/METADATA,,\n"
        "torch-2.13.0.dist-info/METADATA,,\ntorch-2.13.0.dist-info/RECORD,,\n",
    )
    write(root, f"{site}/loose.py", "z = 3\n")
    write(root, "/opt/odd/line\nbreak\\back", b"odd")
    write(root, os.fsdecode(b"/opt/odd/not-utf8-\xff"), b"odd")
    for excluded in (
        "/proc/1/environ",
        "/tmp/x",
        "/out/metrics.jsonl",
        "/inputs/w",
        "/run/lock",
        "/etc/hosts",
        "/etc/mtab",
    ):
        write(root, excluded, "not looked at")
    return root


def files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return files.jsonl by path."""
    lines = (folder / "files.jsonl").read_text(encoding="utf-8").splitlines()
    return {body["path"]: body for body in map(json.loads, lines)}


Probe = Callable[..., dict[str, Any]]
"""The fixture `probe`."""
