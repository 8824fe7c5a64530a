"""Fetch a newer Docker than the host has, into a folder and nowhere else: `python -m tests.engines.fetch_docker FOLDER`.

The host's own apt settings are asked for a later release of its distribution, with state of its own; 67 MB come down.
The engine runs in that folder as its root, with its own C library, so nothing of the host is replaced.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

RELEASE = "trixie"
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
_ROOT = ("proc", "sys", "dev", "tmp", "run", "root", "mnt", "var/lib")


def fetch(folder: Path) -> None:
    """Leave a root folder with dockerd; raises CalledProcessError or OSError."""
    work = folder / "apt"
    for name in ("state/lists/partial", "cache/archives/partial", "sources"):
        (work / name).mkdir(parents=True, exist_ok=True)
    (work / "status").touch()
    lines = SOURCES.read_text(encoding="utf-8").splitlines()
    renamed = [re.sub(r"(?<= )[a-z]+", RELEASE, line) if line.startswith("Suites:") else line for line in lines]
    (work / "sources/later.sources").write_text("\n".join(renamed) + "\n", encoding="utf-8")
    settings = {
        "Dir::State": work / "state", "Dir::State::status": work / "status", "Dir::Cache": work / "cache",
        "Dir::Etc::sourcelist": "/dev/null", "Dir::Etc::sourceparts": work / "sources", "APT::Sandbox::User": "",
    }  # fmt: skip
    apt = ["apt-get", "-qq", "-y", *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "install", "--no-install-recommends", "--download-only", "docker.io"], check=True)
    root = folder / "root"
    for name in _ROOT:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    for package in sorted((work / "cache/archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)
        package.unlink()


if __name__ == "__main__":
    fetch(Path(sys.argv[1]).resolve())
