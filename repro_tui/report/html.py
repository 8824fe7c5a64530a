"""report.html: the report as one page for a reviewer, on the screen and on paper.

It loads nothing and runs nothing: the style sheet and the charts are in it, and its own policy forbids the rest.
Whatever comes from a run is escaped. The same run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from repro_tui.events import Verdict
from repro_tui.report import html_results as results
from repro_tui.report import html_setting as setting
from repro_tui.report.gather import Beside
from repro_tui.report.linked import paper_address
from repro_tui.report.markdown import MEANING
from repro_tui.report.markup import Markup, element, section
from repro_tui.report.model import Report

_STYLE = Path(__file__).with_name("report.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_SIGNS = {
    Verdict.REPRODUCED: ("good", "✓"),
    Verdict.METRICS_DIFFER: ("bad", "≠"),
    Verdict.ENVIRONMENT_DRIFT: ("bad", "≠"),
    Verdict.INCONCLUSIVE: ("odd", "?"),
    Verdict.FAILED: ("bad", "✗"),
    Verdict.CANCELLED: ("odd", "■"),
}


def render(report: Report, beside: Beside | None = None) -> str:
    """Return the page; raises InfrastructureError where there are curves to draw and pygal is missing."""
    beside = beside or Beside()
    title = f"{report.verdict.value}: {report.experiment.title or report.experiment.name}"
    sections = [each for each in _sections(report, beside) if each]
    page = element(
        "html",
        Markup('<head>\n<meta charset="utf-8">\n'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">\n'),
        Markup('<meta name="referrer" content="no-referrer">\n'),
        element("title", title),
        Markup(f"\n<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n"),
        element("header", _head(report), _contents(sections)),
        Markup("\n<main>\n" + "\n".join(sections) + "\n</main>\n"),
        element("footer", f"Made by repro-tui {report.run.version} from the files of run {report.run.id}."),
        Markup("\n</body>\n"),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


def _sections(report: Report, beside: Beside) -> Iterator[Markup]:
    yield results.failure(report, beside)
    yield section("Results", *results.checks(report, results=True), id_="results")
    yield results.seeds(report)
    yield section("Stages", *results.stages_table(report), id_="stages")
    yield results.claims(report)
    if report.series is None:  # its steps would be its seeds, which have a table
        yield section("Curves", *results.curves(beside), id_="curves")
    yield section("Metrics", *results.metrics(report), id_="metrics")
    yield section("Pins", *results.checks(report, results=False), *setting.pins(report), id_="pins")
    yield section("Inputs", *setting.inputs(beside.manifest), id_="inputs")
    yield section("Environment", *setting.environment(report, beside), id_="environment")
    yield section("How to run it again", *setting.rerun(report), id_="rerun")


def _head(report: Report) -> Markup:
    kind, sign = _SIGNS[report.verdict]
    experiment = report.experiment
    paper = experiment.paper or {}
    known = ", ".join(part for part in (paper.get("title", ""), paper_address(paper) or "") if part)
    return Markup(
        element("h1", experiment.title or experiment.name)
        + (element("p", f"Paper: {known}", class_="soft") if known else "")
        + element(
            "div",
            element("strong", f"{sign} {report.verdict.value}"),
            element("p", report.summary),
            element("p", f"It says that {MEANING[report.verdict]}. Exit code {report.exit_code}.", class_="note"),
            class_=f"verdict {kind}",
            role="status",
        )
        + element(
            "p",
            f"Run {report.run.id}, from {report.run.started or 'an unknown time'}"
            f" to {report.run.finished or 'an unknown time'}.",
            class_="note",
        )
    )


def _contents(sections: Sequence[Markup]) -> Markup:
    """Return links to the sections, by the headings that they have."""
    links = []
    for each in sections:
        before, _, rest = each.partition("</h2>")
        name, title = before.rpartition('id="')[2].split('">', 1)
        links.append(element("li", Markup(f'<a href="#{name}">{title}</a>')) if rest else Markup(""))
    return element("nav", element("ul", *links), aria_label="Sections")
