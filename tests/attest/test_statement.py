from __future__ import annotations

import hashlib
import json

import pytest

from repro_tui.attest import signing, statement
from repro_tui.report.model import Report
from repro_tui.runs.directory import RunDirectory


def test_the_statement_names_what_it_is_about_by_digest(run: RunDirectory) -> None:
    report, payload = signing.payload(run)
    body = json.loads(payload)
    assert (body["_type"], body["predicateType"]) == (statement.STATEMENT_TYPE, statement.PREDICATE_TYPE)
    subjects = {subject["name"]: subject["digest"]["sha256"] for subject in body["subject"]}
    assert report.image is not None
    assert subjects == {
        "manifest.toml": hashlib.sha256(run.manifest.read_bytes()).hexdigest(),
        "report.json": hashlib.sha256(run.report.read_bytes()).hexdigest(),
        "record.json": hashlib.sha256(run.record.read_bytes()).hexdigest(),
        "image": report.image.manifest_digest.removeprefix("sha256:"),
        "out/weights.bin": hashlib.sha256(b"0.6000000000000001 7").hexdigest(),
    }
    said = body["predicate"]
    assert (said["verdict"], said["exit_code"], said["environment_hash"]) == ("REPRODUCED", 0, report.environment_hash)
    assert said["seeds"] == {"seed": 7}
    assert said["metrics"] == [{"name": "accuracy", "split": "test", "value": 0.6000000000000001}]
    (check,) = (check for check in said["checks"] if check["component"] == "metrics")
    assert (check["expected"], check["observed"], check["tolerance"]) == ("0.6", "0.6000000000000001", "± 0.001")
    assert said["hardware"] == {"cpu_vendor": "Acme", "cores": 2}
    assert said["run"]["version"] == report.run.version


def test_the_same_run_is_always_the_same_bytes(run: RunDirectory) -> None:
    assert signing.payload(run)[1] == signing.payload(RunDirectory(run.path.resolve()))[1]


def test_what_it_says_names_no_path_of_the_machine(run: RunDirectory) -> None:
    assert str(run.path.parent) not in signing.payload(run)[1].decode()


def test_the_seed_of_the_command_line_counts(run: RunDirectory) -> None:
    run.record.unlink()
    manifest = run.manifest.read_bytes()
    assert statement.seeds(run, manifest) == {"seed": 7}
    run.options.write_text('{"seed": 12}')
    assert statement.seeds(run, manifest) == {"seed": 12}
    for content in ("no JSON", "[]", "{}"):
        run.options.write_text(content)
        assert statement.seeds(run, manifest) == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "of the type 'https://in-toto.io/Statement/v0.1'"),
        ({"predicateType": "https://slsa.dev/provenance/v1"}, "of the type 'https://slsa.dev/provenance/v1'"),
        ({"subject": {}}, "incomplete: subject"),
        ({"predicate": {}}, "incomplete: predicate.verdict"),
        ({"predicate": None}, "incomplete: predicate"),
    ],
)
def test_another_statement_is_refused_by_its_type(run: RunDirectory, change: dict[str, object], said: str) -> None:
    value = {**json.loads(signing.payload(run)[1]), **change}
    with pytest.raises(statement.RefusedError) as caught:
        statement.read(json.dumps(value).encode())
    assert said in str(caught.value)


@pytest.mark.parametrize("payload", [b"", b"[]", b"\xff", b'{"_type": 1, "_type": 2}', b"[" * 100_000])
def test_a_payload_that_is_none_is_refused(payload: bytes) -> None:
    with pytest.raises(statement.RefusedError):
        statement.read(payload)


def test_a_series_names_the_reports_of_its_runs(run: RunDirectory) -> None:
    body = json.loads(run.report.read_bytes())
    seeds = [{"seed": seed, "run": f"seeds/{seed}", "verdict": "REPRODUCED"} for seed in (1, 2)]
    body["series"] = {"test": "every-seed", "confidence": 0.95, "at_once": 1, "seeds": seeds, "metrics": []}
    content = json.dumps(body).encode()
    for seed in (1, 2):
        (run.path / f"seeds/{seed}").mkdir(parents=True)
        (run.path / f"seeds/{seed}/report.json").write_text(str(seed))
    (run.path / "seeds/2/report.json").unlink()
    (run.path / "seeds/2/report.json").symlink_to("/etc/hostname")
    value = json.loads(statement.build(run, Report.model_validate(body), content))
    named = {subject["name"]: subject["digest"]["sha256"] for subject in value["subject"]}
    assert named["seeds/1/report.json"] == hashlib.sha256(b"1").hexdigest()
    assert "seeds/2/report.json" not in named
    assert [seed["seed"] for seed in value["predicate"]["series"]["seeds"]] == [1, 2]
