"""Pictures read, counted, drawn, scaled and changed."""

import gzip
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from repro_tui.tasks.common import images
from repro_tui.tasks.common.job import TaskError

Write = Callable[..., dict[str, Any]]


@pytest.fixture
def idx(tmp_path: Path) -> Write:
    """Return a function that writes pictures whose pixels are their number, with classes, as IDX files."""

    def write(
        numbers: list[int], *, side: int = 2, pictures: int | None = None, part: str = "", **changed: Any
    ) -> dict[str, Any]:
        count = len(numbers) if pictures is None else pictures
        pixels = np.repeat(np.arange(count, dtype=np.uint8), side * side).tobytes()
        (tmp_path / f"{part}pictures.gz").write_bytes(
            gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, count, side, side) + pixels)
        )
        (tmp_path / f"{part}classes").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, len(numbers)) + bytes(numbers))
        paths = {"path": str(tmp_path / f"{part}pictures.gz"), "targets": str(tmp_path / f"{part}classes")}
        return {**paths, "format": "idx", "label": "label", **changed}

    return write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two pictures of each of two classes, 6 wide and 4 high, and a list of them."""
    for label, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in (1, 2):
            Image.new("RGB", (6, 4), colour).save(tmp_path / "set" / label / f"{number}.png")
    (tmp_path / "set" / "list.txt").write_text("red/2.png 0.5  warm\n\nblue/1.png 1.0 cold\n")
    (tmp_path / "set" / "red" / "notes.txt").write_text("no picture")
    return tmp_path / "set"


def test_idx_files_are_read_and_named(idx: Write) -> None:
    found = images.load({"train": idx([1, 0, 1])}, names=("shirt", "shoe"))["train"]
    assert found.pixels.shape == (3, 1, 2, 2)
    assert found.pixels[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert found.labels == ["shoe", "shirt", "shoe"]
    assert images.load({"train": idx([3, 10])})["train"].labels == ["03", "10"]


def test_a_class_number_has_as_many_digits_in_all_splits(idx: Write) -> None:
    found = images.load({"train": idx([0, 5, 10]), "test": idx([5, 9], part="test")})
    assert found["train"].labels == ["00", "05", "10"]
    assert found["test"].labels == ["05", "09"]
    assert images.load({"train": idx([0, 9]), "test": idx([5], part="test")})["train"].labels == ["0", "9"]


def test_splits_of_other_sizes_are_said(idx: Write, folder: Path) -> None:
    with pytest.raises(TaskError, match=r"test has pictures of 3x3 pixels, 1 channels, splits\.train of 2x2 pixels"):
        images.load({"test": idx([0, 1], part="test", side=3), "train": idx([0, 1])})
    spec = {"path": str(folder), "format": "image-folder", "label": "label"}
    with pytest.raises(
        TaskError, match=r"splits\.test has .* 3 channels.* 1 channels\. Set hyperparameters\.image_size"
    ):
        images.load({"train": idx([0, 1]), "test": spec}, size=2)


def test_a_few_labels_are_drawn_from_every_class_and_taken_away(idx: Write) -> None:
    few = {
        "part_of": "pool",
        "fraction": 0.2,
        "seed": 1,
        "stratified": True,
        "examples": 4,
        "classes": {"0": 2, "1": 2},
    }
    found = images.load({"pool": idx([0, 1] * 10, examples=20, classes={"0": 10, "1": 10}), "train": few})
    assert found["train"].labels.count("0") == 2
    drawn, rest = (set(found[name].pixels[:, 0, 0, 0].tolist()) for name in ("train", "pool"))
    assert drawn | rest == set(range(20))
    assert not drawn & rest


@pytest.mark.parametrize(
    ("changed", "names", "message"),
    [
        ({"examples": 5}, (), "has 3 examples, 5 are pinned"),
        ({"classes": {"0": 3}}, (), "another class balance: 0 1 (pinned 3), 1 2 (pinned 0)"),
        ({"targets": None}, (), "the format idx needs `targets`"),
        ({"format": "tsv"}, (), "'tsv' is not one this task reads"),
        ({}, ("shirt",), "has the class number 1, class_names has 1 names"),
        ({"pictures": 2}, (), "2 pictures and 3 classes"),
    ],
)
def test_what_is_not_as_pinned_is_said(
    idx: Write, changed: dict[str, Any], names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(TaskError, match=re.escape(message)):
        images.load({"train": idx([1, 0, 1], **changed)}, names=names)


def test_what_is_no_idx_file_is_said(idx: Write, tmp_path: Path) -> None:
    spec = idx([1, 0])
    with pytest.raises(TaskError, match="no IDX file of bytes with 3 axes"):
        images.load({"train": {**spec, "path": spec["targets"]}})
    with pytest.raises(TaskError, match="No such file"):
        images.load({"train": {**spec, "path": str(tmp_path / "none")}})
    (tmp_path / "pictures.gz").write_bytes((tmp_path / "pictures.gz").read_bytes()[:-9])
    with pytest.raises(TaskError, match="end-of-stream"):
        images.load({"train": spec})
    spec = idx([1, 0] * 50)
    body = bytearray((tmp_path / "pictures.gz").read_bytes())
    body[10:14] = b"\xff" * 4
    (tmp_path / "pictures.gz").write_bytes(body)
    with pytest.raises(TaskError, match="while decompressing data"):
        images.load({"train": spec})
    with pytest.raises(TaskError, match=r"splits\.train: .*classes holds no classes"):
        images.load({"train": idx([])})


def test_a_class_is_a_subfolder(folder: Path) -> None:
    spec = {"path": str(folder.parent), "folder": "set", "format": "image-folder", "label": "label"}
    found = images.load({"train": spec})["train"]
    assert found.labels == ["blue", "blue", "red", "red"]
    assert found.pixels.shape == (4, 3, 4, 6)
    assert found.pixels[:, :, 0, 0].tolist() == [[0, 0, 255]] * 2 + [[255, 0, 0]] * 2
    assert images.load({"train": spec}, only=("red",))["train"].labels == ["red", "red"]
    with pytest.raises(TaskError, match=r"only_classes: no split has the class 'green'\. There are blue, red"):
        images.load({"train": spec}, only=("red", "green"))


def test_a_list_names_pictures_and_classes(folder: Path) -> None:
    spec = {"path": str(folder), "format": "image-folder", "listed_in": "list.txt", "label": 2}
    assert images.load({"train": spec})["train"].labels == ["warm", "cold"]
    assert images.load({"train": {**spec, "label": "label"}})["train"].labels == ["red", "blue"]
    with pytest.raises(TaskError, match="line 1: 3 columns, column 3 is asked for"):
        images.load({"train": {**spec, "label": 3}})
    with pytest.raises(TaskError, match="cannot be read as text"):
        images.load({"train": {**spec, "listed_in": "none.txt"}})


def test_folders_that_do_not_fit_are_said(folder: Path) -> None:
    spec = {"path": str(folder), "format": "image-folder", "label": "label"}
    with pytest.raises(TaskError, match="is no folder"):
        images.load({"train": {**spec, "folder": "none"}})
    with pytest.raises(TaskError, match="is in no subfolder"):
        images.load({"train": {**spec, "folder": "red"}})
    Image.new("RGB", (5, 5)).save(folder / "red" / "3.png")
    with pytest.raises(TaskError, match=r"another size than the pictures before it\. Set hyperparameters\.image_size"):
        images.load({"train": spec})
    assert images.load({"train": spec}, size=4)["train"].pixels.shape == (5, 3, 4, 4)
    (folder / "red" / "0.png").write_bytes(b"no picture")
    with pytest.raises(TaskError, match="is no picture"):
        images.load({"train": spec})


def test_pictures_too_large_for_pillow_are_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6)
    with pytest.raises(TaskError, match="is no picture: it has more pixels than Pillow opens"):
        images.load({"train": {"path": str(folder), "format": "image-folder", "label": "label"}})


def test_the_middle_is_cut_out_after_scaling(tmp_path: Path) -> None:
    pixels = np.zeros((8, 16, 3), dtype=np.uint8)
    pixels[:, 4:12] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert images.opened(tmp_path / "wide.png", 8).unique().tolist() == [200]
    assert images.opened(tmp_path / "wide.png", 4).shape == (3, 4, 4)


def test_what_is_transparent_shows_white(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[:2] = (10, 20, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    top, bottom = images.opened(tmp_path / "clear.png").split(2, dim=1)
    assert top[:, 0, 0].tolist() == [10, 20, 30]
    assert bottom.unique().tolist() == [255]


def test_a_class_of_another_split_must_be_known() -> None:
    test = images.Pictures(torch.zeros(1, 1, 2, 2), ["coat"])
    with pytest.raises(TaskError, match="has the class 'coat', which no training example has"):
        test.numbers("test", ["shirt", "shoe"])
    with pytest.raises(TaskError, match="only class 'coat'"):
        images.classes_of(test)


def test_classes_are_in_the_order_of_their_names() -> None:
    train = images.Pictures(torch.zeros(3, 1, 2, 2), ["b", "a", "c"])
    assert images.classes_of(train) == ["a", "b", "c"]
    assert images.classes_of(train, ("c", "d", "b", "a")) == ["c", "b", "a"]


def test_statistics_are_those_of_all_pixels() -> None:
    pixels = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, deviation = images.statistics(pixels)
    values = pixels.double().permute(1, 0, 2, 3).flatten(1)
    torch.testing.assert_close(torch.tensor(mean, dtype=torch.float64), values.mean(dim=1), rtol=1e-6, atol=0)
    torch.testing.assert_close(
        torch.tensor(deviation, dtype=torch.float64), values.std(dim=1, correction=0), rtol=1e-6, atol=0
    )
    scaled = images.scaled(pixels, mean, deviation)
    assert abs(scaled.mean().item()) < 1e-5
    assert scaled.is_contiguous(memory_format=torch.channels_last)


def test_augmentation_depends_on_seed_epoch_and_example_alone() -> None:
    pixels = torch.arange(1, 1 + 6 * 9, dtype=torch.uint8).reshape(6, 1, 3, 3)
    first = images.Augmentation(6, padding=1, flip=True, seed=4)
    again = images.Augmentation(6, padding=1, flip=True, seed=4)
    whole = first(pixels, [0, 1, 2, 3, 4, 5])
    assert torch.equal(torch.cat([again(pixels, [5, 2]), again(pixels, [0])]), whole[[5, 2, 0]])
    first.begin(1)
    assert not torch.equal(first(pixels, [0, 1, 2, 3, 4, 5]), whole)
    padded = torch.nn.functional.pad(pixels, (1, 1, 1, 1))
    for example, found in enumerate(whole):
        windows = [padded[example, :, top : top + 3, left : left + 3] for top in range(3) for left in range(3)]
        assert any(torch.equal(found, window) or torch.equal(found, window.flip(2)) for window in windows)


def test_augmentation_can_do_nothing() -> None:
    pixels = torch.arange(8, dtype=torch.uint8).reshape(2, 1, 2, 2)
    assert torch.equal(images.Augmentation(2, padding=0, flip=False, seed=1)(pixels, [1, 0]), pixels[[1, 0]])


def test_a_grid_has_its_pictures_in_rows(tmp_path: Path) -> None:
    pixels = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 1, 2, 2)
    path = images.save_grid(pixels, 2, tmp_path / "grid.png")
    assert np.array(Image.open(path)).tolist() == [[0, 0, 1, 1]] * 2 + [[2, 2, 0, 0]] * 2
    assert images.as_bytes(torch.tensor([-3.0, 1.6, 300.0])).tolist() == [0, 2, 255]
