"""Put a report into its run directory, in every form."""

from __future__ import annotations

from repro_tui.report import json, markdown
from repro_tui.report.model import Report
from repro_tui.runs.directory import RunDirectory


def write_report(run: RunDirectory, report: Report) -> None:
    """Write report.md, then report.json: where that is, the other is too. Each is whole or not there.

    Raises StoreFullError.
    """
    json.write_whole(run.report_markdown, markdown.render(report))
    json.write_whole(run.report, json.render(report))
