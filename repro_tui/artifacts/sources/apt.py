"""Debian packages through the host's apt-get, as an ordinary user, or from any Debian mirror by address.

apt-get gets its own state and cache folders in the store and an empty list of installed packages, so that it needs no
root, changes nothing of the host, and knows what the host's configured releases have, in exactly the versions asked.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from repro_tui.artifacts.packages import DebPin
from repro_tui.artifacts.sources.base import Context, SourceUnavailableError
from repro_tui.artifacts.sources.clients import folder_bytes, run_client
from repro_tui.artifacts.sources.download import download
from repro_tui.artifacts.store import make_folder

ENV_DEBIAN_MIRROR = "REPRO_TUI_DEBIAN_MIRROR"
"""Environment variable that names the address of a Debian mirror, as --debian-mirror does."""

NEEDS_MIRROR = (
    f"give the address of any Debian mirror, the part before `pool/`: --debian-mirror URL, or {ENV_DEBIAN_MIRROR}=URL"
)
_LISTS_AGE_S = 24 * 3600.0
_LIMIT_BYTES = 4 << 30


def fetch_debs(pins: Sequence[DebPin], folder: Path, context: Context) -> list[Path]:
    """Download the packages in one call of apt-get, into `folder` (of scratch); return the files, unchecked.

    Raises SourceUnavailableError where the host has no apt-get, or it does not know one of the versions.
    """
    if shutil.which("apt-get", path=context.environ.get("PATH")) is None:
        raise SourceUnavailableError("apt-get: not on this host", hint=NEEDS_MIRROR)
    architecture = next((pin.architecture for pin in pins if pin.architecture != "all"), "")
    state = context.store.folder("apt", architecture or "host")
    with context.store.lock(f"apt-{architecture or 'host'}"):
        updated = _update(state, architecture, folder, context, max_age_s=_LISTS_AGE_S)
        try:
            return _download(pins, state, architecture, folder, context)
        except SourceUnavailableError:
            if updated or not _update(state, architecture, folder, context, max_age_s=0.0):
                raise
            return _download(pins, state, architecture, folder, context)


def fetch_from_mirror(pin: DebPin, target: Path, context: Context) -> None:
    """Download a package from the Debian mirror that was named, to `target` (resumed, unchecked)."""
    if context.debian_mirror is None:
        raise SourceUnavailableError("no Debian mirror is named", hint=NEEDS_MIRROR)
    url = f"{context.debian_mirror.rstrip('/')}/{quote(pool_path(pin), safe='/+~:')}"
    download(url, target, context, text=pin.name, limit_bytes=_LIMIT_BYTES)


def pool_path(pin: DebPin) -> str:
    """Return a package's path on a mirror: the lock's, else where a package lies whose source has the same name."""
    if pin.pool_path:
        return pin.pool_path
    prefix = pin.name[:4] if pin.name.startswith("lib") else pin.name[0]
    return f"pool/main/{prefix}/{pin.name}/{file_name(pin)}"


def file_name(pin: DebPin) -> str:
    """Return a package's file name in a pool, where the version loses its epoch."""
    return f"{pin.name}_{pin.version.partition(':')[2] or pin.version}_{pin.architecture}.deb"


def _download(pins: Sequence[DebPin], state: Path, architecture: str, folder: Path, context: Context) -> list[Path]:
    debs = folder / "debs"
    debs.mkdir(exist_ok=True)
    text = pins[0].name if len(pins) == 1 else f"{len(pins)} packages (apt-get)"
    argv = ["apt-get", *private_state(state, architecture), "download", *(f"{pin.name}={pin.version}" for pin in pins)]
    finished = run_client(
        argv,
        folder=debs,
        environment=_environment(context),
        context=context,
        watch=lambda: context.progress(folder_bytes(debs), 0, text),
    )
    if finished.code != 0:
        reason = finished.reason()
        unknown = re.search(r"Unable to locate package|Version '.*' for '.*' was not found|No packages found", reason)
        raise SourceUnavailableError(
            f"apt-get: {reason}", hint=NEEDS_MIRROR if unknown else f"check the network; or {NEEDS_MIRROR}"
        )
    return sorted(debs.glob("*.deb"))


def _update(state: Path, architecture: str, folder: Path, context: Context, *, max_age_s: float) -> bool:
    """Bring the lists of packages up to date where they are older than that; tell whether that was needed."""
    stamp = state / "updated"
    if stamp.exists() and 0 <= time.time() - stamp.stat().st_mtime < max_age_s:
        return False
    for name in ("lists/partial", "cache/archives/partial", "log"):
        make_folder(state / name)
    (state / "status").write_bytes(b"")
    lists = state / "lists"
    finished = run_client(
        ["apt-get", *private_state(state, architecture), "update"],
        folder=folder,
        environment=_environment(context),
        context=context,
        watch=lambda: context.progress(folder_bytes(lists), 0, "lists of Debian packages (apt-get)"),
    )
    if finished.code != 0:
        raise SourceUnavailableError(
            f"apt-get update: {finished.reason()}", hint=f"check the network; or {NEEDS_MIRROR}"
        )
    stamp.touch()
    return True


def private_state(state: Path, architecture: str) -> list[str]:
    """Return apt-get's options for a state of its own: no root needed, the host's installed packages unseen."""
    options = {
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::State::extended_states": state / "extended_states",
        "Dir::Cache": state / "cache",
        "Dir::Log": state / "log",
        "APT::Sandbox::User": "",
        "APT::Get::Assume-Yes": "true",
        "Acquire::Retries": "3",
        "Acquire::Languages": "none",
        "Acquire::http::Timeout": "30",
        "Acquire::https::Timeout": "30",
        "APT::Update::Post-Invoke-Success::": "",
        **({"APT::Architecture": architecture, "APT::Architectures": architecture} if architecture else {}),
    }
    return ["-q", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]


def _environment(context: Context) -> Mapping[str, str]:
    return {**context.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
