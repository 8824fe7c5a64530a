from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro_tui.runs import lineindex
from repro_tui.runs.lineindex import LINE_BYTES, LineIndex
from repro_tui.runs.logtext import ERRORS, displayed


def indexed(path: Path) -> LineIndex:
    index = LineIndex(path)
    while index.extend():
        pass
    return index


def test_every_line_is_found_from_anywhere(tmp_path: Path) -> None:
    lines = [f"line {number} {'x' * (number % 97)}".encode() for number in range(50_000)]
    (tmp_path / "log").write_bytes(b"\n".join(lines) + b"\n")
    index = indexed(tmp_path / "log")
    assert len(index) == index.complete == len(lines)
    for first in (0, 1, 499, 25_000, 49_990, 49_999):
        assert index.lines(first, 20) == lines[first : first + 20]
    assert index.lines(50_000, 5) == []
    assert index.lines(-1, 5) == []


@given(
    st.lists(st.binary(max_size=90).map(lambda raw: raw.replace(b"\n", b" ")), max_size=60),
    st.lists(st.integers(1, 70), min_size=1, max_size=40),
    st.booleans(),
)
def test_what_is_written_in_any_portions_is_what_is_read(lines: list[bytes], portions: list[int], ended: bool) -> None:
    import tempfile

    data = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    want = data.split(b"\n")
    if want[-1] == b"":
        want.pop()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lineindex, "_SPACING_BYTES", 16)
        patch.setattr(lineindex, "_CHUNK_BYTES", 48)
        path = Path(folder) / "log"
        path.touch()
        index, at, turn = LineIndex(path), 0, 0
        while at < len(data):
            with path.open("ab") as out:
                out.write(data[at : at + portions[turn % len(portions)]])
            at += portions[turn % len(portions)]
            turn += 1
            index.extend()
        assert index.generation == 0
        assert index.lines(0, 1000) == want
        assert [index.lines(number, 1) for number in range(len(want))] == [[line] for line in want]
        assert len(index) == len(want)


def test_a_last_line_without_newline_counts_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntw")
    index = indexed(path)
    assert (len(index), index.complete) == (2, 1)
    assert index.lines(1, 1) == [b"tw"]
    with path.open("ab") as out:
        out.write(b"o\n")
    assert index.extend()
    assert (len(index), index.complete) == (2, 2)
    assert index.lines(1, 5) == [b"two"]
    assert not index.extend()


def test_a_file_that_comes_later_is_there_then(tmp_path: Path) -> None:
    index = LineIndex(tmp_path / "log")
    assert not index.extend()
    assert (index.exists, index.lines(0, 1)) == (False, [])
    (tmp_path / "log").write_bytes(b"")
    assert index.extend()
    assert (index.exists, len(index)) == (True, 0)
    (tmp_path / "log").unlink()
    assert index.extend()
    assert (index.exists, len(index)) == (False, 0)


@pytest.mark.parametrize("how", ["shorter", "replaced", "written anew in place"])
def test_another_file_is_indexed_from_its_beginning(tmp_path: Path, how: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old line\n" * 100)
    index = indexed(path)
    if how == "shorter":
        path.write_bytes(b"new\n")
    elif how == "replaced":
        (tmp_path / "other").write_bytes(b"new\n" * 1000)
        (tmp_path / "other").rename(path)
    else:
        path.write_bytes(b"new\n" * 1000)
    assert index.extend()
    assert index.generation == 1
    assert index.lines(0, 1) == [b"new"]
    assert len(index) == (1 if how == "shorter" else 1000)


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret\n")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        assert len(indexed(tmp_path / name)) == 0


def test_a_long_line_is_cut_and_what_is_behind_it_is_near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n" + b"x" * 5_000_000 + b"\nafter\nlast\n")
    index = indexed(path)
    assert index.lines(0, 9) == [
        b"before",
        b"x" * LINE_BYTES + b" [%d more bytes]" % (5_000_000 - LINE_BYTES),
        b"after",
        b"last",
    ]
    read: list[int] = []
    pread = os.pread

    def counted(descriptor: int, count: int, at: int) -> bytes:
        read.append(count)
        return pread(descriptor, count, at)

    monkeypatch.setattr(os, "pread", counted)
    assert index.lines(3, 1) == [b"last"]
    assert sum(read) < 100_000


@pytest.mark.parametrize("ended", [b"\n", b""])
def test_of_a_long_progress_bar_the_end_is_kept(tmp_path: Path, ended: bytes) -> None:
    bar = b"".join(b"\rtrain %6d/100000 [#####]" % step for step in range(100_000))
    (tmp_path / "log").write_bytes(b"begin\n" + bar + ended)
    index = indexed(tmp_path / "log")
    assert len(index) == 2
    (line,) = index.lines(1, 1)
    assert displayed([line]) == ["train  99999/100000 [#####]"]


def test_memory_is_bounded_and_a_million_lines_are_quick(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(
        b"".join(b"step %d loss 0.2143 lr 3e-05 some more text to be usual\n" % n for n in range(1_000_000))
    )
    start = time.perf_counter()
    index = indexed(path)
    taken = time.perf_counter() - start
    assert len(index) == 1_000_000
    assert index.lines(765_432, 1)[0].startswith(b"step 765432 ")
    assert len(index._numbers) < 3000
    assert taken < 5  # a fraction of a second on a quiet machine: bench/logview.py measures it


def test_it_is_read_while_it_is_extended(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    index = LineIndex(path)
    stop = threading.Event()

    def write() -> None:
        with path.open("ab") as out:
            for start in range(0, 40_000, 100):
                out.write(b"".join(b"line %d\n" % number for number in range(start, start + 100)))
                out.flush()
        stop.set()

    def extend() -> None:
        while not stop.is_set() or index.extend():
            index.extend()

    threads = [threading.Thread(target=write), threading.Thread(target=extend)]
    for thread in threads:
        thread.start()
    while threads[1].is_alive():
        known = index.complete
        if known:
            assert index.lines(known - 1, 1) == [b"line %d" % (known - 1)]
    for thread in threads:
        thread.join()
    assert index.complete == 40_000


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain", "plain"),
        (b"\x1b[31mred\x1b[0m \x1b]0;title\x07text", "red text"),
        (b"10%\r50%\r100%", "100%"),
        (b"10%\r\x1b[K50%\r", "50%"),
        (b"100%|####|\r          \r", "100%|####|"),
        (b"windows\r", "windows"),
        (b"a\tb", "a       b"),
        (b"\xff\x00end", "\ufffd\ufffdend"),
        ("日本語 \u202etxt".encode(), "日本語 \ufffdtxt"),
        (b"\x1b", ""),
        (b"", ""),
    ],
)
def test_a_line_is_shown_as_a_terminal_would_leave_it(raw: bytes, shown: str) -> None:
    assert displayed([raw]) == [shown]
    assert displayed([b"before", raw, b"after"]) == ["before", shown, "after"]


@pytest.mark.parametrize(
    ("text", "tells"),
    [
        ("Traceback (most recent call last):", True),
        ("ValueError: no", True),
        ("error: command failed", True),
        ("CUDA out of memory", True),
        ("mean absolute error 0.3", False),
        ("eval_error 0.12", False),
    ],
)
def test_lines_that_tell_of_a_failure(text: str, tells: bool) -> None:
    assert bool(ERRORS.search(text)) is tells
