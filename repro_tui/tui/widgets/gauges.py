"""What a run uses: CPU, memory, and each GPU, as bars with the number beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.text import Text
from textual.containers import VerticalScroll
from textual.widgets import Static

from repro_tui.events import ResourceSample
from repro_tui.runs import words


def bar(share: float, width: int) -> str:
    """Return "[####    ]" of so many cells inside."""
    filled = round(max(0.0, min(1.0, share)) * width)
    return f"[{'#' * filled}{' ' * (width - filled)}]"


def lines(
    sample: ResourceSample, *, peak_bytes: int, cpus: float | None, memory_bytes: int | None, width: int
) -> Iterator[str]:
    """Yield one line a gauge; `cpus` and `memory_bytes` are what there is, None where that is not known."""
    room = max(4, width - 20)

    def gauge(name: str, share: float | None, value: str) -> str:
        return f"{name:5} {bar(share, room) if share is not None else ''} {value}".rstrip()

    yield gauge("CPU", sample.cpu_percent / (100 * cpus) if cpus else None, f"{sample.cpu_percent:.0f} %")
    yield gauge("RAM", sample.memory_bytes / memory_bytes if memory_bytes else None, words.size(sample.memory_bytes))
    if peak_bytes > sample.memory_bytes:
        yield f"{'':5} at most {words.size(peak_bytes)}"
    for gpu in sample.gpus:
        name = f"GPU{gpu.get('index', '')}"
        busy = gpu.get("utilisation_percent")
        if isinstance(busy, int | float):
            yield gauge(name, busy / 100, f"{busy:.0f} %")
        else:
            yield f"{name:5} use not told"
        used, total = gpu.get("memory_bytes"), gpu.get("memory_total_bytes")
        if isinstance(used, int | float):
            yield gauge("VRAM", used / total if isinstance(total, int | float) and total else None, words.size(used))
        told = [
            f"{gpu['temperature_c']:.0f} C" if isinstance(gpu.get("temperature_c"), int | float) else "",
            f"{gpu['power_w']:.0f} W" if isinstance(gpu.get("power_w"), int | float) else "",
            words.printable(str(gpu.get("name", ""))),
        ]
        if any(told):
            yield f"{'':5} " + "  ".join(part for part in told if part)


def strip(sample: ResourceSample | None) -> str:
    """Return the gauges on one line."""
    if sample is None:
        return ""
    parts = [f"CPU {sample.cpu_percent:.0f} %", f"RAM {words.size(sample.memory_bytes)}"]
    for gpu in sample.gpus:
        busy, used = gpu.get("utilisation_percent"), gpu.get("memory_bytes")
        parts.append(f"GPU{gpu.get('index', '')}" + (f" {busy} %" if busy is not None else ""))
        if isinstance(used, int | float):
            parts.append(f"VRAM {words.size(used)}")
    return "  ".join(parts)


class Gauges(VerticalScroll):
    """The gauges; more GPUs than fit are scrolled to."""

    help_group = "Panes"

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(Static("no sample yet", id=f"{id}-lines"), id=id)
        self._shown: Callable[[int], Iterator[str]] | None = None
        self._lines: list[str] = []

    def show(
        self, sample: ResourceSample | None, *, peak_bytes: int, cpus: float | None, memory_bytes: int | None
    ) -> None:
        """Show a sample; None leaves the one before. Bars show parts of `cpus` and `memory_bytes`, where known."""
        if sample is not None:
            self._shown = lambda width: lines(
                sample, peak_bytes=peak_bytes, cpus=cpus, memory_bytes=memory_bytes, width=width
            )
            self._draw()

    def on_resize(self) -> None:
        """Draw bars of the new width."""
        self._draw()

    def _draw(self) -> None:
        if self._shown is None:
            return
        new = list(self._shown(self.scrollable_content_region.width))
        if new != self._lines:
            as_high = len(new) == len(self._lines)
            self._lines = new
            self.query_one(Static).update(Text("\n".join(new), no_wrap=True), layout=not as_high)
