from __future__ import annotations

import builtins
import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro_tui.errors import InfrastructureError
from repro_tui.report import charts, gather, html
from repro_tui.report.model import Metric, MetricOverSeeds, Report, SeedReported, SeriesReported, TableReported
from tests.report import recorded

HOSTILE = "</title></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u202e\x00\ud800 javascript:x"
VOID = {"meta"}

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pygal") is None, reason="the charts need pygal: pip install 'repro-tui[html]'"
)


class Page(HTMLParser):
    """Holds that every element is closed in its order, and collects what a test asks for."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(name: str) -> str:
    report = recorded.report(name)
    return html.render(report, gather.beside(recorded.run(name), report))


def assert_loads_and_runs_nothing(page: str) -> None:
    parsed = Page(page)
    allowed = {"lang", "charset", "content", "name", "http-equiv", "class", "id", "href", "role", "scope", "tabindex"}
    drawn = {"viewbox", "transform", "d", "x", "y", "cx", "cy", "r", "width", "height"}
    names = {name for _, name, _ in parsed.attributes}
    assert names <= allowed | drawn | {"aria-label", "aria-labelledby"}
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "use"} & set(parsed.tags)
    assert all(value.startswith("#") for _, name, value in parsed.attributes if name == "href")
    [policy] = [value for tag, _, value in parsed.attributes if tag == "meta" and "default-src" in value]
    assert policy.startswith("default-src 'none';")
    assert "script-src" not in policy
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    assert not re.search(r"url\(|@import|expression", style.group(1))


@pytest.mark.parametrize("name", recorded.ENDED)
def test_page_of_every_verdict_loads_and_runs_nothing(name: str) -> None:
    page = page_of(name)
    assert_loads_and_runs_nothing(page)
    report = recorded.report(name)
    parsed = Page(page)
    assert report.verdict.value in parsed.text
    assert report.summary in parsed.text
    for check in report.checks:
        assert check.name in parsed.text
    assert report.manifest.sha256 in parsed.text
    assert f"repro-tui --run {report.manifest.path}" in parsed.text
    assert page == page_of(name)
    assert len(page) < 200_000


def test_page_shows_difference_curves_confusion_and_packages() -> None:
    page = page_of("differs")
    parsed = Page(page)
    assert "≠ differs" in parsed.text
    assert "+0.05" in parsed.text
    assert "Green: the expected value; dashed: the ends of its tolerance." in parsed.text
    assert parsed.tags.count("svg") == parsed.tags.count("figure") == 3
    assert 'class="heat4 right">43' in page
    assert "typing-extensions" in parsed.text
    assert "rate 0.02" in parsed.text


def test_failed_page_has_the_end_of_the_log_in_bounds(tmp_path: Path) -> None:
    assert "ValueError: math domain error" in Page(page_of("failed")).text
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "train.log").write_bytes(b"\x1b[31mred\x1b[0m <b>\n" * 200_000)
    run = replace(recorded.run("failed"), path=tmp_path)
    beside = gather.beside(run, recorded.report("failed"))
    assert beside.log == ["red <b>"] * gather.MAX_LOG_LINES
    assert "<b>" not in html.render(recorded.report("failed"), beside)


def test_log_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "train.log").symlink_to(tmp_path / "secret")
    assert gather.beside(replace(recorded.run("failed"), path=tmp_path), recorded.report("failed")).log == []


def test_pipe_link_or_flood_in_a_run_is_no_manifest_and_no_packages(tmp_path: Path) -> None:
    run = replace(recorded.run("failed"), path=tmp_path)
    os.mkfifo(tmp_path / "manifest.toml")
    (tmp_path / "environment.json").symlink_to("/dev/zero")
    beside = gather.beside(run, recorded.report("failed"))
    assert beside.manifest is None
    assert beside.packages == {}
    (tmp_path / "environment.json").unlink()
    (tmp_path / "environment.json").write_text("[" * 100_000)
    assert gather.beside(run, recorded.report("failed")).packages == {}


def poisoned(value: Any, key: str = "") -> Any:
    """Return a JSON value in which every text that may be any is hostile."""
    if isinstance(value, dict):
        fixed = {"schema", "verdict", "status", "origin"}
        return {name: item if name in fixed else poisoned(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item, key) for item in value]
    return HOSTILE if isinstance(value, str) else value


@pytest.mark.parametrize("name", recorded.ENDED)
def test_everything_from_a_run_is_escaped(name: str) -> None:
    body = poisoned(json.loads(recorded.run(name).report.read_text(encoding="utf-8")))
    body["experiment"]["paper"] = {"title": HOSTILE, "url": HOSTILE}
    report = Report.model_validate(body)
    beside = gather.Beside(
        manifest=recorded.manifest(recorded.run(name).manifest),
        series={HOSTILE: [(1, 0.5), (2, 0.25)]},
        packages={HOSTILE: HOSTILE},
        log=[HOSTILE],
    )
    page = html.render(report, beside)
    assert_loads_and_runs_nothing(page)
    assert "<script" not in page
    assert "\u202e" not in page
    assert page.encode()


def test_page_is_bounded_whatever_a_task_wrote() -> None:
    report = recorded.report("reproduced").model_copy(
        update={
            "tables": [
                TableReported(name="confusion_matrix", columns=["t", *map(str, range(3000))], rows=[[1] * 3001] * 3000),
                TableReported(name="text", columns=["a", "b"], rows=[["x" * 100_000, None], [], [True, 1.5]]),
            ],
            "metrics": [Metric(name=f"m{n}", split="test", value="nan") for n in range(4000)],
        }
    )
    series = {f"s{n}": [(step, float(step % 7)) for step in range(1000)] for n in range(100)}
    page = html.render(report, gather.Beside(series=series))
    assert len(page) < 2_000_000
    parsed = Page(page)
    assert "more rows are in report.json" in parsed.text
    assert "Only 60 columns are shown." in parsed.text
    assert 'class="matrix many"' in page, "set so that a sheet holds them"
    assert "76 more series are not drawn." in parsed.text


def test_seeds_of_a_series_are_shown() -> None:
    report = recorded.report("reproduced")
    series = SeriesReported(
        test="prediction-interval",
        confidence=0.95,
        at_once=2,
        seeds=[SeedReported(seed=7, run="seed-7", verdict=report.verdict), SeedReported(seed=8, run="8", verdict=None)],
        metrics=[
            MetricOverSeeds(
                name="accuracy", split="test", values=[0.91, None], mean=0.91, spread=None, recorded=[0.9, 0.92],
                status=report.checks[0].status, decision="the mean is inside",
            )
        ],
    )  # fmt: skip
    beside = gather.Beside(series={"test/accuracy": [(1, 0.91), (2, 0.92)]})
    parsed = Page(html.render(report.model_copy(update={"series": series}), beside))
    assert "Curves" not in parsed.text, "its steps are no steps of a training"
    assert "Over the seeds" in parsed.text
    assert "the mean in a prediction interval" in parsed.text
    assert "The mean is inside." in parsed.text
    assert "0.9, 0.92" in parsed.text


def test_values_that_are_not_finite_are_left_out_and_said() -> None:
    beside = gather.Beside(series={"loss": [(1, 1.0), (2, float("nan")), (3, 0.5)], "gone": [(1, float("inf"))]})
    parsed = Page(html.render(recorded.report("reproduced"), beside))
    assert "Values that are no finite number are left out." in parsed.text
    assert parsed.tags.count("svg") == 1


def test_missing_pygal_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "pygal":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InfrastructureError) as caught:
        page_of("reproduced")
    assert "pip install 'repro-tui[html]'" in caught.value.hint


def test_pygal_leaves_nothing_in_the_way_of_later_imports() -> None:
    assert page_of("reproduced")
    assert not [finder for finder in sys.meta_path if not hasattr(finder, "find_spec")]


@given(st.lists(st.tuples(st.integers(-(2**70), 2**70), st.floats()), max_size=30))
def test_any_points_make_a_chart_or_none(points: list[tuple[int, float]]) -> None:
    finite = [point for point in points if abs(point[1]) < float("inf")]
    drawn = charts.line_chart(finite, title="x")
    assert drawn == "" or drawn.startswith('<svg class="chart"')
    assert "nan" not in drawn


def test_long_series_keeps_its_spike_and_its_ends() -> None:
    points = [(step, 0.0) for step in range(100_000)]
    points[51_234] = (51_234, 9.0)
    kept = charts.thinned(points)
    assert len(kept) <= charts.MAX_POINTS + 2
    assert (51_234, 9.0) in kept
    assert (kept[0], kept[-1]) == (points[0], points[-1])
