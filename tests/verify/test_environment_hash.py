from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro_tui.errors import InfrastructureError
from repro_tui.events import CheckResult, CheckStatus
from repro_tui.verify.environment import (
    COMPONENTS,
    HASH_CHECK,
    compare,
    compare_files,
    component_hashes,
    environment_checks,
    environment_hash,
    hashed_part,
    read_summary,
)
from tests.verify.image_roots import Probe, write

SUMMARY: dict[str, Any] = {
    "schema": 1,
    "python": {"version": "3.11.2", "flags": {"optimize": 0}, "path": ["/usr/lib/python3.11"]},
    "variables": {"OMP_NUM_THREADS": "2", "TZ": "UTC"},
    "libraries": {"threads": 2, "cpu_capability": "AVX2"},
    "base": {"libc6": {"version": "2.36-9", "sha256": "a" * 64}},
    "distributions": {
        "torch": {"version": "2.13.0", "sha256": "b" * 64},
        "numpy": {"version": "2.4.6", "sha256": "c" * 64},
    },
    "other": "d" * 64,
    "unreadable": [],
    "host": {"kernel": "Linux 6.1", "cpu_vendor": "GenuineIntel"},
}


def changed(*path: str, to: Any) -> dict[str, Any]:
    """Return the summary with one value replaced, or removed where `to` is None."""
    summary = copy.deepcopy(SUMMARY)
    place = summary
    for key in path[:-1]:
        place = place[key]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return summary


@pytest.mark.parametrize(
    ("path", "to", "text"),
    [
        (("variables", "OMP_NUM_THREADS"), "4", "OMP_NUM_THREADS is 4, pinned 2"),
        (("variables", "TZ"), None, "TZ is not set, pinned UTC"),
        (("variables", "LD_PRELOAD"), "/x.so", "LD_PRELOAD is /x.so, pinned not set"),
        (("python", "version"), "3.12.1", "Python's version is 3.12.1, pinned 3.11.2"),
        (("python", "flags", "optimize"), 1, "Python's flags.optimize is 1, pinned 0"),
        (("libraries", "threads"), 1, "as the libraries see it, threads is 1, pinned 2"),
        (("distributions", "torch", "version"), "2.14.0", "torch is 2.14.0, pinned 2.13.0"),
        (("distributions", "torch", "sha256"), "e" * 64, "files of torch 2.13.0 differ"),
        (("distributions", "numpy"), None, "numpy 2.4.6 is missing"),
        (("base", "libgomp1"), {"version": "12", "sha256": "f" * 64}, "libgomp1 12 was added"),
        (("other",), "e" * 64, "files that belong to no package differ"),
    ],
)
def test_one_difference_is_found_and_named(path: tuple[str, ...], to: Any, text: str) -> None:
    observed = changed(*path, to=to)
    assert environment_hash(observed) != environment_hash(SUMMARY)
    (difference,) = compare(SUMMARY, observed)
    assert (difference.text, difference.component) == (text, path[0])
    one, other = component_hashes(SUMMARY), component_hashes(observed)
    assert [name for name in COMPONENTS if one[name] != other[name]] == [path[0]]
    checks = environment_checks(observed, at=1.0, pinned_hash=environment_hash(SUMMARY), expected=SUMMARY)
    assert checks[0].name == HASH_CHECK
    assert (checks[0].status, checks[0].detail) == (CheckStatus.DIFFERS, text)
    assert [check.name for check in checks[1:] if check.status is CheckStatus.DIFFERS] == [f"environment: {path[0]}"]


def test_the_host_is_compared_and_never_hashed() -> None:
    other = changed("host", "kernel", to="Linux 5.0")
    assert environment_hash(other) == environment_hash(SUMMARY)
    assert compare(SUMMARY, other) == []
    assert "host" not in hashed_part(SUMMARY)
    assert environment_hash(hashed_part(SUMMARY)) == environment_hash(SUMMARY), "a record keeps the hashed part only"


def test_the_hash_is_this_one() -> None:
    """Another value here breaks every pin there is: the schema number has to change with it."""
    assert environment_hash(SUMMARY) == "sha256:665a21c029925fa922badae69f51037909539861b3d1a0803278ae1a52861979"


texts = st.text(max_size=8)
packages = st.dictionaries(texts, st.fixed_dictionaries({"version": texts, "sha256": texts}), max_size=4)
summaries = st.fixed_dictionaries(
    {
        "schema": st.just(1),
        "python": st.dictionaries(texts, st.one_of(texts, st.integers(-9, 9), st.lists(texts, max_size=2)), max_size=4),
        "variables": st.dictionaries(texts, texts, max_size=4),
        "libraries": st.dictionaries(texts, st.one_of(texts, st.integers(1, 64)), max_size=4),
        "base": packages,
        "distributions": packages,
        "other": texts,
    }
)


@given(summaries, summaries)
def test_hashes_are_equal_exactly_where_nothing_is_named(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (environment_hash(one) == environment_hash(other)) == (compare(one, other) == [])


@given(summaries)
def test_the_order_of_keys_does_not_matter(summary: dict[str, Any]) -> None:
    backwards = json.loads(json.dumps(summary, sort_keys=True), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert environment_hash(backwards) == environment_hash(summary)


def test_a_changed_file_is_named_in_its_package(root: Path, probe: Probe, tmp_path: Path) -> None:
    recorded = probe(root)
    init = root / "usr/local/lib/python3.11/site-packages/torch/__init__.py"
    init.write_text("x = 2\n")
    write(root, "/opt/new", "new")
    (root / "usr/bin/bash").unlink()
    seen = probe(root, "second")
    differences = compare(
        recorded, seen, expected_files=tmp_path / "out/files.jsonl", observed_files=tmp_path / "second/files.jsonl"
    )
    assert [each.text for each in differences] == [
        "/usr/bin/bash in bash 5.2.15-2 is missing",
        "torch/__init__.py in torch 2.13.0+cpu differs",
        "/opt/new was added",
    ]


def test_many_changed_files_are_counted(root: Path, probe: Probe, tmp_path: Path) -> None:
    recorded = probe(root)
    for number in range(25):
        write(root, f"/opt/many/{number:02}", "new")
    seen = probe(root, "second")
    differences = compare(
        recorded, seen, expected_files=tmp_path / "out/files.jsonl", observed_files=tmp_path / "second/files.jsonl"
    )
    assert [each.text for each in differences][-2:] == ["/opt/many/09 was added", "and 15 more files differ"]


def inventory(path: Path, listing: Path, owner: str = "torch 2.13.0") -> Path:
    """Write the assembler's inventory of what the probe saw: other keys, folders too, what engines write too."""
    lines = ['{"path":"/etc","type":"folder","mode":"0755","owner":"image"}\n']
    lines.append('{"path":"/etc/hosts","type":"file","mode":"0644","size":1,"sha256":"00","owner":"image"}\n')
    for line in listing.read_text(encoding="utf-8").splitlines():
        body = json.loads(line)
        body = {**body, "owner": owner} | ({"mode": "0" + body["mode"]} if "mode" in body else {"mode": "0777"})
        lines.append(json.dumps(body) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def test_without_a_record_the_image_s_inventory_is_what_files_are_compared_with(
    root: Path, probe: Probe, tmp_path: Path
) -> None:
    probe(root)
    listed = inventory(tmp_path / "inventory.jsonl", tmp_path / "out/files.jsonl")
    assert compare_files(listed, tmp_path / "out/files.jsonl") == []
    (root / "usr/bin/bash").chmod(0o644)
    (root / "usr/lib/x86_64-linux-gnu/libc.so").unlink()
    write(root, "/usr/lib/x86_64-linux-gnu/libc.so", "now a file")
    summary = probe(root, "second")
    checks = environment_checks(
        summary,
        at=1.0,
        pinned_hash="sha256:" + "0" * 64,
        inventory=listed,
        observed_files=tmp_path / "second/files.jsonl",
    )
    assert [(check.name, check.status) for check in checks] == [
        (HASH_CHECK, CheckStatus.DIFFERS),
        ("files of the image", CheckStatus.DIFFERS),
    ]
    assert checks[0].detail == (
        "/usr/bin/bash in torch 2.13.0 is not executable, pinned so; "
        "/usr/lib/x86_64-linux-gnu/libc.so in torch 2.13.0 is a file, pinned a link"
    )


def only(checks: list[CheckResult]) -> CheckResult:
    """Return the one check there is."""
    (check,) = checks
    return check


def test_what_cannot_be_verified_is_no_match() -> None:
    pinned = environment_hash(SUMMARY)
    assert only(environment_checks(SUMMARY, at=1.0, pinned_hash=pinned)).status is CheckStatus.MATCH
    hidden = {**SUMMARY, "unreadable": ["/etc/shadow"]}
    check = only(environment_checks(hidden, at=1.0, pinned_hash=pinned))
    assert (check.status, check.required) == (CheckStatus.UNVERIFIABLE, True)
    assert "/etc/shadow" in check.detail
    check = only(environment_checks(None, at=1.0, pinned_hash=pinned))
    assert (check.status, check.required) == (CheckStatus.UNVERIFIABLE, True)
    check = only(environment_checks(SUMMARY, at=1.0))
    assert (check.status, check.required) == (CheckStatus.NOT_RUN, False)
    assert check.observed == pinned
    assert environment_checks(SUMMARY, at=1.0, expected=SUMMARY)[0].status is CheckStatus.MATCH, "a record is a pin too"


def test_without_any_pin_the_environment_is_unverifiable() -> None:
    informs = only(environment_checks(SUMMARY, at=1.0))
    assert (informs.status, informs.required) == (CheckStatus.NOT_RUN, False)
    decides = only(environment_checks(SUMMARY, at=1.0, pinned_image=False))
    assert (decides.status, decides.required) == (CheckStatus.UNVERIFIABLE, True)
    assert "neither the image's digest nor environment.hash" in decides.detail


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"schema": 1}', b"\xff"])
def test_a_summary_that_is_none_is_an_error_with_a_place(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "environment.json").write_bytes(content)
    with pytest.raises(InfrastructureError) as caught:
        read_summary(tmp_path / "environment.json")
    assert caught.value.where.endswith("environment.json")
