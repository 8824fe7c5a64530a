"""From the loose file to a dependency lock: uv resolves for the image's platform and Python, hashes are kept."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from repro_tui.authoring.locking.indexes import uv_settings
from repro_tui.authoring.locking.requirements import PYLOCK, Requirements
from repro_tui.errors import InfrastructureError, ManifestError, UsageError
from repro_tui.images.locks import NOTHING, LockedWheel, read_lock
from repro_tui.images.recipe import ARCHITECTURES

EXTRA = "pip install 'repro-tui[author]'"
_SHOWN_LINES = 12
_HEAD = re.compile(r"^# requirements: sha256:(?P<digest>[0-9a-f]{64})$", re.MULTILINE)
_NO_WHEEL = re.compile(r"no (?:usable |compatible )?wheels?\b")
_UNREACHABLE = re.compile(
    r"error sending request|dns error|Failed to fetch|Connection refused|timed out", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Target:
    """The image that wheels are for."""

    platform: str
    python: str


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Which packages may get other versions than they have in the lock that is there: all, or those named."""

    all: bool = False
    packages: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.all or bool(self.packages)


def resolve(
    requirements: Requirements,
    target: Target,
    *,
    old: Sequence[LockedWheel] = (),
    upgrade: Upgrade | None = None,
    offline: bool = False,
    environ: Mapping[str, str] | None = None,
) -> tuple[LockedWheel, ...]:
    """Return what the requirements come to: one wheel a package. Versions of `old` stay where they can.

    Raises UsageError where there is no uv, ManifestError where no set of packages satisfies the requirements or one has
    no wheel for the image, InfrastructureError where no index can be asked.
    """
    if requirements.is_nothing:
        return ()
    with tempfile.TemporaryDirectory(prefix="repro-tui-lock-") as folder:
        if PYLOCK.fullmatch(requirements.path.name):
            made = requirements.path
        else:
            made = Path(folder, "pylock.toml")
            _uv(requirements, target, made, old=old, upgrade=upgrade or Upgrade(), offline=offline, environ=environ)
        try:
            wheels = read_lock(made, platform=target.platform, python=target.python)
        except ManifestError as error:
            problems = [re.sub(r"^\S*pylock\.toml:(\d+: |\s*packages\[\d+\]: )?", "", each) for each in error.problems]
            raise ManifestError(
                "what the requirements come to cannot be assembled",
                where=str(requirements.path), hint=_WHEEL_HINT, problems=problems,
            ) from None  # fmt: skip
    # An image's layers depend on which file is taken: of the files that fit, the lock names the best.
    return tuple(LockedWheel(wheel.name, wheel.version, wheel.sha256s[:1]) for wheel in wheels)


_WHEEL_HINT = (
    "images are assembled from wheels: ask for a version that has one, or make one with `pip wheel NAME` "
    "and name its folder in PIP_FIND_LINKS"
)


def lock_text(wheels: Sequence[LockedWheel], requirements: Requirements, target: Target) -> str:
    """Return the lock as a file of the project: names, versions, hashes; no address."""
    head = (
        f"# {target.platform}, CPython {target.python}. Made by `repro-tui lock` from {requirements.path.name};\n"
        "# one line a wheel with the digest of the one file that is used.\n"
        f"# requirements: sha256:{requirements.digest(target.platform, target.python)}\n"
    )
    lines = (f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256s[0]}\n" for wheel in wheels)
    return head + ("".join(lines) or f"{NOTHING}\n")


def made_from(text: str) -> str | None:
    """Return the digest of the requirements that a lock says it was made from, None where it does not say."""
    found = _HEAD.search(text)
    return found["digest"] if found else None


def differences(old: Sequence[LockedWheel], new: Sequence[LockedWheel]) -> list[str]:
    """Return in words how two locks differ, a line a package."""
    before = {wheel.name: wheel for wheel in old}
    after = {wheel.name: wheel for wheel in new}
    lines: list[str] = []
    for name in sorted(before | after):
        one, other = before.get(name), after.get(name)
        if one is None and other is not None:
            lines.append(f"+ {name} {other.version}")
        elif other is None and one is not None:
            lines.append(f"- {name} {one.version}")
        elif one is not None and other is not None and one.version != other.version:
            lines.append(f"  {name} {one.version} → {other.version}")
        elif one is not None and other is not None and one.sha256s != other.sha256s:
            lines.append(f"  {name} {one.version}, another file")
    return lines


def find_uv() -> str:
    """Return the uv program: of the package that comes with the extra, else of the host; raises UsageError."""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        pass
    if (found := shutil.which("uv")) is not None:
        return found
    raise UsageError("a dependency lock is made with uv, which is not installed", where="repro-tui lock", hint=EXTRA)


def _uv(
    requirements: Requirements,
    target: Target,
    made: Path,
    *,
    old: Sequence[LockedWheel],
    upgrade: Upgrade,
    offline: bool,
    environ: Mapping[str, str] | None,
) -> None:
    variables, options = uv_settings(os.environ if environ is None else environ)
    path = requirements.path.absolute()
    if path.name == "uv.lock":
        argv = ["export", "--frozen", "--no-dev", "--no-emit-project", "--format", "pylock.toml", "--quiet"]
        argv += ["--project", str(path.parent), "--no-header", "-o", str(made)]
    else:
        if old and not upgrade.all:
            made.write_text(_preferences(old), encoding="utf-8")
        machine = ARCHITECTURES[target.platform]
        asked = path
        if requirements.pip_lines:
            asked = made.with_name("requirements.in")
            asked.write_text("".join(f"{line}\n" for line in requirements.pip_lines), encoding="utf-8")
        argv = ["pip", "compile", str(asked), "--format", "pylock.toml", "-o", str(made), "--quiet", "--no-header"]
        argv += ["--python-version", target.python, "--python-platform", f"{machine}-manylinux_2_36"]
        argv += ["--only-binary", ":all:", "--generate-hashes", *options]
        argv += [f"--upgrade-package={package}" for package in upgrade.packages]
    if offline:
        argv.append("--offline")
    done = subprocess.run(
        [find_uv(), *argv], capture_output=True, text=True, check=False, cwd=path.parent, env=variables
    )
    if done.returncode != 0:
        raise _failed(done.stderr or done.stdout, requirements.path, offline=offline)


def _preferences(old: Sequence[LockedWheel]) -> str:
    """Return a pylock.toml of versions alone: uv keeps what an output file that is there has."""
    packages = (
        f"[[packages]]\nname = {json.dumps(wheel.name)}\nversion = {json.dumps(wheel.version)}\n" for wheel in old
    )
    return 'lock-version = "1.0"\ncreated-by = "repro-tui"\n' + "".join(packages)


def _failed(message: str, path: Path, *, offline: bool) -> ManifestError | InfrastructureError:
    lines = [_plain(line) for line in message.splitlines() if line.strip()]
    if offline and "offline" in message.lower():
        return InfrastructureError(
            f"uv has not all it needs in its cache: {' '.join(lines)[:300]}",
            where=str(path),
            hint="lock without --offline",
        )
    if _UNREACHABLE.search(message):
        reason = lines[-1].removeprefix("cause: ") if lines else "uv says nothing"
        return InfrastructureError(
            f"no index of packages can be asked: {reason}", where=str(path),
            hint="check the network, or the index that pip is set up with (`pip config list`)",
        )  # fmt: skip
    hint = _WHEEL_HINT if _NO_WHEEL.search(message) else "change the requirements; what uv says is above"
    return ManifestError(
        "no set of packages satisfies the requirements", where=str(path), hint=hint, problems=lines[:_SHOWN_LINES]
    )


def _plain(line: str) -> str:
    """Return a line of uv's without its drawing, and without addresses, which may hold credentials."""
    return re.sub(r"[a-z+]+://\S+", "ADDRESS", re.sub(r"^[\s\u00d7\u2570\u2500\u25b6\u251c\u2502]+", "", line)).strip()
