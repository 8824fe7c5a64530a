"""What ran and where, as sections of report.html: pins, inputs, environment, how to run it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from repro_tui.manifest.models import Manifest
from repro_tui.report.gather import Beside
from repro_tui.report.linked import source_address
from repro_tui.report.markdown import ORIGINS
from repro_tui.report.markup import Markup, code, element, facts, table
from repro_tui.report.model import Report
from repro_tui.runs import words

_PROMISE = {
    "bitwise": "Two runs with them give the same bits.",
    "metric": "Two runs with them give the same metrics, within the tolerances.",
    "statistical": "Two runs with them may differ as two draws of one distribution do.",
}


def pins(report: Report) -> Iterator[Markup]:
    """Yield the identity of everything that ran, and of what came out."""
    rows: list[tuple[str, object]] = [
        ("Manifest", code(report.manifest.path)),
        ("Manifest SHA-256", code(report.manifest.sha256)),
    ]
    if report.bundle:
        rows[:0] = [("Bundle", code(report.bundle.name)), ("Bundle SHA-256", code(report.bundle.sha256))]
    if image := report.image:
        rows += [
            ("Image", ORIGINS[image.origin]),
            ("Image reference", code(image.reference)),
            ("Image index digest", code(image.index_digest)),
            ("Image manifest digest", code(image.manifest_digest)),
            ("Image config digest", code(image.config_digest)),
            ("Layers", str(len(image.diff_ids))),
        ]
    rows.append(("Environment hash", code(report.environment_hash or "")))
    yield facts(rows)
    if report.outputs:
        files = [
            (each.name, code(each.path), code(each.sha256 or "not readable"), _size(each.bytes))
            for each in report.outputs
        ]
        yield table("Files that came out.", ("Output", "Path", "SHA-256", "Size"), files)


def inputs(manifest: Manifest | None) -> Iterator[Markup]:
    """Yield what the manifest has the run read, its hyperparameters and seeds."""
    if manifest is None:
        return
    yield table(
        "What the run reads.",
        ("Input", "Kind", "SHA-256", "Size", "Licence", "First source"),
        [
            (
                artifact.name,
                artifact.kind,
                code(artifact.sha256 or f"{artifact.tree_sha256} (folder)"),
                words.size(artifact.bytes),
                artifact.licence or "not said",
                code(source_address(artifact.sources[0])),
            )
            for artifact in manifest.artifacts
        ],
    )
    values = {**manifest.all_hyperparameters, "seed": manifest.determinism.seed}
    if manifest.determinism.data_seed is not None:
        values["data seed"] = manifest.determinism.data_seed
    yield table(
        f"Hyperparameters and seeds. {_PROMISE[manifest.determinism.level]}",
        ("Name", "Value"),
        [(name, str(value)) for name, value in values.items()],
    )


def environment(report: Report, beside: Beside) -> Iterator[Markup]:
    """Yield the engine, the machine, the time, and the packages."""
    rows: list[tuple[str, object]] = [("repro-tui", report.run.version)]
    if engine := report.engine:
        rows.append(("Engine", f"{engine.name} ({engine.host}): {engine.reason}"))
    for key, value in report.host.items():
        rows.append((words.fact_name(key), words.fact(key, value)))
    yield facts(rows)
    if report.engine and report.engine.capabilities:
        held = facts(list(report.engine.capabilities.items()))
        yield element("details", element("summary", "What the engine could hold to"), held)
    if report.timings_s:
        timings = [(name, words.duration(seconds)) for name, seconds in report.timings_s.items()]
        yield table("Time by stage.", ("Stage", "Time"), timings)
    if beside.packages:
        versions = [(name, code(version)) for name, version in sorted(beside.packages.items())]
        listed = table("As the probe found them in the container.", ("Package", "Version"), versions, limit=1000)
        yield element("details", element("summary", f"{len(versions)} Python packages of the image"), listed)


def rerun(report: Report) -> Iterator[Markup]:
    """Yield the command that runs it again."""
    given = report.bundle.name if report.bundle else report.manifest.path
    path = "".join(c if c.isprintable() else "?" for c in given)
    yield element("pre", f"repro-tui --run {shlex.quote(path)}")
    yield element(
        "p",
        "The manifest must have SHA-256 ",
        code(report.manifest.sha256),
        "; the run directory keeps a copy of it. The exit code is 0 only where the result comes out again.",
    )


def _size(count: int | None) -> str:
    return "unknown" if count is None else words.size(count)
