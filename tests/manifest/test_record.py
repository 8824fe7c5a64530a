"""Records: written whole, read back as written, refused with words."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from repro_tui.errors import ManifestError
from repro_tui.manifest import record as module
from repro_tui.manifest.record import Record, RecordedImage, read_record, write_record

DIGEST = f"sha256:{'a' * 64}"


def a_record(**changes: object) -> Record:
    body = {
        "experiment": "tiny",
        "job": {"determinism": {"seed": 42}, "hyperparameters": {"learning_rate": 5e-05}},
        "environment": {"schema": 1, "variables": {"B": "é", "A": "1"}},
        "image": RecordedImage(manifest_digest=DIGEST, config_digest=DIGEST, diff_ids=[DIGEST]),
        "metrics": [{"name": "accuracy", "split": "test", "value": 0.948}],
        "digests": {"weights": "b" * 64},
        **changes,
    }
    return Record.model_validate(body)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, a_record())
    assert read_record(path) == a_record()
    first = path.read_bytes()
    write_record(path, read_record(path))
    assert path.read_bytes() == first, "the same record is the same bytes"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_record_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, a_record())
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_record(path, a_record(metrics=[{"name": "loss", "value": math.nan}]))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_keys_of_a_later_version_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, a_record())
    path.write_text(path.read_text().replace('"digests"', '"later": 1, "digests"'))
    assert read_record(path) == a_record()


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "not JSON"), (b"\xff", "not JSON"), (b"[1]", "not one of a run"), (b'{"schema": 1}', "experiment")],
)
def test_what_is_no_record(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=words) as caught:
        read_record(path)
    assert caught.value.where == str(path)


def test_a_missing_or_huge_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ManifestError, match="cannot be read: No such file"):
        read_record(tmp_path / "record.json")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_record(tmp_path)
    path = tmp_path / "record.json"
    path.write_bytes(b" " * 100)
    monkeypatch.setattr(module, "MAX_BYTES", 99)
    with pytest.raises(ManifestError, match="larger than"):
        read_record(path)
