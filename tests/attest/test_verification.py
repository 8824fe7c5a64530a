"""Every way in which an attestation does not hold, and by which name it is refused."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope

from repro_tui.attest import envelope, keys, signing
from repro_tui.attest.files import UnreadableError
from repro_tui.attest.signing import NotSignedError
from repro_tui.attest.verification import Material, Trust, Verification, verify
from repro_tui.errors import UsageError
from repro_tui.runs.directory import RunDirectory
from tests.attest.keyring import Keyring, checked, no_passphrase, public_of, sign


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def refusal(result: Verification) -> tuple[str, str]:
    assert result.exit_code == 1
    assert result.word == "REFUSED"
    assert result.refused is not None
    return result.refused.name, result.refused.detail


def signed_as(run: RunDirectory, key: Path, payload: bytes, payload_type: str = envelope.PAYLOAD_TYPE) -> None:
    """Write an attestation of anything, signed as it should be."""
    signed = Envelope(payload, payload_type, {})
    signed.sign(keys.load_signer(key, no_passphrase))
    (run.path / envelope.FILE_NAME).write_text(envelope.render(signed))


def restated(run: RunDirectory, key: Path, alter: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(signing.payload(run)[1])
    alter(value)
    signed_as(run, key, json.dumps(value).encode())


def test_what_is_as_it_was_signed_is_verified(run: RunDirectory, keyring: Keyring) -> None:
    sign(run, keyring.pem())
    result = checked(run, public_of(keyring.pem()))
    assert (result.word, result.exit_code) == ("VERIFIED", 0)
    held = {finding.name for finding in result.findings if finding.status.value == "holds"}
    assert held >= {
        "signature", "statement", "report", "manifest", "verdict", "image", "environment hash", "events", "environment",
        "record", "output weights",
    }  # fmt: skip
    assert not [finding for finding in result.findings if finding.status.value == "not checked"]


def test_without_a_key_nothing_is_verified(run: RunDirectory, keyring: Keyring) -> None:
    sign(run, keyring.pem())
    result = checked(run)
    assert (result.word, result.exit_code) == ("NOT VERIFIED", 5)
    assert result.claimed == [keys.load_public(public_of(keyring.pem())).key_id[:16]]
    change(run.report, "REPRODUCED", "FAILED")
    assert refusal(checked(run))[0] == "report"


def test_a_wrong_key_is_named(run: RunDirectory, keyring: Keyring) -> None:
    sign(run, keyring.pem())
    name, detail = refusal(checked(run, public_of(keyring.pem("other"))))
    assert name == "signature"
    assert "not by" in detail
    assert keys.load_public(public_of(keyring.pem("other"))).key_id[:16] in detail
    assert keys.load_public(public_of(keyring.pem())).key_id[:16] in detail


def test_a_key_id_that_lies_is_refused(run: RunDirectory, keyring: Keyring) -> None:
    attestation = sign(run, keyring.pem())
    mine, other = (keys.load_public(public_of(keyring.pem(name))) for name in ("author", "other"))
    change(attestation, mine.key_id, other.key_id)
    assert "a wrong or an unknown key" in refusal(checked(run, mine.path))[1]
    assert "not over these bytes" in refusal(checked(run, other.path))[1]


def test_every_key_that_is_given_has_to_have_signed(run: RunDirectory, keyring: Keyring) -> None:
    author, reviewer = keyring.pem(), keyring.pem("reviewer")
    sign(run, author)
    assert refusal(checked(run, public_of(author), public_of(reviewer)))[0] == "signature"
    sign(run, reviewer)
    result = checked(run, public_of(author), public_of(reviewer))
    assert len(result.signed_by) == 2
    assert not result.claimed
    sign(run, reviewer)
    assert len(envelope.read(run.path / envelope.FILE_NAME).signatures) == 2


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda run: change(run.report, '"value": 0.6', '"value": 0.7'), "report"),
        (lambda run: change(run.report, "Acme", "Acne"), "report"),
        (lambda run: change(run.manifest, "A tiny", "A tidy"), "manifest"),
        (lambda run: change(run.events, '"verdict":', '"Verdict":'), "events"),
        (lambda run: change(run.metrics, "0.6", "0.7"), "events"),
        (lambda run: change(run.environment, "3.11.2", "3.11.3"), "environment"),
        (lambda run: change(run.record, '"rate": 0.1', '"rate": 0.2'), "record"),
        (lambda run: (run.out / "weights.bin").write_text("others"), "output weights"),
        (lambda run: (run.out / "weights.bin").write_bytes(b""), "output weights"),
    ],
)
def test_a_change_after_signing_is_refused_by_name(
    run: RunDirectory, keyring: Keyring, spoil: Callable[[RunDirectory], object], name: str
) -> None:
    sign(run, keyring.pem())
    spoil(run)
    result = checked(run, public_of(keyring.pem()))
    refused = [finding.name for finding in result.findings if finding.status.value == "differs"]
    assert result.exit_code == 1
    assert name in refused


def test_another_manifest_is_refused(run: RunDirectory, keyring: Keyring, tmp_path: Path) -> None:
    attestation = sign(run, keyring.pem())
    other = tmp_path / "other.toml"
    other.write_bytes(run.manifest.read_bytes() + b"\n")
    trust = Trust(keys=[keys.load_public(public_of(keyring.pem()))])
    name, detail = refusal(verify(Material(attestation, run.report, other), trust))
    assert name == "manifest"
    assert str(other) in detail


def test_an_outputs_place_that_leads_out_is_not_followed(run: RunDirectory, keyring: Keyring, tmp_path: Path) -> None:
    sign(run, keyring.pem())
    weights = run.out / "weights.bin"
    shutil.move(weights, tmp_path / "away")
    weights.symlink_to(tmp_path / "away")
    found = {finding.name: finding.status.value for finding in checked(run, public_of(keyring.pem())).findings}
    assert found["output weights"] == "not checked"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_bit_of_the_attestation_can_be_turned(run: RunDirectory, keyring: Keyring, data: st.DataObject) -> None:
    path = run.path / envelope.FILE_NAME
    if not path.exists():
        sign(run, keyring.pem())
        shutil.copy(path, run.path / "good")
    content = bytearray((run.path / "good").read_bytes())
    at = data.draw(st.integers(0, len(content) - 2))  # the last is the line end
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    trust = Trust(keys=[keys.load_public(public_of(keyring.pem()))])
    try:
        code = int(verify(Material(path), trust).exit_code)
    except UnreadableError as error:
        code = int(error.exit_code)
    assert code in {1, 2}


@pytest.mark.parametrize("length", [0, 1, 100, -2, -40])
def test_an_attestation_that_was_cut_off_is_unreadable(run: RunDirectory, keyring: Keyring, length: int) -> None:
    path = sign(run, keyring.pem())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UnreadableError, match="not JSON"):
        checked(run, public_of(keyring.pem()))


def test_another_payload_type_and_no_signature_are_refused(run: RunDirectory, keyring: Keyring) -> None:
    signed_as(run, keyring.pem(), b"{}", "text/plain")
    assert refusal(checked(run, public_of(keyring.pem())))[0] == "payload type"
    path = sign_again(run, keyring)
    value = json.loads(path.read_bytes())
    path.write_text(json.dumps({**value, "signatures": []}))
    assert refusal(checked(run))[1] == "the envelope has no signature"


def sign_again(run: RunDirectory, keyring: Keyring) -> Path:
    (run.path / envelope.FILE_NAME).unlink()
    return sign(run, keyring.pem())


@pytest.mark.parametrize(
    ("alter", "name"),
    [
        (lambda value: value.update(predicateType="https://slsa.dev/provenance/v1"), "statement"),
        (lambda value: value["subject"].pop(0), "statement"),
        (lambda value: value["predicate"].update(verdict="METRICS DIFFER"), "verdict"),
        (lambda value: value["predicate"].update(exit_code=1), "verdict"),
        (lambda value: value["predicate"].update(environment_hash="sha256:" + "0" * 64), "environment hash"),
        (lambda value: value["predicate"].update(image=None), "statement"),
        (lambda value: value["predicate"]["image"].update(config_digest="sha256:" + "0" * 64), "image"),
        (lambda value: value["predicate"]["metrics"][0].update(value=0.9), "results"),
        (lambda value: value["predicate"]["hardware"].update(cores=64), "results"),
    ],
)
def test_a_statement_that_says_other_than_its_report_is_refused(
    run: RunDirectory, keyring: Keyring, alter: Callable[[dict[str, Any]], None], name: str
) -> None:
    restated(run, keyring.pem(), alter)
    assert refusal(checked(run, public_of(keyring.pem())))[0] == name


def test_a_key_of_a_later_version_is_no_fault(run: RunDirectory, keyring: Keyring) -> None:
    restated(run, keyring.pem(), lambda value: value["predicate"].update(power_kwh=3))
    assert checked(run, public_of(keyring.pem())).word == "VERIFIED"


def test_a_report_is_unreadable_rather_than_wrong(run: RunDirectory, keyring: Keyring) -> None:
    sign(run, keyring.pem())
    for content in (b"", b"[]", b'{"schema": 2}', b'{"schema": 1, "schema": 1}'):
        run.report.write_bytes(content)
        with pytest.raises(UnreadableError):
            checked(run, public_of(keyring.pem()))


def test_what_has_not_finished_is_not_signed(run: RunDirectory) -> None:
    text = run.events.read_text().splitlines(keepends=True)
    run.events.write_text("".join(text[:-1]))
    with pytest.raises(NotSignedError, match="has not finished"):
        signing.payload(run)
    run.report.unlink()
    with pytest.raises(NotSignedError, match="has not finished"):
        signing.payload(run)


def test_a_run_that_a_worker_holds_is_not_signed(run: RunDirectory) -> None:
    with run.locked(), pytest.raises(NotSignedError, match="has not finished"):
        signing.payload(run)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda run: change(run.report, '"verdict": "REPRODUCED"', '"verdict": "METRICS DIFFER"'), "verdict is"),
        (lambda run: change(run.report, '"observed": "0.6000000000000001"', '"observed": "0.6"'), "observed"),
        (lambda run: change(run.report, '"value": 0.6000000000000001', '"value": 0.6'), "metrics, accuracy: value"),
        (lambda run: change(run.manifest, "A tiny", "A tidy"), "manifest"),
        (lambda run: (run.out / "weights.bin").write_text("others"), "output weights"),
        (lambda run: run.events.unlink(), "events.jsonl is not here"),
        (lambda run: change(run.environment, "3.11.2", "3.11.3"), "environment"),
    ],
)
def test_a_run_that_was_touched_is_not_signed(
    run: RunDirectory, spoil: Callable[[RunDirectory], object], said: str
) -> None:
    spoil(run)
    with pytest.raises(NotSignedError) as caught:
        signing.payload(run)
    assert said in caught.value.message


def test_a_verdict_that_its_checks_do_not_bear_out_is_not_signed(run: RunDirectory) -> None:
    """Report and journal changed alike: the words agree, the checks give another one."""
    for path in (run.report, run.events):
        text = path.read_text()
        path.write_text(text.replace('"within tolerance"', '"differs"').replace('"match"', '"differs"'))
    with pytest.raises(NotSignedError, match="checks"):
        signing.payload(run)


def test_an_attestation_about_something_else_is_not_replaced(run: RunDirectory, keyring: Keyring) -> None:
    restated(run, keyring.pem(), lambda value: value["predicate"].update(summary="another"))
    before = (run.path / envelope.FILE_NAME).read_bytes()
    with pytest.raises(UsageError, match="there is an attestation already"):
        sign(run, keyring.pem())
    assert (run.path / envelope.FILE_NAME).read_bytes() == before


def test_the_same_key_signs_the_same_file(run: RunDirectory, keyring: Keyring) -> None:
    first = sign(run, keyring.pem()).read_bytes()
    assert sign_again(run, keyring).read_bytes() == first
    assert base64.b64decode(json.loads(first)["payload"]) == signing.payload(run)[1]
