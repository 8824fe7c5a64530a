"""The environment hash, and what is different between two environments, by name.

A summary is what verify/probe.py writes (docs/environment-hash.md). Its canonical JSON (RFC 8785) without the facts
about the host is what the hash is of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro_tui.errors import InfrastructureError
from repro_tui.events import CheckResult, CheckStatus
from repro_tui.manifest.canonical import digest
from repro_tui.verify.listing import Entry, FileDifference, compare_listings, read_listing, unreadable_paths
from repro_tui.verify.probe import UNKNOWN

COMPONENTS = ("python", "variables", "libraries", "base", "distributions", "other")
"""Parts of the summary that have a hash of their own, in the order in which their differences are named."""

PROBE = Path(__file__).with_name("probe.py")
"""The file to run inside the container."""

HASH_CHECK = "environment hash"
"""Name of the check of the whole."""

_FILES_NAMED = 10
"""So many files of one package are named, the others are a number."""
_DETAIL_DIFFERENCES = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference; `text` is a sentence a person can act on."""

    component: str
    name: str
    text: str
    expected: str = ""
    observed: str = ""


def read_summary(path: Path) -> dict[str, Any]:
    """Return what the probe wrote; raises InfrastructureError where that is not a summary."""
    try:
        summary = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InfrastructureError(f"the environment probe left no summary: {error}", where=str(path)) from None
    missing = [key for key in ("schema", *COMPONENTS) if not isinstance(summary, dict) or key not in summary]
    if missing:
        raise InfrastructureError(f"the environment probe's summary lacks {', '.join(missing)}", where=str(path))
    return dict(summary)


def hashed_part(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the hash is of, and what a record keeps: the schema and the components, nothing of the host."""
    return {key: summary[key] for key in ("schema", *COMPONENTS)}


def environment_hash(summary: Mapping[str, Any]) -> str:
    """Return `sha256:` and the hex digest of the summary's canonical JSON."""
    return digest(hashed_part(summary))


def component_hashes(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return the hash of each component's canonical JSON."""
    return {component: digest(summary[component]) for component in COMPONENTS}


def compare(
    expected: Mapping[str, Any],
    observed: Mapping[str, Any],
    *,
    expected_files: Path | None = None,
    observed_files: Path | None = None,
) -> list[Difference]:
    """Return every difference between two summaries, named down to the file where both listings are given.

    `expected_files` is the image's inventory or the files.jsonl of the recorded run, `observed_files` this run's.
    """
    return list(_differences(expected, observed, _files_by_owner(expected_files, observed_files)))


def compare_files(inventory: Path, observed_files: Path) -> list[Difference]:
    """Return how the files that the probe saw differ from those of the image; what nobody may read there must be so."""
    expected, observed = read_listing(inventory), read_listing(observed_files)
    for path in unreadable_paths(inventory):
        if path in observed and observed[path].value == UNKNOWN:
            del observed[path]
    return [_named(each, "files", "") for each in compare_listings(expected, observed)]


def environment_checks(
    observed: Mapping[str, Any] | None,
    *,
    at: float,
    pinned_hash: str | None = None,
    pinned_image: bool = True,
    expected: Mapping[str, Any] | None = None,
    inventory: Path | None = None,
    observed_files: Path | None = None,
) -> list[CheckResult]:
    """Return the checks of the environment: the hash first, then each component that a record allows to compare.

    `observed` None is a probe that told nothing; `expected` is the recorded summary. Without a record, and the hash
    not matching, the files are compared with the image's `inventory`. A file that the probe could not read makes the
    hash unverifiable, unless the image keeps it from every use by a container's user. Without a pin and without a
    record nothing is required where the image's digest is pinned, and the environment is unverifiable where it is not.
    """
    pinned = pinned_hash or (environment_hash(expected) if expected is not None else None)
    if observed is None:
        return [
            _check(
                HASH_CHECK,
                CheckStatus.UNVERIFIABLE,
                at,
                expected=pinned or "",
                detail="the probe told nothing",
                required=pinned is not None or not pinned_image,
            )
        ]
    observed_hash = environment_hash(observed)
    closed = unreadable_paths(inventory) if inventory is not None else dict[str, bool]()
    unreadable = [path for path in map(str, observed.get("unreadable", ())) if not closed.get(path, False)]
    differences: list[Difference] = []
    checks: list[CheckResult] = []
    if pinned is not None and observed_hash != pinned and expected is not None:
        differences = compare(expected, observed, expected_files=inventory, observed_files=observed_files)
    elif inventory is not None and observed_files is not None and observed_hash != pinned:
        differences = compare_files(inventory, observed_files)
        status = CheckStatus.DIFFERS if differences else CheckStatus.MATCH
        checks.append(_check("files of the image", status, at, detail=sentence(differences)))
    if pinned is None and not pinned_image:
        status, detail = CheckStatus.UNVERIFIABLE, "the manifest pins neither the image's digest nor environment.hash"
    elif pinned is None:
        status, detail = CheckStatus.NOT_RUN, "the manifest pins no environment hash"
    elif observed_hash != pinned:
        status, detail = CheckStatus.DIFFERS, sentence(differences)
    elif unreadable:
        status, detail = CheckStatus.UNVERIFIABLE, f"not readable in the container: {_some(unreadable)}"
    else:
        status, detail = CheckStatus.MATCH, ""
    first = _check(
        HASH_CHECK,
        status,
        at,
        expected=pinned or "",
        observed=observed_hash,
        detail=detail,
        required=pinned is not None or not pinned_image,
    )
    checks.insert(0, first)
    if expected is not None:
        checks.extend(_component_checks(expected, observed, differences, at))
    return checks


def sentence(differences: Sequence[Difference]) -> str:
    """Return the first differences as one text."""
    return _some([each.text for each in differences], _DETAIL_DIFFERENCES, "; ")


def _component_checks(
    expected: Mapping[str, Any], observed: Mapping[str, Any], differences: Sequence[Difference], at: float
) -> Iterator[CheckResult]:
    one, other = component_hashes(expected), component_hashes(observed)
    for component in COMPONENTS:
        same = one[component] == other[component]
        detail = "" if same else sentence([each for each in differences if each.component == component])
        status = CheckStatus.MATCH if same else CheckStatus.DIFFERS
        yield _check(
            f"environment: {component}", status, at, expected=one[component], observed=other[component], detail=detail
        )


def _check(
    name: str,
    status: CheckStatus,
    at: float,
    *,
    expected: str = "",
    observed: str = "",
    detail: str = "",
    required: bool = True,
) -> CheckResult:
    return CheckResult(
        at=at, name=name, component="environment", status=status, expected=expected, observed=observed, detail=detail,
        required=required,
    )  # fmt: skip


# --- naming differences -----------------------------------------------------------------------------------------------


def _differences(
    expected: Mapping[str, Any], observed: Mapping[str, Any], files: Mapping[str, list[FileDifference]]
) -> Iterator[Difference]:
    yield from _values("python", expected["python"], observed["python"], "Python's ")
    yield from _values("variables", expected["variables"], observed["variables"], "")
    yield from _values("libraries", expected["libraries"], observed["libraries"], "as the libraries see it, ")
    yield from _packages("base", "deb:", expected["base"], observed["base"], files)
    yield from _packages("distributions", "pip:", expected["distributions"], observed["distributions"], files)
    if expected["other"] != observed["other"]:
        named = files.get("other", [])
        yield from _files(named, "other", "")
        if not named:
            text = "files that belong to no package differ"
            yield Difference("other", "other", text, expected["other"], observed["other"])


def _values(component: str, expected: Any, observed: Any, prefix: str, path: str = "") -> Iterator[Difference]:
    if isinstance(expected, Mapping) and isinstance(observed, Mapping):
        for key in sorted(expected.keys() | observed.keys()):
            name = f"{path}.{key}" if path else str(key)
            yield from _values(component, expected.get(key), observed.get(key), prefix, name)
    elif expected != observed:
        one, other = _show(expected), _show(observed)
        if observed is None:
            text = f"{prefix}{path} is not set, pinned {one}"
        elif expected is None:
            text = f"{prefix}{path} is {other}, pinned not set"
        else:
            text = f"{prefix}{path} is {other}, pinned {one}"
        yield Difference(component, path, text, one, other)


def _packages(
    component: str,
    kind: str,
    expected: Mapping[str, Mapping[str, str]],
    observed: Mapping[str, Mapping[str, str]],
    files: Mapping[str, list[FileDifference]],
) -> Iterator[Difference]:
    for name in sorted(expected.keys() | observed.keys()):
        one, other = expected.get(name), observed.get(name)
        if one == other:
            continue
        if other is None:
            text = f"{name} {one['version'] if one else ''} is missing"
        elif one is None:
            text = f"{name} {other['version']} was added"
        elif one["version"] != other["version"]:
            text = f"{name} is {other['version']}, pinned {one['version']}"
        else:
            named = files.get(kind + name, [])
            yield from _files(named, component, f" in {name} {one['version']}")
            if named:
                continue
            text = f"files of {name} {one['version']} differ"
        yield Difference(component, name, text, one["sha256"] if one else "", other["sha256"] if other else "")


def _files(differences: Sequence[FileDifference], component: str, of: str) -> Iterator[Difference]:
    for each in differences[:_FILES_NAMED]:
        yield _named(each, component, of)
    if (more := len(differences) - _FILES_NAMED) > 0:
        yield Difference(component, "", f"and {more} more files{of} differ")


def _named(each: FileDifference, component: str, of: str) -> Difference:
    one, other = each.expected, each.observed
    _, found, inside = each.path.rpartition("-packages/")
    path = inside if found else each.path
    owner = of or (f" in {one.owner}" if one is not None and one.owner not in {"image", "other"} else "")
    text = f"{path}{owner} {each.what}"
    return Difference(component, each.path, text, one.value if one else "", other.value if other else "")


def _files_by_owner(expected: Path | None, observed: Path | None) -> dict[str, list[FileDifference]]:
    """Return the differing files by the owner that the probe gave them; a missing one by that of its neighbours."""
    if expected is None or observed is None:
        return {}
    one, other = read_listing(expected), read_listing(observed)
    owners: dict[str, list[FileDifference]] = {}
    names = _owner_names(one, other)
    for each in compare_listings(one, other):
        if each.observed is not None:
            owner = each.observed.owner
        else:
            owner = names.get(each.expected.owner, "other") if each.expected is not None else "other"
        owners.setdefault(owner, []).append(each)
    return owners


def _owner_names(expected: Mapping[str, Entry], observed: Mapping[str, Entry]) -> dict[str, str]:
    """Return how the observed listing calls each owner of the expected one, by a file that both have."""
    return {entry.owner: observed[path].owner for path, entry in expected.items() if path in observed}


def _some(texts: Sequence[str], limit: int = _FILES_NAMED, separator: str = ", ") -> str:
    shown = separator.join(texts[:limit])
    return f"{shown}{separator}and {len(texts) - limit} more" if len(texts) > limit else shown


def _show(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
