"""Canonical JSON (RFC 8785) and its digest."""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785


def canonical(value: Any) -> bytes:
    """Return the canonical JSON of a value; raises ValueError for what JSON cannot hold exactly."""
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise ValueError(f"not representable in canonical JSON: {error}") from error


def digest(value: Any) -> str:
    """Return `sha256:` and the hex SHA-256 of a value's canonical JSON; raises ValueError as `canonical`."""
    return f"sha256:{hashlib.sha256(canonical(value)).hexdigest()}"
