from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult

from repro_tui.tui.widgets import chart as chart_module
from repro_tui.tui.widgets.chart import Chart, Curve
from repro_tui.tui.widgets.plot import caption, draw, picture
from tests.tui.pilots import until


@dataclass(frozen=True)
class Band:
    value: float
    low: float
    high: float


FALLING = Curve("loss", [(step, 1 - step / 100) for step in range(101)])
RISING = Curve("accuracy", [(step, step / 100) for step in range(101)])


def drawn(*lines: str) -> list[str]:
    width = max(map(len, lines))
    return [line.ljust(width) for line in lines]


def test_a_falling_line_in_braille() -> None:
    assert draw([FALLING], 34, 8) == [
        "loss 0 at step 100                ",
        "1┤⠉⠒⠦⢄⣀                           ",
        " │     ⠉⠑⠢⠤⣄⡀                     ",
        " │          ⠈⠙⠒⠦⢄⣀                ",
        " │                ⠉⠑⠲⠤⣄⡀          ",
        " │                     ⠈⠙⠒⠢⢄⣀     ",
        "0┤                           ⠉⠑⠲⠤⣀",
        "  0            step            100",
    ]


def test_two_lines_and_a_band_in_ascii() -> None:
    assert draw([FALLING, RISING], 40, 9, band=Band(0.5, 0.4, 0.6), ascii=True) == [
        "loss (#) 0, accuracy (*) 1; expected 0.5",
        "  1+####                            ****",
        "   |   ######                  ******   ",
        "   |:::::::::######::::::******:::::::::",
        "0.5>---------------******---------------",
        "   |:::::::::******::::::######:::::::::",
        "   |   ******                  ######   ",
        "  0+****                            ####",
        "    0              step              100",
    ]


def test_the_smallest_chart() -> None:
    assert draw([FALLING], 20, 5, band=Band(0.0, 0.0, 0.0)) == [
        "loss 0 at step 100; ",
        "1┤⠉⠒⠲⠤⣄⣀            ",
        " │     ⠈⠉⠓⠒⠤⢤⣀⡀     ",
        "0>────────────⠉⠙⠒⠦⠤⣀",
        "  0     step     100",
    ]


def test_a_logarithmic_axis_leaves_out_what_is_not_above_zero() -> None:
    curve = Curve("loss", [(0, 1000.0), (1, 100.0), (2, 10.0), (3, 1.0), (4, 0.0), (5, -1.0)])
    assert draw([curve], 40, 9, ascii=True, log=True) == [
        "loss -1 at step 5; log-y; 2 not above ze",
        "1e+03+##                                ",
        "     |  ####                            ",
        "     |      ###                         ",
        " 31.6+         ###                      ",
        "     |            ###                   ",
        "     |               ####               ",
        "    1+                   ##             ",
        "      0              step              5",
    ]


def test_gaps_where_there_is_no_number() -> None:
    curve = Curve("loss", [(0, 1.0), (10, 1.0), (20, math.nan), (30, math.inf), (40, 1.0), (50, 2.0)])
    assert draw([curve], 40, 6, ascii=True) == [
        "loss 2 at step 50; 2 not finite         ",
        "2+                                    ##",
        " |                                  ##  ",
        " |                                ##    ",
        "1+########                      ##      ",
        "  0                step               50",
    ]


def test_a_spike_survives_however_many_steps_there_are() -> None:
    points = [(float(step), 0.5) for step in range(100_000)]
    points[54_321] = (54_321.0, 9.0)
    rows = draw([Curve("loss", points)], 60, 12, ascii=True)
    assert {row.index("#", 6) for row in rows[1:-2]} == {5 + round(0.54321 * 54)}, rows
    rows = draw([Curve("flat", [(0.0, 0.0), (99_999.0, 9.0)]), Curve("loss", points)], 60, 12)
    assert all(any(ord(c) > 0x2800 for c in row[32:34]) for row in rows[1:-1]), rows


def test_one_point_and_none() -> None:
    assert draw([Curve("loss", [(3, 0.25)])], 30, 5, ascii=True) == [
        "loss 0.25 at step 3           ",
        "0.263+                        ",
        "     |            #           ",
        "0.237+                        ",
        "               step 3         ",
    ]
    assert draw([Curve("loss", [])], 30, 3) == ["loss -".ljust(30), "".ljust(30), " no values to draw yet".ljust(30)]
    assert draw([Curve("loss", [(1, math.nan)])], 30, 4)[0].startswith("loss nan at step 1; 1 not")
    assert draw([], 10, 2)[0] == " " * 10


@pytest.mark.parametrize(
    ("band", "words"),
    [
        (Band(0.87, 0.86, 0.88), "expected 0.87 ± 0.01"),
        (Band(0.87, 0.87, math.inf), "expected 0.87 or more"),
        (Band(0.87, -math.inf, 0.9), "expected 0.87, at most 0.9"),
        (Band(0.87, 0.87, 0.87), "expected 0.87"),
    ],
)
def test_the_caption_tells_what_is_expected(band: Band, words: str) -> None:
    assert caption([Curve("accuracy", [(10, 0.871234)])], band=band) == f"accuracy 0.8712 at step 10; {words}"


def test_the_caption_tells_the_curves_apart_without_colour() -> None:
    assert caption([FALLING, RISING]) == "loss (solid) 0, accuracy (dashed) 1"
    assert caption([FALLING, RISING], ascii=True) == "loss (#) 0, accuracy (*) 1"
    assert "1 more not drawn" in caption([FALLING] * 5)


def test_every_part_is_told() -> None:
    parts = {part for row in picture([FALLING, RISING], 60, 20, band=Band(0.5, 0.4, 0.6)) for _, part in row}
    assert parts == {"title", "axis", "", "band", "expected", "curve0", "curve1"}


numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 10**12), numbers), max_size=20), max_size=5),
    st.integers(0, 70),
    st.integers(0, 20),
    st.none() | st.tuples(numbers, numbers, numbers),
    st.booleans(),
    st.booleans(),
)
def test_whatever_comes_the_picture_has_its_size(
    series: list[list[tuple[int, float]]],
    width: int,
    height: int,
    expected: tuple[float, float, float] | None,
    log: bool,
    ascii: bool,  # noqa: A002
) -> None:
    curves = [Curve(f"c{place}\n界", sorted(points, key=lambda point: point[0])) for place, points in enumerate(series)]
    band = Band(*expected) if expected is not None else None
    rows = draw(curves, width, height, band=band, log=log, ascii=ascii)
    assert len(rows) == (height if width else 0)
    assert {cell_len(row) for row in rows} <= {width}
    assert not ascii or all(row.isascii() for row in rows)


class Window(App[None]):
    def compose(self) -> ComposeResult:
        yield Chart(id="chart")


async def test_it_is_drawn_at_most_twice_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[int] = []

    def counted(curves: list[Curve], width: int, height: int, **options: Any) -> list[list[tuple[str, str]]]:
        times.append(1)
        return picture(curves, width, height, **options)

    monkeypatch.setattr(chart_module, "picture", counted)
    app = Window()
    async with app.run_test(size=(40, 10)) as pilot:
        chart = app.query_one(Chart)
        chart.show([FALLING])
        await pilot.pause()
        assert "loss 0 at step 100" in chart.render_line(0).text
        before = len(times)
        for step in range(101, 131):
            chart.show([Curve("loss", [*FALLING.points, (step, 5.0)])])
            await pilot.pause(0.02)
        assert len(times) - before <= 3
        await pilot.pause(0.6)
        assert chart.render_line(0).text.startswith("loss 5 at step 130")  # and the newest is drawn in the end
        chart.show([RISING])
        assert chart.render_line(0).text.startswith("accuracy 1 at step 100")  # another series at once


async def test_axis_and_characters_can_be_changed() -> None:
    app = Window()
    async with app.run_test(size=(60, 10)) as pilot:
        chart = app.query_one(Chart)
        chart.show([FALLING], band=Band(0.5, 0.4, 0.6))
        chart.log_y = True
        await pilot.pause()
        assert "log-y; 1 not above zero" in chart.caption
        assert max(chart.render_line(1).text) > "\u2800"
        chart.ascii = True
        await pilot.pause()
        assert all(chart.render_line(y).text.isascii() for y in range(10))
        await pilot.resize_terminal(30, 6)
        await until(pilot, lambda: len(chart.render_line(5).text) == 30)
