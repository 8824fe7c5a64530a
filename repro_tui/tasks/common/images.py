"""Pictures with classes: read from IDX files or a folder, held in memory as bytes, changed a little in training."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from repro_tui.tasks.common import data
from repro_tui.tasks.common.batches import Batch
from repro_tui.tasks.common.job import TaskError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
"""What the name of a picture in a folder ends with; other files are left alone."""

UNREADABLE = (OSError, Image.DecompressionBombError)
"""What Pillow raises for a file that it does not read as a picture."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """A split as the models take it."""

    pixels: Tensor
    """Bytes, 0 to 255 (N, C, H, W); C is 1 for grey, 3 for RGB."""
    labels: list[str]
    """Names of the classes (N,)."""

    def numbers(self, split: str, classes: Sequence[str]) -> Tensor:
        """Return the places of the labels in `classes` (N,); raises TaskError for one that is not there."""
        place = {name: number for number, name in enumerate(classes)}
        unknown = sorted(set(self.labels) - set(place))
        if unknown:
            raise TaskError(
                f"splits.{split} has the class {unknown[0]!r}, which no training example has",
                f"Known are: {', '.join(classes)}",
            )
        return torch.tensor([place[label] for label in self.labels])


def load(
    specs: data.Specs, *, size: int | None = None, names: Sequence[str] = (), only: Sequence[str] = ()
) -> dict[str, Pictures]:
    """Return every split of the job, each picture in one split only.

    `size` is the side that pictures of a folder are brought to (see `opened`), `names` are the classes of IDX files,
    which hold their numbers (as many digits in all splits), and only pictures of the classes `only` stay, where it
    names any. Raises TaskError.
    """
    numbers = {
        name: _numbers(name, spec)
        for name, spec in specs.items()
        if spec.get("part_of") is None and spec["format"] == "idx"
    }
    digits = len(str(max((int(each.max()) for each in numbers.values()), default=0)))
    seen: set[str] = set()

    def read(split: str, spec: data.Spec) -> list[tuple[Tensor, str]]:
        kind = spec["format"]
        if kind not in {"idx", "image-folder"}:
            raise TaskError(
                f"splits.{split}: the format {kind!r} is not one this task reads", "It reads idx and image-folder"
            )
        if kind == "idx":
            found = _idx(split, spec, numbers[split], names or [f"{number:0{digits}}" for number in range(256)])
        else:
            found = _folder(split, spec, size)
        seen.update(label for _, label in found)
        return [(pixels, label) for pixels, label in found if not only or label in only]

    splits = data.assemble(specs, read, label=lambda example: example[1])
    for name, examples in splits.items():
        if not examples:
            raise TaskError(f"splits.{name} has no pictures", "Check `path`, `folder` and the classes that are kept")
    gone = next((name for name in only if name not in seen), None)
    if gone is not None:
        raise TaskError(
            f"hyperparameters.only_classes: no split has the class {gone!r}", f"There are {', '.join(sorted(seen))}"
        )
    first = "train" if "train" in splits else next(iter(splits), "")
    for name, examples in splits.items():
        theirs, ours = (_size(split[0][0]) for split in (splits[first], examples))
        if ours != theirs:
            raise TaskError(
                f"splits.{name} has pictures of {ours}, splits.{first} of {theirs}", "Set hyperparameters.image_size"
            )
    return {
        name: Pictures(torch.stack([pixels for pixels, _ in examples]), [label for _, label in examples])
        for name, examples in splits.items()
    }


def _size(pixels: Tensor) -> str:
    """Return width, height and channels of a picture (C, H, W), for people."""
    channels, height, width = pixels.shape
    return f"{width}x{height} pixels, {channels} channels"


def classes_of(train: Pictures, names: Sequence[str] = ()) -> list[str]:
    """Return the classes of the training split, in the order of `names` or else sorted; raises TaskError for one."""
    found = set(train.labels)
    classes = [name for name in names if name in found] or sorted(found)
    if len(classes) < 2:
        raise TaskError(f"splits.train has the only class {classes[0]!r}", "Classification needs two at least")
    return classes


def statistics(pixels: Tensor) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel of bytes (N, C, H, W), from exact counts of the 256 values."""
    values = torch.arange(256, dtype=torch.float64)
    mean, deviation = [], []
    for channel in range(pixels.shape[1]):
        weights = torch.bincount(pixels[:, channel].flatten(), minlength=256) / pixels[:, channel].numel()
        centre = (values * weights).sum()
        mean.append(centre.item())
        deviation.append(max(((values - centre) ** 2 * weights).sum().sqrt().item(), 1.0))
    return mean, deviation


def scaled(pixels: Tensor, mean: Sequence[float], deviation: Sequence[float]) -> Tensor:
    """Return bytes (B, C, H, W) as (pixel - mean) / deviation of their channel, in channels-last memory order."""
    shift = torch.tensor(mean, dtype=torch.float32)[:, None, None]
    scale = torch.tensor(deviation, dtype=torch.float32)[:, None, None]
    return ((pixels.float() - shift) / scale).contiguous(memory_format=torch.channels_last)


class Augmentation:
    """A random crop of the padded picture, and a mirror image (He et al. 2016, arXiv:1512.03385, section 4.2).

    What happens to an example in an epoch depends on the seed, the epoch and its number alone, not on its batch.
    """

    def __init__(self, count: int, *, padding: int, flip: bool, seed: int) -> None:
        self._count, self._padding, self._flip, self._seed = count, padding, flip, seed
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Draw what happens to every example in this epoch."""
        generator = torch.Generator().manual_seed((self._seed + epoch) % 2**63)
        self._corner = torch.randint(0, 2 * self._padding + 1, (self._count, 2), generator=generator)
        self._flipped = torch.rand(self._count, generator=generator) < (0.5 if self._flip else 0.0)

    def __call__(self, pixels: Tensor, batch: Batch) -> Tensor:
        """Return the examples `batch` of all pixels (N, C, H, W), changed: (B, C, H, W), 0 outside the picture."""
        chosen = pixels[batch]
        height, width = chosen.shape[2:]
        top, left = self._corner[batch].unbind(dim=1)
        rows = top[:, None] + torch.arange(height)
        columns = left[:, None] + torch.arange(width)
        columns = torch.where(self._flipped[batch][:, None], columns.flip(1), columns)
        padded = pad(chosen, (self._padding,) * 4)
        example = torch.arange(len(batch))[:, None, None]
        return padded.permute(0, 2, 3, 1)[example, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def opened(path: Path, size: int | None = None) -> Tensor:
    """Return a picture as RGB bytes (3, H, W); what is transparent in it shows white.

    With `size` it is scaled by bicubic interpolation until its shorter side has so many pixels, and the square in its
    middle is cut out.
    """
    with Image.open(path) as file:
        picture = file.convert("RGBA" if file.has_transparency_data else "RGB")
    if picture.mode == "RGBA":  # else the colours that nobody sees would show
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    if size is not None:
        factor = size / min(picture.size)
        width, height = (max(size, round(side * factor)) for side in picture.size)
        left, top = (width - size) // 2, (height - size) // 2
        picture = picture.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def fault(error: Exception) -> str:
    """Return in words why a file is not read as a picture, of an error of UNREADABLE."""
    if isinstance(error, Image.DecompressionBombError):
        return "it has more pixels than Pillow opens"
    return getattr(error, "strerror", None) or "not a format Pillow reads"


def as_bytes(pixels: Tensor) -> Tensor:
    """Return numbers (N, C, H, W) as bytes, rounded, those outside 0 to 255 at its ends."""
    return pixels.round().clamp(0, 255).to(torch.uint8)


def save_grid(pixels: Tensor, columns: int, path: Path) -> Path:
    """Write bytes (N, C, H, W) to a PNG, `columns` pictures a row, and return its path."""
    count, channels, height, width = pixels.shape
    sheet = np.zeros((-(-count // columns) * height, columns * width, channels), dtype=np.uint8)
    for number, picture in enumerate(pixels.permute(0, 2, 3, 1).numpy()):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + height, left : left + width] = picture
    Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet).save(path)
    return path


def _numbers(split: str, spec: data.Spec) -> np.ndarray[Any, Any]:
    """Read the numbers of the classes of a split (N,), N at least 1, from an IDX file."""
    if spec.get("targets") is None:
        raise TaskError(f"splits.{split}: the format idx needs `targets`", "Name the artifact that holds the classes")
    numbers = _array(split, Path(spec["targets"]), 1)
    if not len(numbers):
        raise TaskError(f"splits.{split}: {spec['targets']} holds no classes", "Check the artifacts' `path`")
    return numbers


def _idx(split: str, spec: data.Spec, numbers: np.ndarray[Any, Any], names: Sequence[str]) -> list[tuple[Tensor, str]]:
    """Read the pictures (N, H, W) with classes of these numbers (N,) from an IDX file."""
    pixels = _array(split, Path(spec["path"]), 3)
    if len(pixels) != len(numbers):
        raise TaskError(
            f"splits.{split}: {len(pixels)} pictures and {len(numbers)} classes", "Name the two files of one split"
        )
    if int(numbers.max()) >= len(names):
        raise TaskError(
            f"splits.{split} has the class number {int(numbers.max())}, class_names has {len(names)} names",
            "Name every class, from number 0",
        )
    return list(zip(torch.from_numpy(pixels)[:, None], [names[number] for number in numbers.tolist()], strict=True))


def _array(split: str, path: Path, axes: int) -> np.ndarray[Any, Any]:
    """Read an IDX file of bytes, gzipped or not: two zeros, type 8, the number of axes, their lengths, the values."""
    try:
        body = path.read_bytes()
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise TaskError(f"splits.{split}: {path}: {reason}", "Check the artifact's `path`") from None
    shape = np.frombuffer(body, dtype=">u4", count=axes, offset=4) if len(body) >= 4 + 4 * axes else ()
    if body[:4] != bytes((0, 0, 8, axes)) or len(body) != 4 + 4 * axes + math.prod(map(int, shape)):
        raise TaskError(
            f"splits.{split}: {path} is no IDX file of bytes with {axes} axes",
            "`artifact` names the pictures (3 axes), `targets` their classes (1 axis)",
        )
    return np.frombuffer(bytearray(body), dtype=np.uint8, offset=4 + 4 * axes).reshape([int(side) for side in shape])


def _folder(split: str, spec: data.Spec, size: int | None) -> list[tuple[Tensor, str]]:
    """Read the pictures of a folder, in the order of their paths or of the list `listed_in`."""
    root = Path(spec["path"]) / (spec.get("folder") or "")
    if not root.is_dir():
        raise TaskError(f"splits.{split}: {root} is no folder", "Check the artifact's `path` and `folder`")
    found = []
    for path, label in _listed(split, spec, root) if spec.get("listed_in") else _subfolders(split, root):
        try:
            found.append((opened(path, size), label))
        except UNREADABLE as error:
            raise TaskError(
                f"splits.{split}: {path} is no picture: {fault(error)}",
                "Check the folder, or the list",
            ) from None
        if found[-1][0].shape != found[0][0].shape:
            raise TaskError(
                f"splits.{split}: {path} has another size than the pictures before it", "Set hyperparameters.image_size"
            )
    return found


def _subfolders(split: str, root: Path) -> list[tuple[Path, str]]:
    """Return every picture below `root` with its class: the name of the subfolder of `root` that it is in."""
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    loose = next((path for path in paths if path.parent == root), None)
    if loose is not None or not paths:
        raise TaskError(
            f"splits.{split}: {loose or root} " + ("is in no subfolder" if loose else "holds no pictures"),
            "A class is a subfolder, or `listed_in` names a file that lists pictures and classes",
        )
    return [(path, path.relative_to(root).parts[0]) for path in paths]


def _listed(split: str, spec: data.Spec, root: Path) -> list[tuple[Path, str]]:
    """Return the pictures that a file lists, a line each: its path from `root`, white space, and further columns.

    The class is in the column with the number `label`, or else the path's first folder.
    """
    path = Path(spec["path"]) / spec["listed_in"]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise TaskError(f"splits.{split}: {path} cannot be read as text", "Check `listed_in`") from None
    column = spec.get("label")
    found = []
    for number, line in enumerate(lines, 1):
        cells = line.split()
        if not cells:
            continue
        if isinstance(column, int) and len(cells) <= column:
            raise TaskError(
                f"splits.{split}: {path}, line {number}: {len(cells)} columns, column {column} is asked for",
                "`label` is the number of the class's column; the path is column 0",
            )
        found.append((root / cells[0], cells[column] if isinstance(column, int) else Path(cells[0]).parts[0]))
    return found
