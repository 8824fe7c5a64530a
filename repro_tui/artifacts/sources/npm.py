"""The tarball of an npm package, through the host's npm; no script of any package is run."""

from __future__ import annotations

import shutil
from pathlib import Path

from repro_tui.artifacts.sources.base import Context, SourceUnavailableError
from repro_tui.artifacts.sources.clients import folder_bytes, run_client


def fetch(package: str, version: str, folder: Path, context: Context) -> Path:
    """Download the tarball of `package@version` into `folder` (of scratch); return the file, unchecked."""
    if shutil.which("npm", path=context.environ.get("PATH")) is None:
        raise SourceUnavailableError("there is no npm on this host", hint="install npm (your system's package npm)")
    tarballs = folder / "tarballs"
    tarballs.mkdir()
    argv = [
        "npm", "pack", f"{package}@{version}", "--pack-destination", str(tarballs), "--cache", str(folder / "cache"),
        "--ignore-scripts", "--loglevel", "error", "--no-update-notifier",
    ]  # fmt: skip
    finished = run_client(
        argv,
        folder=folder,
        environment=context.environ,
        context=context,
        watch=lambda: context.progress(folder_bytes(folder), 0, package),
    )
    files = sorted(tarballs.iterdir())
    if finished.code != 0 or len(files) != 1:
        raise SourceUnavailableError(f"npm: {finished.reason()}", hint="check the network and npm's configuration")
    return files[0]
