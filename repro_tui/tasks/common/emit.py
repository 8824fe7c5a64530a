"""Everything a task tells the host: events in the line format, and output files with their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from repro_tui import wire


def phase(name: str) -> None:
    """Say that a phase ("train", "evaluate") begins."""
    wire.emit("phase", phase=name)


def metrics(values: Mapping[str, float], *, split: str, step: int | None = None) -> None:
    """Tell the metrics of a split; `step` where they are not the final ones."""
    at = {} if step is None else {"step": step}
    for name, value in values.items():
        wire.emit("metric", name=name, value=float(value), split=split, **at)


def table(name: str, columns: Sequence[str], rows: Iterable[Sequence[str | float]]) -> None:
    """Tell a table: one list a row, one value a column."""
    wire.emit("table", name=name, columns=list(columns), rows=[list(row) for row in rows])


def output(name: str, path: Path, out: Path) -> str:
    """Tell of a file under `out` and return its hex SHA-256."""
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    wire.emit("output", name=name, path=path.relative_to(out).as_posix(), sha256=sha256)
    return sha256


def weights(model: Any, out: Path) -> str:
    """Write the model's tensors to model.safetensors and return the file's digest.

    The file is a function of names, types, shapes and bits alone: safetensors orders tensors by type and name, and
    its one metadata key is fixed. A tensor shared under several names is written once, under the first in order.
    """
    tensors: dict[str, torch.Tensor] = {}
    seen: set[tuple[int, tuple[int, ...]]] = set()
    for name, tensor in sorted(model.state_dict().items()):
        identity = (tensor.data_ptr(), tuple(tensor.shape))
        if identity not in seen:
            seen.add(identity)
            tensors[name] = tensor.detach().cpu().contiguous()
    path = out / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    return output("weights", path, out)


def predictions(columns: Sequence[str], rows: Iterable[Sequence[object]], out: Path) -> str:
    """Write predictions.tsv, a header and one line an example in the split's own order; return the file's digest."""
    path = out / "predictions.tsv"
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for row in (columns, *rows):
            stream.write("\t".join(str(value).replace("\t", " ").replace("\n", " ") for value in row) + "\n")
    return output("predictions", path, out)
