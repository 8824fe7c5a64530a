"""What a check of the doctor says."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: `message` says how it is, `remedy` what to do where that is not well."""

    name: str
    ok: bool
    message: str
    remedy: str = ""
    engine: str = ""
    """The engine that this finding speaks for; at least one of them must be well."""
    details: dict[str, str] = field(default_factory=dict)
