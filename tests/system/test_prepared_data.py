"""Data that are prepared once: a stage that cleans and draws is taken from the store until what it depends on changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from repro_tui.artifacts.store import remove_tree
from repro_tui.manifest.trees import tree_digest, tree_files
from tests.system.lab import PRELUDE, Lab, Manifest, Result, clone_store, sha256

TEXTS = """text\tlabel
 a fine film \tgood
a fine film\tgood
what a bore\tbad
a dull film\tbad
fine and moving\tgood
\tbad
so dull a bore\tbad
moving\tgood
a fine day\tgood
dull, dull\tbad
"""
PREPARE = """
import hashlib
splits = json.loads(Path(os.environ["REPRO_JOB"]).read_text())["splits"]
whole, part = splits["train"], splits["test"]
rows = [line.split("\\t") for line in Path(whole["path"]).read_text().splitlines()[1:]]
for step in whole["clean"]:
    if step == "strip":
        rows = [[text.strip(), label] for text, label in rows]
    elif step == "drop-empty":
        rows = [[text, label] for text, label in rows if text]
    elif step == "drop-duplicates":
        rows = [row for index, row in enumerate(rows) if row not in rows[:index]]
order = sorted(range(len(rows)), key=lambda index: hashlib.sha256(f"{part['seed']}:{index}".encode()).digest())
drawn = set(order[: int(part["fraction"] * len(rows))])
tell("phase", phase="evaluate")
for name, chosen in (("train", [i for i in range(len(rows)) if i not in drawn]), ("test", sorted(drawn))):
    lines = [json.dumps({"text": rows[index][0], "label": rows[index][1]}) + "\\n" for index in chosen]
    (OUT / f"{name}.jsonl").write_text("".join(lines))
    tell("output", name=name, path=f"{name}.jsonl")
    tell("metric", name="examples", value=len(lines), split=name)
"""
TRAIN = """
splits = json.loads(Path(os.environ["REPRO_JOB"]).read_text())["splits"]
train, test = ([json.loads(line) for line in open(splits[name]["path"])] for name in ("train", "test"))
rate, weights = float(sys.argv[1]), {}
tell("phase", phase="train")
for step, row in enumerate(train, 1):
    for word in row["text"].split():
        weights[word] = weights.get(word, 0.0) + (rate if row["label"] == "good" else -rate)
    tell("step", step=step, total=len(train), loss=1 / step)
(OUT / "weights.json").write_text(json.dumps(weights, sort_keys=True))
tell("output", name="weights", path="weights.json")
tell("phase", phase="evaluate")
tell("metric", name="examples", value=len(test), split="test")
"""


@pytest.fixture
def prepared(lab: Lab, tmp_path: Path) -> Iterator[Lab]:
    """Return an experiment that prepares texts in its first stage, and learns from them in its second."""
    lab.script(TRAIN)
    code = lab.folder / "preparing/prepare.py"
    code.parent.mkdir()
    code.write_text(PRELUDE + PREPARE, encoding="utf-8")
    (lab.folder / "texts.tsv").write_text(TEXTS, encoding="utf-8")
    lab.manifest["artifacts"] = [
        lab.artifact("code"),
        {"name": "preparing", "kind": "code", "path": "preparing", "tree_sha256": tree_digest(tree_files(code.parent)),
         "bytes": code.stat().st_size, "sources": [{"type": "local", "path": "preparing"}]},
        {"name": "texts", "kind": "data", "path": "texts.tsv", "sources": [{"type": "local", "path": "texts.tsv"}]},
    ]  # fmt: skip
    pin_texts(lab)
    for key in ("task", "splits", "hyperparameters"):
        lab.manifest.pop(key, None)
    lab.manifest["stage"] = [
        {
            "name": "prepare",
            "task": {"command": ["python3", "prepare.py"], "code": "preparing"},
            "splits": {
                "train": {"artifact": "texts", "clean": ["strip", "drop-empty", "drop-duplicates"]},
                "test": {"part_of": "train", "fraction": 0.5, "seed": 1},
            },
        },
        {
            "name": "train",
            "needs": ["prepare"],
            "task": {"command": ["python3", "train.py", "{rate}"], "code": "code"},
            "splits": {
                name: {"stage": "prepare", "file": f"{name}.jsonl", "format": "jsonl"} for name in ("train", "test")
            },
            "hyperparameters": {"rate": 0.5},
        },
    ]
    lab.manifest["expected"] = {
        "metrics": [{"name": "examples", "stage": stage, "value": 4, "absolute": 0.0} for stage in ("prepare", "train")]
    }
    lab.store = clone_store(lab.store, tmp_path / "store")
    yield lab
    remove_tree(lab.store)


def pin_texts(lab: Lab) -> None:
    """Pin the texts as they are now."""
    path = lab.folder / "texts.tsv"
    lab.artifact("texts").update(sha256=sha256(path), bytes=path.stat().st_size)


def preparation(done: Result) -> tuple[str, str]:
    """Return what became of the first stage, and the digest of the folder that it handed on."""
    stage = next(each for each in done.report["stages"] if each["name"] == "prepare")
    return stage["status"], stage["tree_sha256"]


def weights(done: Result) -> str:
    """Return the digest of what was learnt."""
    assert done.run is not None
    return sha256(done.run / "out/train/weights.json")


def test_texts_are_prepared_once_for_all_that_is_learnt_from_them(prepared: Lab) -> None:
    first = prepared.run().expect(0, "REPRODUCED")
    status, texts = preparation(first)
    assert status == "passed"

    again = prepared.run().expect(0, "REPRODUCED")
    assert preparation(again) == ("cached", texts)
    assert weights(again) == weights(first)

    def faster(manifest: Manifest) -> None:
        manifest["stage"][1]["hyperparameters"]["rate"] = 0.25

    other = prepared.run(change=faster).expect(0, "REPRODUCED")
    assert preparation(other) == ("cached", texts), "it depends on no hyperparameter of the training"
    assert weights(other) != weights(first)

    script = prepared.folder / "code/train.py"
    script.write_text(script.read_text() + "print('the end')\n")
    prepared.repin_code()
    assert preparation(prepared.run().expect(0, "REPRODUCED")) == ("cached", texts), "nor on the code of the training"


def test_another_draw_cleaning_or_text_prepares_them_again(prepared: Lab) -> None:
    first = prepared.run().expect(0, "REPRODUCED")
    _, texts = preparation(first)

    def draw(manifest: Manifest) -> None:
        manifest["stage"][0]["splits"]["test"]["seed"] = 2

    drawn = prepared.run(change=draw).expect(0, "REPRODUCED")
    status, other = preparation(drawn)
    assert status == "passed"
    assert other != texts
    assert weights(drawn) != weights(first), "what is learnt is learnt from the other texts"

    def keep_empty(manifest: Manifest) -> None:
        manifest["stage"][0]["splits"]["train"]["clean"].remove("drop-empty")

    cleaned = prepared.run(change=keep_empty)
    status, other = preparation(cleaned)
    assert status == "passed"
    assert other != texts

    assert preparation(prepared.run(change=draw).expect(0, "REPRODUCED"))[0] == "cached", "each is kept by its own"
    assert preparation(prepared.run().expect(0, "REPRODUCED")) == ("cached", texts)

    path = prepared.folder / "texts.tsv"
    path.write_text(path.read_text().replace("moving", "boring"))
    pin_texts(prepared)
    status, other = preparation(prepared.run().expect(0, "REPRODUCED"))
    assert status == "passed"
    assert other != texts
