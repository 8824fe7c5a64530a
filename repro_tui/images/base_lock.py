"""Makes a base lock: what a recipe's packages and their dependencies are in the main suite of a Debian release.

apt-get resolves, as an ordinary user, with its own state folder and an empty list of installed packages. Versions of a
frozen release's main suite stay on every mirror, those of its security and update suites go when superseded: a lock
takes main only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from repro_tui.artifacts.sources.apt import private_state
from repro_tui.errors import InfrastructureError
from repro_tui.images.debs import LockedDeb
from repro_tui.images.recipe import Recipe

_INSTALL = re.compile(r"^Inst (\S+) \((\S+) ", re.MULTILINE)


def resolve_base(recipe: Recipe, state: Path) -> tuple[LockedDeb, ...]:
    """Return the packages for a recipe's base, sorted by name; `state` is an empty folder for apt's own files.

    Raises InfrastructureError where this host's apt cannot do it.
    """
    if shutil.which("apt-get") is None:
        raise InfrastructureError(
            "a base lock is made with apt-get, which this host does not have",
            hint="make it on Debian or in a Debian container; assembling from a lock needs no apt-get",
        )
    _prepare(state, recipe.base.release)
    options = _options(state, recipe.architecture)
    _run(["apt-get", *options, "update"])
    printed = _run(["apt-get", *options, "install", "--simulate", "--no-install-recommends", *recipe.base.packages])
    wanted = [(name.partition(":")[0], version) for name, version in _INSTALL.findall(printed)]
    left_out = set(recipe.base.leave_out)
    exact = [f"{name}={version}" for name, version in wanted if name not in left_out]
    shown = _run(["apt-cache", *options, "show", "--no-all-versions", *exact])
    return tuple(sorted(map(_locked, shown.strip().split("\n\n")), key=lambda deb: deb.name))


def lock_text(recipe: Recipe, debs: Sequence[LockedDeb]) -> str:
    """Return the text of a lock."""
    head = (
        f"# Base of {recipe.name} for {recipe.platform}: Debian {recipe.base.release}, main suite.\n"
        "# Made by `repro-tui image lock-base`: name version architecture sha256 pool-path bytes\n"
    )
    return head + "".join(deb.to_line() for deb in debs)


def _prepare(state: Path, release: str) -> None:
    for name in ("lists/partial", "cache/archives/partial", "log"):
        (state / name).mkdir(parents=True, exist_ok=True)
    (state / "status").write_bytes(b"")
    (state / "preferences").write_text(
        f"Package: *\nPin: release n={release}\nPin-Priority: 990\n\nPackage: *\nPin: release *\nPin-Priority: -1\n",
        encoding="ascii",
    )


def _options(state: Path, architecture: str) -> list[str]:
    preferences = ["-o", f"Dir::Etc::Preferences={state / 'preferences'}", "-o", "Dir::Etc::PreferencesParts=/dev/null"]
    return [*private_state(state, architecture), *preferences]


def _run(argv: Sequence[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    if done.returncode != 0:
        raise InfrastructureError(
            f"{argv[0]} failed: {(done.stderr.strip() or done.stdout.strip())[-500:]}",
            where=" ".join(argv[:1]),
            hint="the host's apt must know the release that the recipe names",
        )
    return done.stdout


def _locked(paragraph: str) -> LockedDeb:
    fields = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", paragraph, re.MULTILINE))
    return LockedDeb(
        fields["Package"], fields["Version"], fields["Architecture"], fields["SHA256"], fields["Filename"],
        int(fields["Size"]),
    )  # fmt: skip
