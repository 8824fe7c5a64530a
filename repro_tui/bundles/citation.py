"""CITATION.cff and the licence's text of a bundle: the author's own where they lie beside the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from repro_tui.manifest.models import Manifest
from repro_tui.report import citation as report_citation

_LICENCES = ("LICENSE", "LICENCE", "LICENSE.txt", "LICENCE.txt", "LICENSE.md", "LICENCE.md", "COPYING")
_MAX_BYTES = 1 << 20


def citation(manifest: Manifest, folders: Sequence[Path]) -> bytes:
    """Return the CITATION.cff found in one of the folders, else one made from the manifest."""
    return _first(folders, (report_citation.FILE_NAME,)) or report_citation.metadata(manifest)


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
