"""Files that an image keeps from the user of every container: known, and no reason to doubt the hash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from repro_tui.events import CheckStatus
from repro_tui.verify.environment import COMPONENTS, compare_files, environment_checks, environment_hash
from repro_tui.verify.listing import unreadable_paths

OPEN = {"path": "/etc/open", "type": "file", "mode": "0644", "size": 1, "sha256": "a" * 64, "owner": "image"}
CLOSED = {"path": "/etc/shadow", "type": "unreadable", "mode": "0040", "owner": "image"}


def listing(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("found", "differences"),
    [("unknown", 0), ("b" * 64, 1)],
    ids=["closed", "opened by somebody"],
)
def test_what_the_image_keeps_closed_is_expected_to_be_so(found: str, differences: int, tmp_path: Path) -> None:
    inventory = listing(tmp_path / "inventory.jsonl", OPEN, CLOSED)
    shadow = {**OPEN, "path": "/etc/shadow", "sha256": found}
    files = listing(tmp_path / "files.jsonl", OPEN, shadow)
    assert len(compare_files(inventory, files)) == differences
    summary = {"schema": 1, **{name: {} for name in COMPONENTS}, "unreadable": ["/etc/shadow"]}
    pinned = environment_hash(summary)
    first, *_ = environment_checks(summary, at=0.0, pinned_hash=pinned, inventory=inventory, observed_files=files)
    assert first.status is CheckStatus.MATCH
    summary["unreadable"] = ["/etc/shadow", "/etc/other"]
    first, *_ = environment_checks(summary, at=0.0, pinned_hash=pinned, inventory=inventory, observed_files=files)
    assert (first.status, first.detail) == (CheckStatus.UNVERIFIABLE, "not readable in the container: /etc/other")


def test_what_can_be_used_unread_is_not_closed(tmp_path: Path) -> None:
    """A program may be run where it cannot be read, and a file be opened in a folder that cannot be listed."""
    unread = {
        "/bin/run-only": ("0111", False),
        "/opt/entered": ("0111", False),
        "/opt/entered/library": ("0644", False),
        "/opt/entered/secret": ("0040", True),
        "/root": ("0070", True),
        "/root/open": ("0755", True),
    }
    lines = [{**CLOSED, "path": path, "mode": mode} for path, (mode, _) in unread.items()]
    inventory = listing(tmp_path / "inventory.jsonl", OPEN, *lines)
    assert unreadable_paths(inventory) == {path: closed for path, (_, closed) in unread.items()}
    hidden = {**OPEN, "path": "/bin/run-only", "mode": "0755", "sha256": "unknown"}
    files = listing(tmp_path / "files.jsonl", OPEN, hidden)
    assert compare_files(inventory, files) == []
    seen = ["/bin/run-only", "/opt/entered", "/root"]
    summary = {"schema": 1, **{name: {} for name in COMPONENTS}, "unreadable": seen}
    pinned = environment_hash(summary)
    first, *_ = environment_checks(summary, at=0.0, pinned_hash=pinned, inventory=inventory, observed_files=files)
    assert first.status is CheckStatus.UNVERIFIABLE
    assert first.detail == "not readable in the container: /bin/run-only, /opt/entered"
