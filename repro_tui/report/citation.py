"""CITATION.cff: how a manifest is cited, and the paper whose result it reproduces (Citation File Format 1.2.0)."""

from __future__ import annotations

import json
from collections.abc import Iterator

from repro_tui.manifest.models import Manifest, Paper
from repro_tui.report import linked

FILE_NAME = "CITATION.cff"


def metadata(manifest: Manifest) -> bytes:
    """Return the content of CITATION.cff. An author is written as named: which word is the family name is not known."""
    return ("\n".join(_lines(manifest)) + "\n").encode()


def _lines(manifest: Manifest) -> Iterator[str]:
    experiment = manifest.experiment
    yield "cff-version: 1.2.0"
    also = ", and the paper whose result it reproduces" if experiment.paper else ""
    yield f"message: {_text(f'If you use this, please cite it{also}.')}"
    yield f"title: {_text(experiment.title)}"
    yield "type: dataset"
    if experiment.description.strip():
        yield f"abstract: {_text(experiment.description)}"
    yield "authors:"
    yield from _names(experiment.authors)
    if licence := linked.spdx(experiment.licence):
        yield f"license: {_text(licence)}"
    if manifest.recorded and (date := linked.date(manifest.recorded.when)):
        yield f"date-released: {date}"
    if experiment.paper:
        yield "references:"
        yield from _paper(experiment.paper)


def _names(names: list[str], indent: str = "  ") -> Iterator[str]:
    for name in dict.fromkeys(names):
        yield f"{indent}- name: {_text(name)}"


def _paper(paper: Paper) -> Iterator[str]:
    yield "  - type: article"
    yield f"    title: {_text(paper.title)}"
    yield "    authors:"  # the form asks for some, and a manifest does not say who they are
    yield from _names([f"The authors of “{paper.title}”"], "      ")
    if paper.doi:
        yield f"    doi: {_text(paper.doi)}"
    if paper.arxiv:
        yield "    identifiers:"
        yield "      - type: other"
        yield f"        value: {_text(f'arXiv:{paper.arxiv}')}"
    if address := paper.url or linked.paper_address(paper.model_dump(exclude_none=True)):
        yield f"    url: {_text(address)}"


def _text(text: str) -> str:
    """Return text as a YAML string in one line: YAML reads the quotes and escapes of JSON."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return json.dumps(flat, ensure_ascii=False)
