"""The recorded experiment with its image out of a registry: the same environment hash, the same verdict."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.images.registry_lab import RealRegistry, start_registry
from tests.system.lab import Lab, Manifest, Result

UNKNOWN = "sha256:" + "0" * 64


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[tuple[RealRegistry, subprocess.Popen[bytes]]]:
    started = start_registry(tmp_path / "registry")
    yield started
    started[1].kill()
    started[1].wait()


def pushed(lab: Lab, registry: RealRegistry) -> str:
    """Push the experiment's image from the session's store; return its reference."""
    recipe = str(lab.folder / "images/small/image.toml")
    lock = str(lab.folder / "small.txt")
    target = f"{registry.host}/some/small:1"
    done = lab.command("image", "push", "small", target, "--recipe", recipe, "--lock", lock)
    assert done.code == 0, done
    return done.out.strip()


def pulled_only(reference: str, manifest: Manifest) -> None:
    manifest["image"] = {"reference": reference}
    for key in ("lock", "lock_sha256"):
        del manifest["environment"][key]


def notices(done: Result) -> list[str]:
    assert done.run is not None
    events = map(json.loads, (done.run / "events.jsonl").read_text().splitlines())
    return [event["message"] for event in events if event.get("type", event.get("kind")) == "notice"]


def test_a_pulled_image_reproduces_and_then_needs_no_registry(
    lab: Lab, registry: tuple[RealRegistry, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    reference = pushed(lab, registry[0])
    elsewhere = replace(lab, store=tmp_path / "elsewhere", mirrors=())
    done = elsewhere.run(change=lambda manifest: pulled_only(reference, manifest)).expect(0, "REPRODUCED")
    image = done.report["image"]
    assert (image["origin"], image["reference"], image["index_digest"]) == ("pulled", reference, "")
    assert image["manifest_digest"] == reference.partition("@")[2] == lab.manifest["image"]["manifest_digest"]
    assert done.checks["image reference"]["status"] == "match"
    assert done.checks["environment hash"]["observed"] == lab.manifest["environment"]["hash"]
    registry[1].kill()
    registry[1].wait()
    elsewhere.run("--offline", change=lambda manifest: pulled_only(reference, manifest)).expect(0, "REPRODUCED")


def test_where_it_cannot_be_pulled_it_is_assembled_and_must_be_the_pinned_one(lab: Lab, tmp_path: Path) -> None:
    lab = replace(lab, store=tmp_path / "elsewhere")  # the session's store has the image under its digest
    pin = lab.manifest["image"]["manifest_digest"]
    reference = f"127.0.0.1:9/small@{pin}"
    done = lab.run(change=lambda manifest: manifest["image"].update(reference=reference)).expect(0, "REPRODUCED")
    assert done.report["image"]["origin"] == "assembled"
    assert any(text.startswith("not pulled: 127.0.0.1:9 refuses") for text in notices(done))

    def another(manifest: Manifest) -> None:
        manifest["image"] = {"recipe": "small", "reference": f"127.0.0.1:9/small@{UNKNOWN}"}

    drifted = lab.run(change=another).expect(1, "ENVIRONMENT DRIFT")
    assert set(drifted.differing) == {"image reference"}


def test_an_image_that_is_no_longer_served_fails_with_the_way_out(
    lab: Lab, registry: tuple[RealRegistry, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    reference = f"{registry[0].host}/some/small@{UNKNOWN}"
    elsewhere = replace(lab, store=tmp_path / "elsewhere")
    done = elsewhere.run(change=lambda manifest: pulled_only(reference, manifest)).expect(3)
    assert "no longer served" in done.report["failure"]["message"]
    assert "image.recipe" in done.report["failure"]["hint"]
