"""The last line: the keys that are valid now, to be read and to be clicked on.

One widget that draws one line: a widget a key, as Textual's own footer has them, takes as long as the rest of a screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

_KEY = "key-line"
"""Where a cell says which key it is of."""


@dataclass(frozen=True, slots=True)
class _Key:
    key: str
    spelled: str
    label: str
    help: str
    enabled: bool


class KeyLine(Widget, can_focus=False):
    """The keys of the screen and of what has the focus, as far as they are marked to be shown."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-line--key", "key-line--label", "key-line--under-mouse"}
    DEFAULT_CSS = """
    KeyLine {
        dock: bottom;
        height: 1;
        color: $footer-foreground;
        background: $footer-background;
    }
    KeyLine > .key-line--key {
        color: $footer-key-foreground;
        background: $footer-key-background;
        text-style: bold;
    }
    KeyLine > .key-line--label { color: $footer-description-foreground; background: $footer-description-background; }
    KeyLine > .key-line--under-mouse { color: $footer-key-foreground; background: $block-hover-background; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._keys: list[_Key] | None = None
        self._under_mouse = ""

    def on_mount(self) -> None:
        """Hear of it when other keys become valid."""
        self.screen.bindings_updated_signal.subscribe(self, self._others)

    def on_unmount(self) -> None:
        """Hear no more."""
        self.screen.bindings_updated_signal.unsubscribe(self)

    def _others(self, screen: Screen[Any]) -> None:
        if screen is self.screen and self.app.app_focus:
            self._keys = None
            self.refresh()

    def _shown(self) -> list[_Key]:
        """Return the keys in the order of the key table, the first one of each action."""
        found: dict[str, _Key] = {}
        for _, binding, enabled, tooltip in self.screen.active_bindings.values():
            if binding.show:
                found.setdefault(binding.action, self._key(binding, tooltip, enabled=enabled))
        return list(found.values())

    def _key(self, binding: Binding, tooltip: str, *, enabled: bool) -> _Key:
        return _Key(binding.key, self.app.get_key_display(binding), binding.description, tooltip, enabled)

    def render_line(self, y: int) -> Strip:  # noqa: ARG002 - there is one line
        """Draw them."""
        if self._keys is None:
            self._keys = self._shown()
        key_style, label_style, mouse_style = (
            self.get_component_rich_style(f"key-line--{part}") for part in ("key", "label", "under-mouse")
        )
        segments = []
        for each in self._keys:
            more = Style(dim=not each.enabled or None, meta={_KEY: each.key})
            if each.key == self._under_mouse:
                more = mouse_style + more
            segments.append(Segment(f" {each.spelled} ", key_style + more))
            segments.append(Segment(f"{each.label} ", label_style + more))
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Press a key."""
        pressed = self._at(event)
        if pressed is None:
            return
        if pressed.enabled:
            self.app.simulate_key(pressed.key)
        else:
            self.app.bell()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Point out the key under the mouse, and say what it does."""
        self._point_at(self._at(event))

    def on_leave(self) -> None:
        """Point out none."""
        self._point_at(None)

    def _point_at(self, each: _Key | None) -> None:
        key = each.key if each is not None else ""
        if key != self._under_mouse:
            self._under_mouse = key
            self.tooltip = each.help if each is not None and each.help else None
            self.refresh()

    def _at(self, event: events.MouseEvent) -> _Key | None:
        key = event.style.meta.get(_KEY)
        return next((each for each in self._keys or () if each.key == key), None)
