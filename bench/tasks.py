"""The table of docs/tasks.md out of runs that were made: `python -m bench.tasks [RUN …]`, else the newest of each.

Nothing is measured here. Times, metrics and claims are those of report.json; examples a second are the median of what
the task told of its training steps in metrics.jsonl, the memory is the peak in events.jsonl. What a run does not tell
is a dash.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from bench.common import median
from repro_tui import wire
from repro_tui.artifacts.sources.run import runs_folder
from repro_tui.events import Verdict
from repro_tui.report.model import ClaimChecked, Metric, Report
from repro_tui.runs.catalog import find_run, list_runs
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.reader import read_state

MANIFESTS = Path(__file__).parents[1] / "manifests"
COLUMNS = ("manifest", "task", "examples a second", "to the final metric", "peak memory", "metric", "claim", "gap")
COMPLETE = frozenset({Verdict.REPRODUCED, Verdict.METRICS_DIFFER, Verdict.ENVIRONMENT_DRIFT, Verdict.INCONCLUSIVE})
NONE = "-"


def newest_runs(root: Path) -> Iterator[RunDirectory]:
    """Yield the newest complete run of each manifest in manifests/, by the manifests' names."""
    entries = list_runs(root)
    for path in sorted(MANIFESTS.glob("*.toml")):
        complete = (entry for entry in entries if entry.experiment == path.stem and entry.status in COMPLETE)
        if (entry := next(complete, None)) is not None:
            yield entry.run


def rows_of(run: RunDirectory) -> list[tuple[str, ...]]:
    """Return the cells of a run's row, or of one for each stage of its manifest."""
    report = Report.model_validate_json(run.report.read_bytes())
    body = tomllib.loads(run.manifest.read_text(encoding="utf-8"))
    tasks = {stage["name"]: stage["task"] for stage in body.get("stage", [])} or {"": body["task"]}
    expected = reversed(body.get("expected", {}).get("metrics", []))
    first = {each.get("stage", ""): (each["name"], each.get("split", "test")) for each in expected}
    rates, state = rates_of(run), read_state(run)
    elapsed = {stage.name: stage.elapsed_s for stage in report.stages}
    elapsed[""] = report.timings_s.get("train", 0.0) + report.timings_s.get("evaluate", 0.0)
    rows: list[tuple[str, ...]] = []
    for stage, task in tasks.items():
        metric = main_metric(report, stage, first.get(stage))
        claim = next((each for each in report.claims if each.stage == stage and is_of(each, metric)), None)
        rows.append(
            (
                f"`{report.experiment.name}`" + (f", stage `{stage}`" if stage else ""),
                f"`{task['name']}`" if "name" in task else "a script of its own",
                f"{median(rates[stage]):.3g}" if rates[stage] else NONE,
                f"{elapsed[stage]:.0f} s" if stage in elapsed else NONE,
                f"{state.peak_memory_bytes / 2**20:,.0f} MiB" if state.peak_memory_bytes else NONE,
                NONE if metric is None else f"{metric.name} {float(metric.value or 0):.4g}",
                NONE if claim is None else f"{claim.claimed:g}: {claim.source}",
                NONE if claim is None else gap(claim),
            )
        )
    return rows


def rates_of(run: RunDirectory) -> defaultdict[str, list[float]]:
    """Return the examples a second of every training step, by stage."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    stage = ""
    with run.metrics.open("rb") as lines:
        for line in lines:
            try:
                event = wire.decode(line)
            except ValueError:
                continue
            if event["event"] == "stage":
                stage = event["stage"]
            elif event["event"] == "step" and (rate := wire.number(event.get("examples_per_s"))) is not None:
                found[stage].append(rate)
    return found


def main_metric(report: Report, stage: str, expected: tuple[str, str] | None) -> Metric | None:
    """Return the metric (name, split) that the manifest expects first, else the first on the test split."""
    final = [each for each in report.metrics if each.stage == stage and each.label is None]
    on_test = (each for each in final if each.split == "test")
    return next((each for each in final if (each.name, each.split) == expected), next(on_test, None))


def is_of(claim: ClaimChecked, metric: Metric | None) -> bool:
    """Say whether a claim is about a metric."""
    return metric is not None and (claim.metric, claim.split) == (metric.name, metric.split)


def gap(claim: ClaimChecked) -> str:
    """Return in words how far what was observed is from what was printed, and why, by the claim's note."""
    if not isinstance(claim.observed, float):
        return "not observed"
    difference = claim.observed - claim.claimed
    far = "equal" if difference == 0 else f"{abs(difference):.3g} {'above' if difference > 0 else 'below'}"
    within = "within" if abs(difference) <= claim.within else "beyond"
    note = claim.note or ("" if claim.verified else "The number was not looked up.")
    return f"{far}, {within} {claim.within:g}" + (f". {note}" if note else "")


def main(names: list[str]) -> int:
    """Print the table in Markdown."""
    root = runs_folder(os.environ)
    runs = [find_run(root, name) for name in names] or list(newest_runs(root))
    if not runs:
        print(f"there is no complete run in {root}/ of any manifest in {MANIFESTS.name}/", file=sys.stderr)
        return 1
    for cells in (COLUMNS, ("---",) * len(COLUMNS), *(row for run in runs for row in rows_of(run))):
        print(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
