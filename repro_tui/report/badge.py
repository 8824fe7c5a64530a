"""A badge: a verdict as a small SVG, by word, colour and sign, for a README."""

from __future__ import annotations

from html import escape

from repro_tui.events import Verdict

LABEL = "reproduction"

_LOOKS = {
    Verdict.REPRODUCED: ("#1a7f37", "✓"),
    Verdict.METRICS_DIFFER: ("#b35900", "≠"),
    Verdict.ENVIRONMENT_DRIFT: ("#8250df", "↯"),
    Verdict.INCONCLUSIVE: ("#57606a", "?"),
    Verdict.FAILED: ("#a40e26", "✗"),
    Verdict.CANCELLED: ("#57606a", "■"),
}
"""Each colour is at least 4.5 times as dark as the white words on it."""

_WIDTH = {**dict.fromkeys(" .,:;!|'ijlft-", 4.0), **dict.fromkeys("mwMW", 10.5)}
_CAPITAL, _SMALL = 8.2, 6.6
_HEIGHT, _SIDE = 20, 7.0


def badge(verdict: Verdict | None) -> str:
    """Return the SVG of a verdict; None for a result that nobody has run yet."""
    colour, sign = _LOOKS[verdict] if verdict is not None else ("#57606a", "○")
    word = verdict.value.lower() if verdict is not None else "not run yet"
    shown = f"{sign} {word}"
    left, right = _width(LABEL), _width(shown)
    whole = left + right
    title = escape(f"{LABEL}: {word}")
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="{_HEIGHT}" role="img" aria-label="{title}">
  <title>{title}</title>
  <clipPath id="round"><rect width="{whole}" height="{_HEIGHT}" rx="4"/></clipPath>
  <g clip-path="url(#round)">
    <rect width="{left}" height="{_HEIGHT}" fill="#24292f"/>
    <rect x="{left}" width="{right}" height="{_HEIGHT}" fill="{colour}"/>
  </g>
  <g fill="#ffffff" font-family="Verdana, DejaVu Sans, sans-serif" font-size="11" text-anchor="middle">
    <text x="{left / 2:g}" y="14" textLength="{left - 2 * _SIDE:g}">{escape(LABEL)}</text>
    <text x="{left + right / 2:g}" y="14" textLength="{right - 2 * _SIDE:g}">{escape(shown)}</text>
  </g>
</svg>
"""


def _width(text: str) -> int:
    """Return about how wide a text is: `textLength` makes it that wide, whatever font there is."""
    return round(sum(_WIDTH.get(c, _CAPITAL if c.isupper() else _SMALL) for c in text) + 2 * _SIDE)
