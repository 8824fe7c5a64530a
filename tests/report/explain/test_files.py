from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from repro_tui.report.explain.files import (
    Clock,
    FileChange,
    Rows,
    TooLongError,
    changed_files,
    compare_rows,
    sha256,
    source_difference,
)


def rows(folder: Path, left: bytes, right: bytes, clock: Clock | None = None) -> Rows | None:
    (folder / "left").write_bytes(left)
    (folder / "right").write_bytes(right)
    return compare_rows(folder / "left", folder / "right", clock or Clock())


def test_a_changed_row_among_many(tmp_path: Path) -> None:
    lines = [f"{number}\ttext {number}" for number in range(5000)]
    other = [*lines]
    other[1233] = "1233\tother"
    found = rows(tmp_path, "\n".join(lines).encode(), "\n".join(other).encode())
    assert found == Rows(5000, 5000, 1, 0, 0, (1234, "1233 text 1233", "1233 other"))
    assert found.lines() == ("1 row changed; the first at row 1,234", "- 1233 text 1233", "+ 1233 other")


def test_an_inserted_row_is_one_row_however_many_follow(tmp_path: Path) -> None:
    lines = [str(number) for number in range(2000)]
    found = rows(
        tmp_path, "\n".join(lines).encode() + b"\n", "\n".join([*lines[:10], "new", *lines[10:]]).encode() + b"\n"
    )
    assert found is not None
    assert (found.left, found.right, found.changed, found.added, found.removed) == (2000, 2001, 0, 1, 0)
    assert found.first == (11, "10", "new")
    found = rows(tmp_path, "\n".join(lines).encode(), "\n".join(lines[:-2]).encode())
    assert found is not None
    assert found.lines() == ("2 rows removed; the first at row 1,999", "- 1998", "+ (no such row)")


def test_the_same_rows_in_another_order(tmp_path: Path) -> None:
    found = rows(tmp_path, b"a\nb\nc\n", b"c\na\nb\n")
    assert found is not None
    assert found.lines()[0] == "the same 3 rows in another order; the first at row 1"


def test_a_long_row_is_shown_where_it_parts_and_cannot_steer_a_terminal(tmp_path: Path) -> None:
    found = rows(tmp_path, b"x" * 500 + b"one\x1b[31m\n", b"x" * 500 + b"two\x1b]0;title\x07\n")
    assert found is not None
    assert found.first is not None
    assert found.first[1] == "…" + "x" * 28 + "one?[31m"
    assert "\x1b" not in "".join(found.lines())


def test_what_is_no_text_has_no_rows(tmp_path: Path) -> None:
    assert rows(tmp_path, b"a\0b", b"a\n") is None


def test_time_that_is_over_is_said_and_nothing_beyond_it(tmp_path: Path) -> None:
    found = rows(tmp_path, b"a\n" * 5000, b"b\n" * 5000, Clock(0))
    assert found is not None
    assert not found.whole
    assert found.lines()[0].startswith("at least 1 row changed in the first 1 (not read to the end)")
    with pytest.raises(TooLongError):
        sha256(tmp_path / "left", Clock(0))


def test_a_huge_file_of_one_line_is_read_in_pieces(tmp_path: Path) -> None:
    for name, size in (("left", 64 << 20), ("right", (64 << 20) + 1)):
        with (tmp_path / name).open("wb") as file:
            file.write(b"text")
            file.truncate(size)
            file.seek(8192)
            file.write(b"text")
    assert compare_rows(tmp_path / "left", tmp_path / "right", Clock()) is None, "zeros are no text"
    found = rows(tmp_path, b"x" * (8 << 20), b"x" * (8 << 20) + b"y")
    assert found is not None
    assert (found.left, found.right, found.added) == (8, 9, 1)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a plain file"):
        sha256(tmp_path / "pipe", Clock())


def test_files_of_a_folder_and_their_lines(tmp_path: Path) -> None:
    for name in ("left", "right"):
        folder = tmp_path / name
        folder.mkdir()
        for file in ("same.py", "changed.py", f"{name}.py", "mode.py"):
            (folder / file).write_text("one\ntwo\nthree\n")
    (tmp_path / "right/changed.py").write_text("one\n2\nthree\nfour\n")
    (tmp_path / "right/mode.py").chmod(0o755)
    trees = [{path.name: path for path in (tmp_path / name).iterdir()} for name in ("left", "right")]
    changes = changed_files(trees[0], trees[1], Clock())
    assert [(each.path, each.what) for each in changes] == [
        ("changed.py", "changed"), ("left.py", "removed"), ("mode.py", "changed"), ("right.py", "added"),
    ]  # fmt: skip
    counted, lines = source_difference(changes[0], Clock())
    assert counted == "2 lines added, 1 removed"
    assert {"-two", "+2", "+four"} <= set(lines)
    assert source_difference(changes[1], Clock())[0] == "removed: 0 lines added, 3 removed"
    assert source_difference(changes[2], Clock())[0] == "its executable bit changed"


def test_a_file_too_long_for_a_short_diff_is_compared_by_rows(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a\nb\n" * 10_000)
    (tmp_path / "b").write_text("a\nb\n" * 10_000 + "c\n")
    counted, lines = source_difference(FileChange("x", tmp_path / "a", tmp_path / "b"), Clock())
    assert (counted, lines[0]) == ("changed", "1 row added; the first at row 20,001")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_rows_of_compressed_files(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    found = rows(tmp_path, pack(b"a,1\nb,2\nc,3\n"), pack(b"a,1\nb,7\nc,3\n"))
    assert found is not None
    assert found.lines() == ("1 row changed; the first at row 2", "- b,2", "+ b,7")
    found = rows(tmp_path, pack(b"a\nb\n"), b"a\r\nb\r\n")
    assert found is not None
    assert found.lines() == ("the same 2 rows with other line ends, or compressed otherwise",)
    assert rows(tmp_path, pack(b"a\n" * 9)[:-9], pack(b"a\n")) is None, "cut off"
    assert rows(tmp_path, pack(b"a\0b"), b"a\n") is None


def test_a_compressed_bomb_is_read_in_bounds(tmp_path: Path) -> None:
    bomb = gzip.compress(b"0" * (64 << 20), 1)
    found = rows(tmp_path, bomb, bomb[:10] + gzip.compress(b"1" * (64 << 20), 1)[10:], Clock(0.0))
    assert found is not None
    assert not found.whole
    assert found.left == 1, "a piece of a mebibyte, and then the time was over"
