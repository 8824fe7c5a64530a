"""What the forms of linked data (RO-Crate, Croissant) share: licences, papers, sources as addresses; JSON as bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from repro_tui.manifest.models import (
    AptSource,
    GitSource,
    HttpsSource,
    HubSource,
    LocalSource,
    NpmSource,
    PipSource,
    RunSource,
    Source,
)

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def encode(body: Mapping[str, Any]) -> bytes:
    """Return JSON bytes, keys in the order they have: the same body gives the same bytes."""
    text = json.dumps(body, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")  # half a character becomes its JSON escape


def date(text: str) -> str | None:
    """Return the first day that a text names, as 2026-11-23."""
    found = _DATE.search(text)
    return found.group() if found else None


def spdx(licence: str) -> str | None:
    """Return the SPDX identifier of a licence as SPDX writes it, None for an expression or for words."""
    try:
        known = canonicalize_license_expression(licence)
    except InvalidLicenseExpression:
        return None
    return None if " " in known else known


def licence_address(licence: str) -> str | None:
    """Return the address of a licence that is named by an SPDX identifier, None for words on it."""
    known = spdx(licence)
    return f"https://spdx.org/licenses/{known}" if known else None


def paper_address(paper: Mapping[str, str | None]) -> str | None:
    """Return where a paper is found: by its DOI, else on arXiv, else at its address."""
    if doi := paper.get("doi"):
        return f"https://doi.org/{quote(doi, safe='/():;._-')}"
    if arxiv := paper.get("arxiv"):
        return f"https://arxiv.org/abs/{arxiv}"
    return paper.get("url")


def source_address(source: Source) -> str:
    """Return what a source serves as one address: a package as a package URL, which names no registry's host."""
    match source:
        case PipSource() | NpmSource() | AptSource():
            return f"{package_address(source)}{_fragment(source.path)}"
        case HubSource():
            name = quote(source.repository, safe="/")
            return f"pkg:huggingface/{name}@{source.revision}{_fragment(source.path)}"
        case GitSource():
            url = source.url if source.url.startswith("git") else f"git+{source.url}"
            return f"{url}@{source.commit}{_fragment(None if source.path == '.' else source.path)}"
        case HttpsSource():
            return f"{source.url}{_fragment(source.path)}"
        case LocalSource():
            return quote(source.path)
        case RunSource():
            return f"urn:repro-tui:run:{quote(source.experiment)}{_fragment(source.output)}"


def package_address(source: PipSource | AptSource | NpmSource) -> str:
    """Return the package URL (purl) of the package that a source is a part of."""
    version = quote(source.version, safe="+~:")
    match source:
        case PipSource():
            return f"pkg:pypi/{quote(source.package.lower().replace('_', '-'))}@{version}"
        case NpmSource():
            return f"pkg:npm/{quote(source.package, safe='/')}@{version}"
        case AptSource():
            return f"pkg:deb/debian/{quote(source.package, safe='+')}@{version}?arch={quote(source.architecture)}"


def _fragment(path: str | None) -> str:
    return f"#{quote(path)}" if path else ""
