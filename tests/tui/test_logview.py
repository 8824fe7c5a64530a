from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from textual import on
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from repro_tui.runs.logreader import BadPatternError, Query
from repro_tui.tui.widgets.logview import LogView


class Window(App[None]):
    """Nothing but a log."""

    CSS = "LogView { height: 1fr; }"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.told = 0

    def compose(self) -> ComposeResult:
        yield LogView(id="log")

    def on_mount(self) -> None:
        self.log_view.open(self.path, missing="No log yet.", empty="Nothing written.")
        self.log_view.focus()

    @property
    def log_view(self) -> LogView:
        return self.query_one(LogView)

    @on(LogView.Changed)
    def _count(self) -> None:
        self.told += 1

    def screenful(self) -> list[str]:
        view = self.log_view
        return [view.render_line(y).text.rstrip() for y in range(view.size.height)]


async def until(pilot: Pilot[None], true: Callable[[], bool], *, limit_s: float = 20) -> None:
    """Wait for what a thread brings about."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, "it did not come"
        await asyncio.sleep(0.02)
        await pilot.pause()


def numbered(path: Path, count: int, *, start: int = 0) -> None:
    with path.open("ab") as out:
        out.write(b"".join(b"line %d\n" % number for number in range(start, start + count)))


async def test_the_end_is_shown_and_followed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    numbered(log, 5120)
    app = Window(log)
    async with app.run_test(size=(40, 10)) as pilot:
        await until(pilot, lambda: app.screenful()[-1] == " line 5119")
        assert app.screenful()[0] == " line 5110"
        assert app.log_view.status == "FOLLOW  5,120 lines"
        numbered(log, 3, start=5120)
        await until(pilot, lambda: app.screenful()[-1] == " line 5122")
        assert app.log_view.border_subtitle == "FOLLOW  5,123 lines"
        assert app.told >= 2


async def test_scrolling_up_freezes_and_the_bottom_follows(tmp_path: Path) -> None:
    log = tmp_path / "log"
    numbered(log, 100)
    app = Window(log)
    async with app.run_test(size=(60, 10)) as pilot:
        await until(pilot, lambda: app.screenful()[-1] == " line 99")
        await pilot.press("up")
        assert app.log_view.status == "FROZEN  99 of 100 lines"
        before = app.screenful()
        numbered(log, 312, start=100)
        await until(pilot, lambda: "+312 new" in app.log_view.status)
        assert app.log_view.status == "+312 new  99 of 412 lines"
        assert app.screenful() == before
        app.log_view.go_bottom()
        await until(pilot, lambda: app.screenful()[-1] == " line 411")
        assert app.log_view.status == "FOLLOW  412 lines"
        app.log_view.go_top()
        assert app.screenful()[0] == " line 0"
        assert not app.log_view.follow
        app.log_view.follow = True
        assert app.screenful()[-1] == " line 411"


async def test_the_wheel_scrolls_and_freezes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    numbered(log, 100)
    app = Window(log)
    async with app.run_test(size=(60, 10)) as pilot:
        await until(pilot, lambda: app.screenful()[-1] == " line 99")
        await pilot._post_mouse_events([_wheel_up()], LogView)
        await until(pilot, lambda: not app.log_view.follow)
        assert app.screenful()[-1] != " line 99"


def _wheel_up() -> type:
    from textual.events import MouseScrollUp

    return MouseScrollUp


@pytest.mark.parametrize(("made", "words"), [(False, " No log yet."), (True, " Nothing written.")])
async def test_what_is_not_there_is_said(tmp_path: Path, made: bool, words: str) -> None:
    log = tmp_path / "log"
    if made:
        log.touch()
    app = Window(log)
    async with app.run_test(size=(40, 5)) as pilot:
        await until(pilot, lambda: app.screenful()[0] == words)
        numbered(log, 2)
        await until(pilot, lambda: app.screenful()[:2] == [" line 0", " line 1"])


async def test_a_file_that_was_replaced_is_shown_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    numbered(log, 50)
    app = Window(log)
    async with app.run_test(size=(40, 5)) as pilot:
        await until(pilot, lambda: app.screenful()[-1] == " line 49")
        await pilot.click(LogView, offset=(3, 0))
        log.write_bytes(b"new\n")
        await until(pilot, lambda: app.screenful() == [" new", "", "", "", ""])


async def test_raw_bytes_are_shown_as_a_terminal_would(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes("\x1b[31mred\x1b[0m\n10%\r100%\n日本語\n\x07\t.\n".encode() + b"\xff\nlast")
    app = Window(log)
    async with app.run_test(size=(40, 6)) as pilot:
        await until(pilot, lambda: app.screenful()[-1] == " last")
        assert app.screenful() == [" red", " 100%", " 日本語", " \ufffd       .", " \ufffd", " last"]
        app.log_view.ascii = True
        app.log_view._redraw()
        assert all(line.isascii() for line in app.screenful())


async def test_long_lines_are_cut_scrolled_or_wrapped(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"short\n" + b"0123456789" * 5 + b"\nend\n")
    app = Window(log)
    async with app.run_test(size=(22, 8)) as pilot:  # one column is the scroll bar
        await until(pilot, lambda: app.screenful()[2] == " end")
        assert app.screenful()[1] == " 0123456789012345678>"
        await until(pilot, lambda: app.log_view.allow_horizontal_scroll)
        for _ in range(4):
            await pilot.press("right")
        await until(pilot, lambda: app.screenful()[1] == "34567890123456789012>")
        app.log_view.wrap = True
        await pilot.pause()
        assert app.screenful()[:5] == [
            " short",
            " 01234567890123456789",
            " 01234567890123456789",
            " 0123456789",
            " end",
        ]


async def test_wrapped_rows_scroll_from_the_first_to_the_last(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"%03d " % number + "界".encode() * (number % 40) + b"\n" for number in range(200)))
    app = Window(log)
    async with app.run_test(size=(30, 9)) as pilot:
        await until(pilot, lambda: app.screenful()[-1].startswith(" 199") or "界" in app.screenful()[-1])
        app.log_view.wrap = True
        await pilot.pause()
        text = "".join(line.strip() for line in app.screenful())
        assert text.endswith("199 " + "界" * 39)
        seen = set()
        app.log_view.go_top()
        assert app.screenful()[0].startswith(" 000")
        while True:
            screenful = app.screenful()
            assert all(screenful), screenful
            seen |= {line[1:4] for line in screenful if line[1:4].isdigit()}
            if app.log_view.scroll_y >= app.log_view.max_scroll_y:
                break
            app.log_view.scroll_to(y=app.log_view.scroll_y + 1, animate=False)
        assert len(seen) == 200
        assert app.log_view.follow


async def test_a_text_is_found_forth_and_back(tmp_path: Path) -> None:
    log = tmp_path / "log"
    numbered(log, 5000)
    app = Window(log)
    async with app.run_test(size=(60, 10)) as pilot:
        view = app.log_view
        await until(pilot, lambda: app.screenful()[-1] == " line 4999")
        view.go_top()
        view.find("LINE 42")
        await until(pilot, lambda: "no " in view.status)
        view.find("Line 42".lower())
        await until(pilot, lambda: "match 1 of 111" in view.status)
        assert ">line 42" in app.screenful()
        view.find_next()
        assert "match 2 of 111" in view.status
        assert ">line 420" in app.screenful()
        view.find_previous()
        view.find_previous()
        assert "match 111 of 111" in view.status
        assert ">line 4299" in app.screenful()
        view.find_next()
        assert "match 1 of 111" in view.status
        numbered(log, 1, start=42)
        await until(pilot, lambda: "match 1 of 112" in view.status)
        view.clear_find()
        assert "match" not in view.status


async def test_a_regular_expression_is_found_or_refused(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"loss 0.5\nloss nan\nLoss 0.25\n")
    app = Window(log)
    async with app.run_test(size=(60, 5)) as pilot:
        await until(pilot, lambda: app.screenful()[2] != "")
        app.log_view.find(r"^loss (nan|inf)$", regex=True)
        await until(pilot, lambda: "match 1 of 1" in app.log_view.status)
        assert app.screenful()[1] == ">loss nan"
        for bad in ("(", "(a+)+", "a{99999999999}", "((a|b)c)*x", "(?:a*b)+"):
            with pytest.raises(BadPatternError):
                app.log_view.find(bad, regex=True)
        assert "match 1 of 1" in app.log_view.status


async def test_a_filter_keeps_lines_as_they_come(tmp_path: Path) -> None:
    log = tmp_path / "log"
    numbered(log, 1000)
    app = Window(log)
    async with app.run_test(size=(70, 10)) as pilot:
        view = app.log_view
        await until(pilot, lambda: app.screenful()[-1] == " line 999")
        view.filter("7$", regex=True)
        await until(pilot, lambda: app.screenful()[-1] == " line 997")
        assert app.screenful()[-2:] == [" line 987", " line 997"]
        assert view.status == "FOLLOW  100 kept of 1,000 lines  filter /7$/"
        numbered(log, 10, start=1000)
        await until(pilot, lambda: app.screenful()[-1] == " line 1007")
        view.find("line 77")
        await until(pilot, lambda: "match 1 of 2" in view.status)  # 77 and 777, and no others of the 111
        assert ">line 77" in app.screenful()
        view.clear_filter()
        assert ">line 77" in app.screenful()
        assert " line 78" in app.screenful()
        view.filter("[/nowhere] [red]")
        await until(pilot, lambda: app.screenful()[0] == " No line is kept by the filter.")
        said = 'FROZEN  0 kept of 1,010 lines  filter "[/nowhere] [red]"  no "line 77"'
        await until(pilot, lambda: str(view._border_subtitle) == said)
        assert view.status == said


async def test_an_unfinished_last_line_is_searched_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"fine\nKil")
    app = Window(log)
    async with app.run_test(size=(60, 5)) as pilot:
        await until(pilot, lambda: app.screenful()[1] == " Kil")
        app.log_view.filter("kil")
        await until(pilot, lambda: app.screenful()[0] == " Kil")
        with log.open("ab") as out:
            out.write(b"led")
        await until(pilot, lambda: app.screenful()[0] == " Killed")
        with log.open("ab") as out:
            out.write(b"\nmore\n")
        await until(pilot, lambda: "1 kept of 3" in app.log_view.status)
        assert app.screenful()[0] == " Killed"


async def test_the_first_error_is_gone_to(tmp_path: Path) -> None:
    log = tmp_path / "log"
    numbered(log, 3000)
    log.open("ab").close()
    with log.open("ab") as out:
        out.write(b'Traceback (most recent call last):\n  File "x.py"\nValueError: no such column\n')
    numbered(log, 3000, start=3000)
    app = Window(log)
    async with app.run_test(size=(60, 10)) as pilot:
        app.log_view.find_errors()  # before the file was read
        await until(pilot, lambda: "match 1 of 2" in app.log_view.status)
        assert ">Traceback (most recent call last):" in app.screenful()
        app.log_view.find_next()
        assert ">ValueError: no such column" in app.screenful()


async def test_lines_are_selected_and_copied(tmp_path: Path) -> None:
    log = tmp_path / "log"
    numbered(log, 100)
    app = Window(log)
    async with app.run_test(size=(60, 5)) as pilot:
        view = app.log_view
        await until(pilot, lambda: app.screenful()[-1] == " line 99")
        assert view.copy() == 5
        assert app.clipboard == "line 95\nline 96\nline 97\nline 98\nline 99\n"
        await pilot.click(LogView, offset=(3, 1))
        assert not view.follow
        assert app.screenful()[1] == ">line 96"
        assert view.copy() == 1
        assert app.clipboard == "line 96\n"
        await pilot.click(LogView, offset=(3, 3), shift=True)
        assert "3 selected" in view.status
        assert view.copy() == 3
        await pilot.mouse_down(LogView, offset=(3, 0))
        await pilot.hover(LogView, offset=(3, 2))
        await pilot.mouse_up(LogView, offset=(3, 2))
        assert view.copy() == 3
        assert app.clipboard == "line 95\nline 96\nline 97\n"


async def test_another_log_is_opened_and_the_thread_of_the_first_ends(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    numbered(one, 10)
    two.write_bytes(b"other\n")
    app = Window(one)
    async with app.run_test(size=(40, 12)) as pilot:
        await until(pilot, lambda: app.screenful()[9] == " line 9")
        reader = app.log_view.reader
        assert reader is not None
        app.log_view.open(two)
        await until(pilot, lambda: app.screenful()[0] == " other")
        assert not reader._thread.is_alive()
        reader = app.log_view.reader
        app.log_view.close_log()
        assert app.screenful() == [""] * 12
        assert app.log_view.status == ""
    assert reader is not None
    assert not reader._thread.is_alive()


async def test_it_survives_being_resized(tmp_path: Path) -> None:
    log = tmp_path / "log"
    numbered(log, 100)
    app = Window(log)
    async with app.run_test(size=(40, 10)) as pilot:
        await until(pilot, lambda: app.screenful()[-1] == " line 99")
        for size in ((80, 24), (20, 3), (40, 60)):
            await pilot.resize_terminal(*size)
            await until(pilot, lambda: app.screenful()[-1] == " line 99")
            assert app.log_view.follow


def test_a_query_without_capitals_takes_either() -> None:
    assert Query("error").matching(["an ERROR", "fine", "error"]) == [0, 2]
    assert Query("ERROR").matching(["an ERROR", "fine", "error"]) == [0]
    assert Query("a.c").matching(["abc", "a.c"]) == [1]
    assert Query("a.c", regex=True).spans("abc a.c") == [(0, 3), (4, 7)]
    assert Query(r"([(+*]\+)+|(?:ab)+(c|d)?", regex=True).matching(["(+", "abab", "x"]) == [0, 1]
    assert Query("7$", regex=True).matching(["7" * 200, "7" * 200 + "x", "x" * 500 + "7"]) == [0, 2]


def test_a_slow_expression_sees_less_of_each_line_instead_of_stopping_everything() -> None:
    query = Query(".*.*.*x", regex=True)
    start = time.perf_counter()
    assert query.matching(["a" * 700] + ["a" * 5000] * 20 + ["ax"]) == [21]
    assert time.perf_counter() - start < 30
