"""Detection: VOC's boxes, the detector's parts against their definitions, average precision against brute force."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

from repro_tui.tasks import object_detection
from repro_tui.tasks.common import coco, efficientnet, fcos, job, scenes, voc
from repro_tui.tasks.common.boxes import Detections, generalised_iou, overlap, suppress
from repro_tui.tasks.common.detr import Detr
from repro_tui.tasks.common.job import TaskError

CLASSES = ["dark", "light"]


def write_voc(root: Path, names: list[str], *, side: int = 64) -> dict[str, Any]:
    """Write grey pictures with one dark or light square each, and return the split that lists them."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        left, top = 4 + 8 * (number % 4), 8
        pixels = np.full((side, side, 3), 128, dtype=np.uint8)
        pixels[top : top + 24, left : left + 24] = 255 * (number % 2)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
        box = {"xmin": left + 1, "ymin": top + 1, "xmax": left + 24, "ymax": top + 24}
        inside = "".join(f"<{key}>{value}</{key}>" for key, value in box.items())
        (root / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><object><name>{CLASSES[number % 2]}</name><difficult>0</difficult>"
            f"<bndbox>{inside}</bndbox></object></annotation>"
        )
    (root / "ImageSets" / "Main" / f"{names[0]}.txt").write_text("".join(f"{name}\n" for name in names))
    return {"path": str(root.parent), "folder": root.name, "format": "voc",
            "listed_in": f"{root.name}/ImageSets/Main/{names[0]}.txt", "examples": len(names)}  # fmt: skip


@pytest.fixture
def splits(tmp_path: Path) -> dict[str, Any]:
    root = tmp_path / "VOC"
    return {"train": write_voc(root, ["a", "b", "c", "d"]), "test": write_voc(root, ["e", "f"])}


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    folder = tmp_path / "backbone"
    folder.mkdir()
    torch.manual_seed(0)
    torch.save(efficientnet.EfficientNetLite0().state_dict(), folder / "weights.pth")
    return folder


@pytest.fixture
def start(
    tmp_path: Path, splits: dict[str, Any], monkeypatch: pytest.MonkeyPatch, events: Callable[..., list[dict[str, Any]]]
) -> Callable[..., tuple[int, list[dict[str, Any]], Path]]:
    def run(model: Path, **hyperparameters: Any) -> tuple[int, list[dict[str, Any]], Path]:
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        out.mkdir()
        defaults = {field.name: field.default for field in dataclasses.fields(object_detection.Settings)}
        given = {"epochs": 1, "train_batch_size": 2, "head_channels": 8, "head_depth": 1, "flip": True}
        body = {
            "model": str(model), "seed": 1, "level": "bitwise", "threads": 1, "out": str(out), "splits": splits,
            "hyperparameters": defaults | given | hyperparameters,
        }  # fmt: skip
        (out / "job.json").write_text(json.dumps(body))
        monkeypatch.setenv("REPRO_JOB", str(out / "job.json"))
        before = len(events())
        return job.run(object_detection.main), events()[before:], out

    return run


def test_a_run_tells_everything_and_repeats_to_the_bit(
    start: Callable[..., tuple[int, list[dict[str, Any]], Path]], backbone: Path
) -> None:
    (code, told, out), (_, again, _) = (start(backbone, score_threshold=0.0, max_detections=3) for _ in range(2))
    assert code == 0
    outputs = [(event["name"], event["sha256"]) for event in told if event["event"] == "output"]
    assert outputs == [(event["name"], event["sha256"]) for event in again if event["event"] == "output"]
    assert [name for name, _ in outputs] == list(object_detection.OUTPUTS)
    metrics = [(event["name"], event.get("class")) for event in told if event["event"] == "metric"]
    assert metrics == [(name, kind) for kind in (None, *CLASSES) for name in object_detection.METRICS]
    results = json.loads((out / "predictions.json").read_text())
    assert {result["image_id"] for result in results} == {1, 2}
    assert len(results) == 6
    assert {result["category_id"] for result in results} <= {1, 2}
    assert json.loads((out / "config.json").read_text())["classes"] == CLASSES


def test_a_detr_checkpoint_is_trained_with_a_new_classifier(
    start: Callable[..., tuple[int, list[dict[str, Any]], Path]], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic", out_features=["stage4"]
    )
    config = DetrConfig(
        backbone_config=backbone, num_queries=5, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16,
        decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2, num_labels=7,
    )  # fmt: skip
    DetrForObjectDetection(config).save_pretrained(tmp_path / "detr")
    code, told, out = start(tmp_path / "detr", architecture="detr")
    assert code == 0
    assert len([event for event in told if event["event"] == "step"]) == 2
    assert len(json.loads((out / "predictions.json").read_text())) == 10  # a query each
    model = Detr(tmp_path / "detr", CLASSES)
    assert model.network.class_labels_classifier.out_features == 3
    (tmp_path / "detr" / "config.json").write_text('{"model_type": "deformable_detr"}')
    with pytest.raises(TaskError, match="deformable_detr"):
        Detr(tmp_path / "detr", CLASSES)


# --- Pascal VOC -------------------------------------------------------------------------------------------------------


def test_boxes_count_from_one_and_include_their_last_pixel(splits: dict[str, Any]) -> None:
    spec = {**splits["train"], "classes": {"dark": 2, "light": 2}}
    first = voc.load({"train": spec}, longest=None)["train"][0]
    (left, top, right, bottom) = first.boxes[0].tolist()
    assert (left, top, right, bottom) == (4, 8, 28, 32)  # xmin 5, ymin 9, xmax 28, ymax 32: 24 pixels a side
    inside = first.pixels[:, int(top) : int(bottom), int(left) : int(right)]
    assert inside.float().mean() < 20  # all of the dark square
    assert first.pixels[:, :, int(right) + 1 :].float().mean() > 120


def test_boxes_follow_the_picture_when_it_is_scaled_and_mirrored(splits: dict[str, Any]) -> None:
    small = voc.load({"train": splits["train"]}, longest=32)["train"][0]
    assert small.pixels.shape == (3, 32, 32)
    boxes = object_detection.scaled_boxes(small)
    assert boxes.tolist() == [[2, 4, 14, 16]]
    assert object_detection.mirrored(boxes, 2, 32).tolist() == [[18, 4, 30, 16]]
    assert object_detection.mirrored(boxes, 1, 32).tolist() == [[2, 16, 14, 28]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"folder": "gone"}, "holds no folder Annotations"),
        ({"listed_in": "VOC/gone.txt"}, "cannot be read as text"),
        ({"examples": 5}, "4 examples, 5 are pinned"),
        ({"classes": {"dark": 3, "light": 2}}, "another class balance: dark 2"),
        ({"format": "tsv"}, "'tsv' is not one this task reads"),
    ],
)
def test_splits_that_do_not_fit_are_told(splits: dict[str, Any], change: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=words):
        voc.load({"train": {**splits["train"], **change}}, longest=None)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("dark", "", "object 1 has no name"), ("<xmax>28", "<xmax>4", "an empty box"), ("</annotation>", "", "is no annota"),
     ("<xmin>5</xmin>", "", "is no annotation")],
)  # fmt: skip
def test_annotations_that_do_not_fit_are_told(splits: dict[str, Any], old: str, new: str, words: str) -> None:
    path = Path(splits["train"]["path"]) / "VOC" / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(TaskError, match=words):
        voc.load({"train": splits["train"]}, longest=None)


# --- the detector -----------------------------------------------------------------------------------------------------


def test_the_detector_has_the_layers_of_its_definition() -> None:
    with torch.device("meta"):
        model = fcos.Fcos(3, channels=16, depth=2, score_threshold=0.3, nms_iou=0.6, most=10)
    backbone = 4_652_008 - (1281 * 1000 + 320 * 1280 + 2 * 1280)  # without the classifier and the layer before it
    lateral = sum(16 * (inputs + 1) for inputs in (40, 112, 320))
    smooth = 3 * (16 * 16 * 9 + 16)
    towers = 2 * 2 * (16 * 16 * 9 + 2 * 16)  # two of two layers, each a convolution and its norm
    outputs = (3 + 4 + 1) * (16 * 9 + 1)  # classes, sides, centre-ness
    factors = 3  # one a map
    assert size(model) == backbone + lateral + smooth + towers + outputs + factors


def test_detr_has_the_parameters_of_its_paper() -> None:
    config = DetrConfig(backbone_config=ResNetConfig(out_features=["stage4"]), num_labels=91)
    with torch.device("meta"):
        model = DetrForObjectDetection(config)
    assert size(model) == 41_524_768  # as facebook/detr-resnet-50; batch norms are frozen and count as no parameters
    stem_and_first_stage = 64 * 3 * 49 + 3 * (64 * 64 * 9 + 64 * 256) + 64 * 64 + 2 * 256 * 64 + 64 * 256
    assert size(model) - stem_and_first_stage == 41_302_368  # what the authors' code counts: it does not train those


def size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_overlaps_by_hand() -> None:
    one, other = torch.tensor([0.0, 0, 2, 2]), torch.tensor([1.0, 1, 3, 3])
    intersection, union = overlap(one, other)
    assert (intersection.item(), union.item()) == (1, 7)
    assert generalised_iou(one, other).item() == pytest.approx(1 / 7 - 2 / 9)
    assert generalised_iou(one, one + 10).item() == pytest.approx(0 - (144 - 8) / 144)


def test_suppression_is_that_of_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(60, 2, generator=generator) * 20
    boxes = torch.cat((corners, corners + 5 + torch.rand(60, 2, generator=generator) * 5), dim=1)
    found = Detections(boxes, torch.rand(60, generator=generator), torch.arange(60) % 2)
    kept: list[int] = []
    for index in sorted(range(60), key=lambda index: -found.scores[index].item()):
        rivals = [other for other in kept if found.classes[other] == found.classes[index]]
        if all(iou_of(boxes[index].tolist(), boxes[other].tolist()) <= 0.4 for other in rivals):
            kept.append(index)
    left = suppress(found, iou=0.4, most=100)
    assert left.boxes.tolist() == boxes[kept].tolist()
    assert 5 < len(kept) < 50
    assert suppress(found, iou=0.4, most=3).scores.tolist() == found.scores[kept[:3]].tolist()


def iou_of(one: list[float], other: list[float]) -> float:
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def test_places_belong_to_the_smallest_object_around_them_on_the_map_of_its_size() -> None:
    places = torch.cat(
        [fcos.grid_of(128 // stride, 128 // stride, stride, torch.device("cpu")) for stride in fcos.STRIDES]
    )
    levels = torch.cat([torch.full(((128 // stride) ** 2,), number) for number, stride in enumerate(fcos.STRIDES)])
    boxes = torch.tensor([[[0.0, 0, 128, 128], [40, 40, 80, 80], [0, 0, 0, 0]]])
    classes, target = fcos.assign(places, levels, boxes, torch.tensor([[0, 1, -1]]))
    found = classes[0] == 1
    assert set(levels[found].tolist()) == {0}  # 40 pixels: sides less than 64 pixels away
    assert (places[found] - 60).abs().max() < 12  # 1.5 strides around its centre
    assert target[0, found].unique(dim=0).tolist() == [[40, 40, 80, 80]]
    large = classes[0] == 0
    assert set(levels[large].tolist()) == {1}  # from 64 to 128 pixels
    assert (classes[0][levels == 2] == -1).all()


def test_centreness_and_focal_loss_by_hand() -> None:
    box = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4]])
    assert fcos.centreness_of(torch.tensor([[2.0, 2], [1, 2]]), box).tolist() == pytest.approx([1, (1 / 3) ** 0.5])
    half = torch.zeros(2)  # probability 0.5, cross-entropy ln 2
    expected = [0.25 * 0.25 * np.log(2), 0.75 * 0.25 * np.log(2)]
    assert fcos.focal_loss(half, torch.tensor([1.0, 0.0])).tolist() == pytest.approx(expected)


def test_a_perfect_output_decodes_to_the_objects_and_costs_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fcos.Fcos(2, channels=8, depth=1, score_threshold=0.3, nms_iou=0.6, most=10)
    boxes, classes = torch.tensor([[[8.0, 8, 40, 40], [20, 30, 60, 62]]]), torch.tensor([[1, 0]])
    places = torch.cat(
        [fcos.grid_of(64 // stride, 64 // stride, stride, torch.device("cpu")) for stride in fcos.STRIDES]
    )
    levels = torch.cat([torch.full(((64 // stride) ** 2,), number) for number, stride in enumerate(fcos.STRIDES)])
    wanted, target = fcos.assign(places, levels, boxes, classes)
    near = torch.where(wanted >= 0, fcos.centreness_of(places, target[0])[None], 0.0)
    logits = torch.full((1, len(places), 2), -20.0)
    for place in torch.nonzero(wanted[0] >= 0).flatten():
        logits[0, place, wanted[0, place]] = 20.0
    monkeypatch.setattr(model, "heads", lambda _: (logits, target, torch.logit(near, 1e-4), places, levels))
    assert model.loss({"pixels": torch.zeros(1), "boxes": boxes, "classes": classes}).item() < 0.7  # entropy of `near`
    (found,) = model(torch.zeros(1), torch.tensor([[64.0, 64.0]]))
    order = found.classes.argsort()
    assert found.boxes[order].tolist() == [[20, 30, 60, 62], [8, 8, 40, 40]]


def test_pictures_of_several_sizes_make_one_batch() -> None:
    pictures = [torch.full((3, 20, 40), 127, dtype=torch.uint8), torch.full((3, 33, 8), 255, dtype=torch.uint8)]
    batch = scenes.batched(pictures, ((127.0,) * 3, (128.0,) * 3), 32)
    assert batch.shape == (2, 3, 64, 64)
    assert batch[1, :, :33, :8].unique().tolist() == [1.0]
    assert batch.count_nonzero() == 3 * 33 * 8


# --- average precision ------------------------------------------------------------------------------------------------


def brute_force(objects: list[dict[str, Any]], results: list[dict[str, Any]], number: int, threshold: float) -> float:
    """Return the average precision of one class as COCO's paper has it: 101 recalls, the best precision from there."""

    def corners(each: dict[str, Any]) -> list[float]:
        left, top, width, height = each["bbox"]
        return [left, top, left + width, top + height]

    wanted = [each for each in objects if each["category_id"] == number]
    taken: set[int] = set()
    hits = []
    for each in sorted((each for each in results if each["category_id"] == number), key=lambda each: -each["score"]):
        free = [i for i, other in enumerate(wanted) if other["image_id"] == each["image_id"] and i not in taken]
        best = max(free, key=lambda i: iou_of(corners(each), corners(wanted[i])), default=None)
        hit = best is not None and iou_of(corners(each), corners(wanted[best])) >= threshold
        if hit and best is not None:
            taken.add(best)
        hits.append(hit)
    points = [(sum(hits[: i + 1]) / len(wanted), sum(hits[: i + 1]) / (i + 1)) for i in range(len(hits))]
    recalls = [step / 100 for step in range(101)]
    return sum(max((p for r, p in points if r >= recall), default=0.0) for recall in recalls) / 101


def test_average_precision_of_two_images_by_hand() -> None:
    objects = [coco.truth(image, 1, (0, 0, 10, 10), left_out=False) for image in (1, 2)]
    results = [
        coco.result(1, 1, (0, 0, 10, 10), 0.9),  # IoU 1
        coco.result(2, 1, (20, 20, 30, 30), 0.8),  # wrong
        coco.result(2, 1, (0, 0, 10, 6), 0.7),  # IoU 0.6: right up to that threshold
    ]
    scores = coco.average_precision([1, 2], objects, results, {1: "it"})
    # recall 0.5 with precision 1, then recall 1 with precision 2/3: 51 of the 101 recalls, and 50
    half, whole = 51 / 101, (51 + 50 * 2 / 3) / 101
    assert scores.values["ap50"] == pytest.approx(whole)
    assert scores.values["ap75"] == pytest.approx(half)
    assert scores.values["map"] == pytest.approx((3 * whole + 7 * half) / 10)  # 0.50, 0.55 and 0.60
    assert scores.per_class == {"it": scores.values}


def test_average_precision_is_that_of_its_definition() -> None:
    random = np.random.default_rng(0)

    def boxes(image: int, count: int) -> list[tuple[int, int, list[float]]]:
        corners = random.uniform(0, 20, (count, 2)).tolist()
        return [(image, 1 + i % 2, [x, y, x + 12, y + 12]) for i, (x, y) in enumerate(corners)]

    objects = [coco.truth(i, c, box, left_out=False) for image in range(1, 4) for i, c, box in boxes(image, 6)]
    results = [
        coco.result(i, c, box, float(random.uniform())) for image in range(1, 4) for i, c, box in boxes(image, 12)
    ]
    scores = coco.average_precision([1, 2, 3], objects, results, {1: "a", 2: "b"})
    for number, name in ((1, "a"), (2, "b")):
        for metric, threshold in (("ap50", 0.5), ("ap75", 0.75)):
            expected = brute_force(objects, results, number, threshold)
            assert scores.per_class[name][metric] == pytest.approx(expected)
    assert 0 < scores.values["ap50"] < 1


def test_what_is_left_out_is_neither_missed_nor_wrong_and_nothing_found_is_zero(
    capsys: pytest.CaptureFixture[str],
) -> None:
    objects = [coco.truth(1, 1, (0, 0, 10, 10), left_out=False), coco.truth(1, 1, (20, 20, 30, 30), left_out=True)]
    right = coco.result(1, 1, (0, 0, 10, 10), 0.5)
    assert coco.average_precision([1], objects, [right], {1: "it", 2: "no object"}).values["map"] == pytest.approx(1)
    on_it = coco.result(1, 1, (20, 20, 30, 30), 0.9)
    assert coco.average_precision([1], objects, [right, on_it], {1: "it"}).values["map"] == pytest.approx(1)
    assert coco.average_precision([1], objects, [], {1: "it"}).values == {"map": 0, "ap50": 0, "ap75": 0}
    assert capsys.readouterr().out == ""
