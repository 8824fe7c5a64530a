"""Pieces of a page. Whatever comes from a run is hostile text: only `Markup` goes into a page as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

MAX_TEXT = 4000
"""Characters of one text; nobody reads more of it in a page."""


class Markup(str):
    """Text that is HTML already, made by this module or by the page itself."""

    __slots__ = ()


def text(value: object, limit: int = MAX_TEXT) -> Markup:
    """Return anything as text of a page: escaped, in bounds, without what could steer how its surroundings look."""
    if isinstance(value, Markup):
        return value
    words = str(value)
    if len(words) > limit:
        words = words[:limit] + "…"
    return Markup(escape("".join(c if c.isprintable() or c == "\n" else " " for c in words)))


def element(tag: str, *children: object, **attributes: str) -> Markup:
    """Return an element; `class_` is the attribute class, `aria_label` aria-label."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{text(value)}"' for name, value in attributes.items() if value
    )
    return Markup(f"<{tag}{given}>{''.join(text(child) for child in children)}</{tag}>")


def code(value: object) -> Markup:
    """Return a digest, a path or a number in the type that machines use."""
    return element("code", value) if str(value) else Markup("")


def table(
    caption: str, columns: Sequence[object], rows: Iterable[Sequence[object]], *, class_: str = "", limit: int = 200
) -> Markup:
    """Return a table whose first column names the rows; what is beyond `limit` rows is counted below it."""
    rows = list(rows)
    head = element("tr", *(element("th", column, scope="col") for column in columns))
    body = [
        element("tr", element("th", row[0], scope="row"), *(_cell(cell) for cell in row[1:])) for row in rows[:limit]
    ]
    made = element(
        "div",
        element("table", element("caption", caption), element("thead", head), element("tbody", *body), class_=class_),
        class_="wide",
    )
    if len(rows) > limit:
        made = Markup(made + element("p", f"{len(rows) - limit} more rows are in report.json.", class_="note"))
    return made


def facts(rows: Iterable[tuple[str, object]]) -> Markup:
    """Return names and values below each other; an empty value is left out."""
    pairs = [element("div", element("dt", name), element("dd", value)) for name, value in rows if str(value)]
    return element("dl", *pairs) if pairs else Markup("")


def section(title: str, *content: object, id_: str) -> Markup:
    """Return a section with its heading; nothing where it has no content."""
    if not any(str(each) for each in content):
        return Markup("")
    return element("section", element("h2", title, id=id_), *content, aria_labelledby=id_)


class Cell:
    """A cell with a class of its own, by which the style sheet colours it."""

    __slots__ = ("class_", "content")

    def __init__(self, content: object, class_: str) -> None:
        self.content = content
        self.class_ = class_


def _cell(cell: object) -> Markup:
    if isinstance(cell, Cell):
        return element("td", cell.content, class_=cell.class_)
    return element("td", cell, class_="number" if _is_number(cell) else "")


def _is_number(cell: object) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)
