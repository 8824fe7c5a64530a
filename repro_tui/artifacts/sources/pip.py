"""Wheels and source distributions through pip, as the host has it set up (indexes, proxies, certificates, credentials).

Wheels come by `pip download` for the image's interpreter and platform, many in one call; pip checks their hashes and
the store checks them again. Source distributions come by pip_sdist.py, because pip would run them.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from repro_tui.artifacts.packages import WheelPin, WheelTarget
from repro_tui.artifacts.sources.base import Context, SourceUnavailableError
from repro_tui.artifacts.sources.clients import Finished, folder_bytes, run_client
from repro_tui.errors import DigestMismatchError

_MISMATCH = re.compile(
    r"^\s*(?P<name>[A-Za-z0-9._-]+)==.*\n"
    r"(?P<more>(?:\s*(?:Expected sha256|or)\s+[0-9a-f]{64}\n)+)"
    r"\s*Got\s+(?P<got>[0-9a-f]{64})",
    re.MULTILINE,
)
_NO_NETWORK = "check the network and pip's configuration (`pip config list`), or name a mirror folder that has it"
_NO_PIP = "install pip for this Python (`python -m ensurepip`, or your system's python3-pip package)"


@dataclass(frozen=True, slots=True)
class Pip:
    """A pip that can be started: its command, and the folder that its package is imported from ("" for our own)."""

    command: tuple[str, ...]
    library: str = ""


@cache
def find_pip() -> Pip | None:
    """Return the host's pip: this interpreter's, one on PATH, or the one that Python brings for `ensurepip`."""
    if importlib.util.find_spec("pip") is not None:
        return Pip((sys.executable, "-m", "pip"))
    for name in ("pip3", "pip"):
        if path := shutil.which(name):
            told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=60)
            if told.returncode == 0 and (found := re.search(r" from (.+)[/\\]pip \(python", told.stdout)):
                return Pip((path,), found[1])
    bundled = importlib.util.find_spec("ensurepip")
    if bundled is not None and bundled.origin is not None:
        for wheel in sorted(Path(bundled.origin).parent.glob("_bundled/pip-*.whl")):
            return Pip((sys.executable, str(wheel / "pip")), str(wheel))
    return None


def fetch_wheels(pins: Sequence[WheelPin], folder: Path, target: WheelTarget, context: Context) -> list[Path]:
    """Download a wheel of each pin in one call of pip, into `folder` (of scratch); return the files, unchecked.

    Raises SourceUnavailableError naming the first that pip cannot find, DigestMismatchError where what it is served is
    not what is pinned.
    """
    pip = _pip()
    requirements, wheels = folder / "requirements.txt", folder / "wheels"
    requirements.write_text("".join(_requirement(pin) for pin in pins), encoding="utf-8")
    wheels.mkdir()
    argv = [
        *pip.command, "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--no-input",
        "--disable-pip-version-check", "--ignore-requires-python", "--require-hashes",
        "--requirement", str(requirements), "--dest", str(wheels), "--implementation", "cp", "--abi", target.abi,
        "--python-version", ".".join(map(str, target.python)),
    ]  # fmt: skip
    argv += [part for platform in target.platforms for part in ("--platform", platform)]
    text = str(pins[0].name) if len(pins) == 1 else f"{len(pins)} packages (pip)"
    finished = _run(argv, folder, context, text)
    if finished.code != 0:
        raise _failure(finished, pins)
    return sorted(wheels.iterdir())


def fetch_sdist(name: str, version: str, sha256: str, folder: Path, context: Context) -> Path:
    """Download the source distribution of that version, without running anything of it; return the file, unchecked."""
    pip = _pip()
    target = folder / "sdist"
    script = Path(__file__).with_name("pip_sdist.py")
    argv = [sys.executable, "-P", str(script), name, version, sha256, str(target)]
    finished = _run([*argv, pip.library] if pip.library else argv, folder, context, name)
    if finished.code != 0:
        raise SourceUnavailableError(finished.reason())
    return target


def _pip() -> Pip:
    pip = find_pip()
    if pip is None:
        raise SourceUnavailableError("there is no pip on this host", hint=_NO_PIP)
    return pip


def _run(argv: Sequence[str], folder: Path, context: Context, text: str) -> Finished:
    # pip downloads into its temporary folder and copies at the end: kept on the store's file system, and seen growing.
    temporary = folder / "tmp"
    temporary.mkdir()

    def watch() -> None:
        context.progress(folder_bytes(temporary, folder / "wheels"), 0, text)

    return run_client(argv, folder=folder, environment=_environment(context, temporary), context=context, watch=watch)


def _environment(context: Context, temporary: Path) -> Mapping[str, str]:
    # PIP_REQUIRE_VIRTUALENV is about installing; PIP_REQUIREMENT and the like would add to what is asked for.
    unwanted = {"PIP_REQUIRE_VIRTUALENV", "PIP_REQUIREMENT", "PIP_CONSTRAINT", "PIP_DEST", "PIP_QUIET", "PIP_VERBOSE"}
    kept = {name: value for name, value in context.environ.items() if name not in unwanted}
    return {**kept, "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1", "PATH": kept.get("PATH", os.defpath)}


def _requirement(pin: WheelPin) -> str:
    hashes = "".join(f" --hash=sha256:{sha256}" for sha256 in sorted(pin.sha256s))
    return f"{pin.name}=={pin.version}{hashes}\n"


def _failure(finished: Finished, pins: Sequence[WheelPin]) -> Exception:
    """Return what pip's words mean: other bytes, not found, or something else."""
    if mismatch := _MISMATCH.search(finished.errors):
        expected = re.findall(r"[0-9a-f]{64}", mismatch["more"])
        return DigestMismatchError(
            component=mismatch["name"],
            expected=" or ".join(expected),
            observed=mismatch["got"],
            where="pip",
            hint="the package index serves another file than the one that was locked",
        )
    if "connection broken by" in finished.errors:
        return SourceUnavailableError("the package index cannot be reached", hint=_NO_NETWORK)
    if missing := re.search(r"No matching distribution found for (\S+)", finished.errors):
        about = next((pin for pin in pins if missing[1].lower().startswith(f"{pin.name}==".lower())), None)
        name = f"{about.name} {about.version}" if about else missing[1]
        return SourceUnavailableError(f"no wheel of {name} that fits the image is found", hint=_NO_NETWORK)
    return SourceUnavailableError(finished.reason())
