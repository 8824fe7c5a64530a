"""Segmentation: masks as they are read, metrics by hand and against torchmetrics, both kinds of network."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from repro_tui.tasks import semantic_segmentation
from repro_tui.tasks.common import efficientnet, job, masks
from repro_tui.tasks.common.job import TaskError
from repro_tui.tasks.common.segmenters import PanopticFpn

NAMES = ("ground", "thing")


def write_scenes(folder: Path, name: str, count: int, *, size: tuple[int, int] = (48, 64)) -> dict[str, Any]:
    """Write pictures of a bright thing on dark ground, whose first row has no class, and return the split."""
    for part in (name, f"{name}annot"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        mask = np.zeros(size, dtype=np.uint8)
        mask[8 : 8 + 24, 4 * number : 4 * number + 24] = 1
        pixels = np.repeat(np.where(mask == 1, 220, 40).astype(np.uint8)[:, :, None], 3, axis=2)
        mask[0] = 11
        Image.fromarray(pixels).save(folder / name / f"{number:02}.png")
        Image.fromarray(mask).save(folder / f"{name}annot" / f"{number:02}.png")
    return {"path": str(folder), "folder": name, "label": f"{name}annot", "format": "image-masks", "examples": count}


@pytest.fixture
def splits(tmp_path: Path) -> dict[str, Any]:
    return {name: write_scenes(tmp_path / "scenes", name, count) for name, count in (("train", 4), ("test", 2))}


@pytest.fixture
def start(
    tmp_path: Path, splits: dict[str, Any], monkeypatch: pytest.MonkeyPatch, events: Callable[..., list[dict[str, Any]]]
) -> Callable[..., tuple[int, list[dict[str, Any]], Path]]:
    def run(model: Path, **hyperparameters: Any) -> tuple[int, list[dict[str, Any]], Path]:
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        out.mkdir()
        defaults = {
            field.name: field.default
            for field in dataclasses.fields(semantic_segmentation.Settings)
            if field.default is not dataclasses.MISSING
        }
        given = {"epochs": 1, "train_batch_size": 2, "flip": True, "class_names": NAMES, "void_ids": [11]}
        body = {
            "model": str(model), "seed": 1, "level": "bitwise", "threads": 1, "out": str(out), "splits": splits,
            "hyperparameters": defaults | given | hyperparameters,
        }  # fmt: skip
        (out / "job.json").write_text(json.dumps(body))
        monkeypatch.setenv("REPRO_JOB", str(out / "job.json"))
        before = len(events())
        return job.run(semantic_segmentation.main), events()[before:], out

    return run


def test_a_run_learns_tells_everything_and_repeats_to_the_bit(
    start: Callable[..., tuple[int, list[dict[str, Any]], Path]], tmp_path: Path
) -> None:
    (tmp_path / "backbone").mkdir()
    torch.manual_seed(0)
    torch.save(efficientnet.EfficientNetLite0().state_dict(), tmp_path / "backbone" / "weights.pth")
    given = {"decoder_channels": 8, "image_size": 32, "learning_rate": 0.01, "epochs": 6}
    (code, told, out), (_, again, _) = (
        start(tmp_path / "backbone", **given, class_weighting="median-frequency") for _ in range(2)
    )
    assert code == 0
    outputs = [(event["name"], event["sha256"]) for event in told if event["event"] == "output"]
    assert outputs == [(event["name"], event["sha256"]) for event in again if event["event"] == "output"]
    assert [name for name, _ in outputs] == list(semantic_segmentation.OUTPUTS)
    metrics = {(e["name"], e.get("class")): e["value"] for e in told if e["event"] == "metric"}
    assert list(metrics) == [
        *((name, None) for name in semantic_segmentation.METRICS), ("iou", "ground"), ("iou", "thing"),
    ]  # fmt: skip
    losses = [event["loss"] for event in told if event["event"] == "step"]
    assert losses[-1] < losses[0]
    predicted = np.load(out / "predictions.npz")
    assert sorted(predicted) == ["00", "01"]
    assert predicted["00"].shape == (48, 64)
    (table,) = (event for event in told if event["event"] == "table")
    assert sum(sum(row[1:]) for row in table["rows"]) == 2 * 47 * 64  # the row without a class is left out


def test_a_segformer_checkpoint_is_trained_with_a_new_classifier(
    start: Callable[..., tuple[int, list[dict[str, Any]], Path]], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 8, 8], num_attention_heads=[1, 1, 1, 1], decoder_hidden_size=8,
        mlp_ratios=[1, 1, 1, 1], num_labels=5,
    )  # fmt: skip
    SegformerForSemanticSegmentation(config).save_pretrained(tmp_path / "segformer")
    code, told, _ = start(tmp_path / "segformer", architecture="segformer")
    assert code == 0
    assert len([event for event in told if event["event"] == "step"]) == 2
    code, told, _ = start(tmp_path / "gone", architecture="segformer")
    assert code == 1
    assert "It needs config.json" in told[-1]["text"]


def test_the_network_has_the_layers_of_its_definition() -> None:
    model = PanopticFpn(3, channels=16, dropout=0.0)
    backbone = sum(parameter.numel() for parameter in model.pyramid.backbone.parameters())
    head = 1281 * 1000 + 320 * 1280 + 2 * 1280  # classifier, last convolution and its norm: not used here
    assert backbone == 4_652_008 - head
    lateral = sum(16 * (inputs + 1) for inputs in (24, 40, 112, 320))
    smooth = 4 * (16 * 16 * 9 + 16)
    branches = (1 + 1 + 2 + 3) * (16 * 16 * 9 + 2 * 16)
    assert sum(parameter.numel() for parameter in model.parameters()) - backbone == (
        lateral + smooth + branches + 3 * (16 + 1)
    )
    with torch.inference_mode():
        assert model.eval()(torch.zeros(1, 3, 64, 96)).shape == (1, 3, 16, 24)
    assert not model.train().pyramid.backbone.training  # its batch norms keep their statistics


def test_segformer_b0_has_the_parameters_of_its_checkpoint() -> None:
    with torch.device("meta"):
        model = SegformerForSemanticSegmentation(SegformerConfig(num_labels=150))
    # nvidia/segformer-b0-finetuned-ade-512-512
    assert sum(parameter.numel() for parameter in model.parameters()) == 3_752_694


def test_metrics_by_hand_and_by_torchmetrics() -> None:
    counts = torch.tensor([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    values, ious = semantic_segmentation.measured(counts)
    assert ious[:2] == [6 / 9, 3 / 6]
    assert np.isnan(ious[2])  # a class that is nowhere
    assert values["mean_iou"] == pytest.approx((6 / 9 + 3 / 6) / 2)
    assert values["pixel_accuracy"] == pytest.approx(9 / 12)
    assert values["mean_accuracy"] == pytest.approx((6 / 8 + 3 / 4) / 2)

    generator = torch.Generator().manual_seed(0)
    true, taken = (torch.randint(0, 4, (500,), generator=generator) for _ in range(2))
    pairs = torch.zeros(4, 4, dtype=torch.int64)
    for row, column in zip(true.tolist(), taken.tolist(), strict=True):
        pairs[row, column] += 1
    values, ious = semantic_segmentation.measured(pairs)
    assert ious == pytest.approx(MulticlassJaccardIndex(4, average="none")(taken, true).tolist())
    assert values["pixel_accuracy"] == pytest.approx(MulticlassAccuracy(4, average="micro")(taken, true).item())
    assert values["mean_accuracy"] == pytest.approx(MulticlassAccuracy(4, average="macro")(taken, true).item())


def test_logits_come_back_to_the_size_of_the_picture(tmp_path: Path) -> None:
    write_scenes(tmp_path, "train", 1, size=(90, 120))
    spec = {"path": str(tmp_path), "folder": "train", "label": "trainannot", "format": "image-masks"}
    scene = masks.load({"train": spec}, longest=60, classes=NAMES, void=(11,))["train"][0]
    assert scene.pixels.shape == (3, 45, 60)  # goes in padded to 64x64
    logits = torch.zeros(2, 16, 16)
    logits[0, :, :8] = logits[1, :, 8:] = 1.0  # columns from 32 of 64, so from 64 of 120 at full size
    (predicted,) = semantic_segmentation.full_size(logits[None], [scene], 32)
    assert predicted.shape == (90, 120)
    assert predicted[:, :64].max() == 0
    assert predicted[:, 64:].min() == 1


def test_pictures_of_several_sizes_come_back_from_one_batch() -> None:
    expected = []
    logits = torch.zeros(2, 2, 128, 128)  # of a batch that goes in padded to 512x512
    for each, (height, width) in zip(logits, ((384, 512), (512, 384)), strict=True):
        mask = torch.zeros(height, width, dtype=torch.uint8)
        mask[height // 2 :] = 1
        expected.append(masks.Scene("a", torch.zeros(3, height, width, dtype=torch.uint8), mask))
        each[1, : height // 4, : width // 4] = 2.0 * mask[::4, ::4] - 1.0
    found = semantic_segmentation.full_size(logits, expected, 32)
    for predicted, scene in zip(found, expected, strict=True):
        assert torch.equal(predicted, scene.mask)


def test_the_loss_is_the_mean_over_the_pixels_with_a_class() -> None:
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.arange(40).reshape(2, 4, 5) % 3
    labels[0, :2] = masks.VOID
    weights = torch.tensor([0.5, 1.0, 2.0])
    there = labels != masks.VOID
    costs = -logits.log_softmax(dim=1).permute(0, 2, 3, 1)[there].gather(1, labels[there][:, None])[:, 0]
    shares = weights[labels[there]]
    found = semantic_segmentation.pixel_loss(logits, labels, weights)
    assert found.item() == pytest.approx(((costs * shares).sum() / shares.sum()).item())
    assert semantic_segmentation.pixel_loss(logits, labels, None).item() == pytest.approx(costs.mean().item())


def test_a_batch_without_any_class_costs_and_moves_nothing() -> None:
    logits = torch.randn(1, 3, 4, 5, requires_grad=True)
    loss = semantic_segmentation.pixel_loss(logits, torch.full((1, 4, 5), masks.VOID), None)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_loss_has_a_deterministic_kernel_on_a_gpu() -> None:
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40).reshape(2, 4, 5) % 3
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(mode=True)
    try:
        found = semantic_segmentation.pixel_loss(logits.cuda(), labels.cuda(), None)
    finally:
        torch.use_deterministic_algorithms(mode=before)
    assert found.item() == pytest.approx(semantic_segmentation.pixel_loss(logits, labels, None).item())


def test_pixels_are_counted_by_true_and_predicted_class() -> None:
    true = torch.tensor([[0, 1, 2], [1, 255, 2]], dtype=torch.uint8)
    taken = torch.tensor([[0, 2, 2], [1, 1, 0]], dtype=torch.uint8)
    assert semantic_segmentation.confusion(true, taken, 3).tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 1]]
    assert not semantic_segmentation.confusion(torch.full_like(true, 255), taken, 3).any()


def test_pictures_may_be_named_like_parameters_of_numpys(
    tmp_path: Path, events: Callable[..., list[dict[str, Any]]]
) -> None:
    names = ["00", "file", "allow_pickle"]
    predicted = [torch.full((2, 3), number, dtype=torch.uint8) for number in range(3)]
    here = job.Job(
        model=None, seed=1, data_seed=1, level="bitwise", threads=1, device="cpu", hyperparameters={}, splits={},
        out=tmp_path,
    )  # fmt: skip
    semantic_segmentation.write_masks(here, names, predicted)
    found = np.load(tmp_path / "predictions.npz")
    assert [(name, found[name].max()) for name in found] == list(zip(names, range(3), strict=True))
    assert [event["name"] for event in events("output")] == ["predictions"]
    semantic_segmentation.write_masks(here, names[:1], predicted[:1])
    np.savez_compressed(tmp_path / "theirs.npz", **{"00": predicted[0].numpy()})
    assert (tmp_path / "predictions.npz").read_bytes() == (tmp_path / "theirs.npz").read_bytes()


def test_class_weights_are_median_over_frequency() -> None:
    one = masks.Scene("a", torch.zeros(3, 1, 4), torch.tensor([[0, 0, 0, 1]], dtype=torch.uint8))
    other = masks.Scene("b", torch.zeros(3, 1, 4), torch.tensor([[0, 0, 0, 255]], dtype=torch.uint8))
    # class 0 has 6 of 7 pixels in two pictures, class 1 has 1 of the 4 of the only picture it is in; class 2 is nowhere
    weights = semantic_segmentation.class_weights([one, other], 3)
    assert weights.tolist() == pytest.approx([(1 / 4) / (6 / 7), 1.0, 0.0])  # torch takes the lower of two medians


@pytest.mark.parametrize(
    ("change", "names", "words"),
    [
        ({"folder": "gone"}, NAMES, "gone is no folder"),
        ({"label": "label"}, NAMES, "`label` names the folder of the masks"),
        ({"targets": "/gone"}, NAMES, "`targets` names"),
        ({"listed_in": "gone.txt"}, NAMES, "cannot be read as text"),
        ({"folder": "test", "label": "trainannot", "examples": 3}, NAMES, "2 examples, 3 are pinned"),
        ({"folder": "train", "label": "testannot"}, NAMES, "has no mask in"),
        ({}, ("ground",), "has the class number 1, class_names has 1 names"),
        ({"classes": {"ground": 4, "thing": 3}}, NAMES, "another class balance: thing 4"),
        ({"format": "voc"}, NAMES, "'voc' is not one this task reads"),
    ],
)
def test_splits_that_do_not_fit_are_told(
    splits: dict[str, Any], change: dict[str, Any], names: tuple[str, ...], words: str
) -> None:
    with pytest.raises(TaskError, match=words):
        masks.load({"train": {**splits["train"], **change}}, longest=None, classes=names, void=(11,))


def test_a_mask_must_be_numbers_as_large_as_its_picture(splits: dict[str, Any]) -> None:
    path = Path(splits["train"]["path"]) / "trainannot" / "00.png"
    for wrong in (np.zeros((48, 63), dtype=np.uint8), np.zeros((48, 64, 3), dtype=np.uint8)):
        Image.fromarray(wrong).save(path)
        with pytest.raises(TaskError, match="no mask of 64x48 numbers"):
            masks.load({"train": splits["train"]}, longest=None, classes=NAMES, void=(11,))
    path.write_bytes(b"no picture")
    with pytest.raises(TaskError, match="is no picture"):
        masks.load({"train": splits["train"]}, longest=None, classes=NAMES, void=(11,))


def test_pictures_may_be_listed_and_masks_an_artifact_of_their_own(splits: dict[str, Any], tmp_path: Path) -> None:
    root = Path(splits["train"]["path"])
    (root / "some.txt").write_text("train/02.png mask\ntrain/00.png\n")
    spec = {**splits["train"], "targets": str(root / "trainannot"), "listed_in": "some.txt", "examples": 2}
    found = masks.load({"train": spec}, longest=None, classes=NAMES, void=(11,))["train"]
    assert [scene.name for scene in found] == ["02", "00"]
    assert sorted(found[0].mask.unique().tolist()) == [0, 1, masks.VOID]


@pytest.mark.parametrize("part", ["train", "trainannot"])
def test_two_files_of_one_name_are_told(splits: dict[str, Any], part: str) -> None:
    folder = Path(splits["train"]["path"]) / part
    with Image.open(folder / "01.png") as picture:
        picture.save(folder / "01.bmp")
    with pytest.raises(TaskError, match=f"{part}: 2 files are named '01'"):
        masks.load({"train": splits["train"]}, longest=None, classes=NAMES, void=(11,))


def test_the_number_of_no_class_is_no_classs(splits: dict[str, Any]) -> None:
    names = [f"class {number}" for number in range(256)]
    masks.load({"train": splits["train"]}, longest=None, classes=names[:255], void=())
    with pytest.raises(TaskError, match="256 names, 255 is the number of no class here"):
        masks.load({"train": splits["train"]}, longest=None, classes=names, void=())


@pytest.mark.parametrize("part", ["train", "trainannot"])
def test_pictures_too_large_for_pillow_are_told(
    splits: dict[str, Any], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (100, 100)).save(Path(splits["train"]["path"]) / part / "00.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 64)
    with pytest.raises(TaskError, match=f"{part}/00.png is no picture: it has more pixels than Pillow opens"):
        masks.load({"train": splits["train"]}, longest=None, classes=NAMES, void=(11,))
