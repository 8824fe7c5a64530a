"""CITATION.cff and the licence's text of a bundle: the author's own where they lie beside the manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from repro_tui.manifest.models import Experiment

_LICENCES = ("LICENSE", "LICENCE", "LICENSE.txt", "LICENCE.txt", "LICENSE.md", "LICENCE.md", "COPYING")
_MAX_BYTES = 1 << 20


def citation(experiment: Experiment, folders: Sequence[Path]) -> bytes:
    """Return the CITATION.cff found in one of the folders, else one made from the manifest (format 1.2.0)."""
    found = _first(folders, ("CITATION.cff",))
    if found is not None:
        return found
    lines = [
        "cff-version: 1.2.0",
        "message: If you use this experiment, please cite it as below.",
        "type: dataset",
        f"title: {_text(experiment.title)}",
        "authors:",
        *(f"  - name: {_text(author)}" for author in experiment.authors),
        *([f"license: {experiment.licence}"] if experiment.licence.isascii() and " " not in experiment.licence else []),
    ]
    paper = experiment.paper
    if paper is not None:
        address = paper.url or (f"https://arxiv.org/abs/{paper.arxiv}" if paper.arxiv else None)
        lines += [
            "references:",
            "  - type: article",
            f"    title: {_text(paper.title)}",
            "    authors:",
            '      - name: "see the paper"',
            *([f"    doi: {_text(paper.doi)}"] if paper.doi else []),
            *([f"    url: {_text(address)}"] if address else []),
        ]
    return ("\n".join(lines) + "\n").encode()


def licence_text(folders: Sequence[Path]) -> bytes | None:
    """Return the licence's text found in one of the folders."""
    return _first(folders, _LICENCES)


def _first(folders: Sequence[Path], names: Sequence[str]) -> bytes | None:
    for folder in folders:
        for name in names:
            path = folder / name
            if path.is_file() and path.stat().st_size <= _MAX_BYTES:
                return path.read_bytes()
    return None


def _text(value: str) -> str:
    """Return text as YAML: in the quotes of JSON, which YAML 1.2 reads too."""
    return json.dumps(" ".join(value.split()), ensure_ascii=False)
