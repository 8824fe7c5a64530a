from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro_tui.runs.tail import Tail


@given(st.lists(st.binary(max_size=12), max_size=20), st.integers(1, 7))
def test_however_a_file_grows_each_line_comes_once(pieces: list[bytes], chunk: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        tail, seen = Tail(path), []
        for piece in pieces:
            with path.open("ab") as file:
                file.write(piece)
            seen += tail.read(chunk)
        while not tail.caught_up():
            seen += tail.read(chunk)
        *lines, rest = b"".join(pieces).split(b"\n")
        assert seen == lines
        assert tail.offset == sum(len(line) + 1 for line in lines)
        assert tail.rest() == rest
        assert Tail(path, offset=tail.offset).drain() == []


def test_a_later_tail_goes_on_where_another_stopped(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\nthr")
    first = Tail(path)
    assert first.drain() == [b"one", b"two"]
    with path.open("ab") as file:
        file.write(b"ee\n")
    assert Tail(path, offset=first.offset).drain() == [b"three"]


def test_a_file_that_was_cut_or_replaced_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\nhalf")
    tail = Tail(path)
    assert tail.drain() == [b"one", b"two"]
    path.write_bytes(b"new\n")
    assert tail.drain() == [b"new"]
    (tmp_path / "other").write_bytes(b"longer than before\n")
    (tmp_path / "other").replace(path)
    assert tail.drain() == [b"longer than before"]
    assert tail.restarts == 2


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"first\n" + b"x" * 10_000 + b"\nlast\n" + b"y" * 10_000)
    tail = Tail(path, max_line_bytes=100)
    seen = []
    while not tail.caught_up():
        seen += tail.read(64)
        assert len(tail._partial) <= 164
    assert seen == [b"first", b"last"]
    assert tail.oversized == 2
    with path.open("ab") as file:
        file.write(b"y\nend\n")
    assert tail.drain() == [b"end"]
    assert tail.oversized == 2


def test_what_is_no_file_has_no_lines_and_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret\n")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "missing", "."):
        tail = Tail(tmp_path / name)
        assert tail.read() == tail.drain() == []
        assert tail.caught_up()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\n")
    path.chmod(0)
    assert Tail(path).drain() == []


def test_a_file_that_appears_after_it_was_asked_for_is_not_caught_up(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "late.jsonl")
    assert tail.read() == []
    assert tail.caught_up()
    (tmp_path / "late.jsonl").write_bytes(b"one\n")
    assert not tail.caught_up()
    assert tail.drain() == [b"one"]
