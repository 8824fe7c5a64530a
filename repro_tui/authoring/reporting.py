"""The lines that a script needs so that its metrics are told, made from what it prints already."""

from __future__ import annotations

from repro_tui.authoring.drafting import Draft

_FUNCTION = """\
    import json, os

    def report(event, **fields):
        if "REPRO_METRICS" in os.environ:
            with open(os.environ["REPRO_METRICS"], "a") as stream:
                stream.write(json.dumps({"event": event, **fields}) + "\\n")
"""


def lines_to_add(made: Draft) -> str:
    """Return them, indented."""
    metrics = {metric.name: (metric, name) for name, module in made.modules.items() for metric in module.metrics}
    results = {name: found for name, found in metrics.items() if name != "loss"} or metrics
    lines = [_line(name, metric.expression, f"after {file}:{metric.line}") for name, (metric, file) in results.items()]
    return "\n".join([_FUNCTION, *(lines or [_line("accuracy", "accuracy", "where it is known")])])


def _line(name: str, expression: str, place: str) -> str:
    return f'    report("metric", name="{name}", value=float({expression}), split="test")  # {place}'
