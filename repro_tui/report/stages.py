"""The manifest's stages as rows for people."""

from __future__ import annotations

from collections.abc import Sequence

from repro_tui.report.model import StageReported
from repro_tui.runs import words

HEAD = ("Stage", "How it ended", "What it hands on (tree digest)")


def rows(stages: Sequence[StageReported]) -> list[tuple[str, str, str]]:
    """Return name, how it ended, and the digest of its folder, which the last stage has not."""
    return [(stage.name, _how(stage), stage.tree_sha256) for stage in stages]


def _how(stage: StageReported) -> str:
    took = f" in {words.duration(stage.elapsed_s)}" if stage.elapsed_s else ""
    return f"{stage.status.value}: made{took} by the run {stage.run}" if stage.run else f"{stage.status.value}{took}"
