"""The environments and the machines of two runs side by side, named down to the package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from repro_tui.errors import InfrastructureError
from repro_tui.runs.compare import Pair, read_json
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.words import fact, fact_name, short
from repro_tui.verify import environment


@dataclass(frozen=True, slots=True)
class Environments:
    """Packages that the right run has more, less or otherwise than the left one; `other` is all else.

    `unknown` says why nothing can be said: a run whose probe left nothing.
    """

    added: tuple[Pair, ...] = ()
    removed: tuple[Pair, ...] = ()
    changed: tuple[Pair, ...] = ()
    other: tuple[Pair, ...] = ()
    unknown: str = ""

    @property
    def same(self) -> bool:
        """Say whether both are known, and the same."""
        return not (self.unknown or self.added or self.removed or self.changed or self.other)


def environments(left: RunDirectory, right: RunDirectory) -> Environments:
    """Compare what the probe found in two runs."""
    try:
        one, other = environment.read_summary(left.environment), environment.read_summary(right.environment)
    except InfrastructureError as error:
        return Environments(unknown=f"{error.message} ({error.where})")
    packages = list(_packages(one, other))
    rest = [each for each in environment.compare(one, other) if each.component not in _PACKAGES]
    return Environments(
        added=tuple(pair for pair in packages if not pair.left),
        removed=tuple(pair for pair in packages if not pair.right),
        changed=tuple(pair for pair in packages if pair.left and pair.right),
        other=tuple(
            Pair(f"{each.name or each.component} ({each.component})", short(each.expected), short(each.observed))
            for each in rest
        ),
    )


_PACKAGES = {"base": "Debian", "distributions": "Python"}


def _packages(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Pair]:
    for component, kind in _PACKAGES.items():
        left, right = one[component], other[component]
        for name in sorted(left.keys() | right.keys()):
            if left.get(name) != right.get(name):
                was, now = _version(left.get(name)), _version(right.get(name))
                note = "same version, other files" if was == now else ""
                yield Pair(f"{name} ({kind})", was, now, note)


def _version(package: Any) -> str:
    return "" if package is None else str(package.get("version", "?"))


def hosts(left: RunDirectory, right: RunDirectory) -> list[Pair]:
    """Return what the probe saw of the two machines, key by key."""
    one, other = (read_json(run.environment).get("host") or {} for run in (left, right))
    names = list(dict.fromkeys([*one, *other]))
    return [Pair(fact_name(name), fact(name, one.get(name)), fact(name, other.get(name))) for name in names]
