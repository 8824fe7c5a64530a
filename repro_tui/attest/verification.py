"""Verify an attestation: who signed it, and whether the report, manifest and run at hand are the ones it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from securesystemslib.dsse import Envelope

from repro_tui.attest import agreement, envelope, keyless, keys, ssh, statement
from repro_tui.attest.agreement import Finding, Status, compared
from repro_tui.attest.files import UnreadableError, parse_json, read_bounded
from repro_tui.attest.keys import PublicKey
from repro_tui.attest.statement import Statement
from repro_tui.errors import ExitCode
from repro_tui.manifest.loading import MAX_BYTES as MAX_MANIFEST_BYTES
from repro_tui.manifest.record import MAX_BYTES as MAX_RECORD_BYTES
from repro_tui.report.model import Report
from repro_tui.runs.directory import RunDirectory

MAX_REPORT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signature has to be there. With none of them the signature is not checked."""

    keys: Sequence[PublicKey] = ()
    allowed: ssh.Allowed | None = None
    identity: str | None = None
    issuer: str | None = None
    trusted_root: Path | None = None
    offline: bool = False

    @property
    def given(self) -> bool:
        """Say whether there is anything to check a signature with."""
        return bool(self.keys or self.allowed or self.issuer)


@dataclass(frozen=True, slots=True)
class Material:
    """The files at hand; `run` where the report lies in a run directory."""

    attestation: Path
    report: Path | None = None
    manifest: Path | None = None
    run: RunDirectory | None = None
    bundle: str | None = None
    """SHA-256 of the bundle that the run lies in."""


@dataclass
class Verification:
    """What came of it."""

    attestation: Path
    findings: list[Finding] = field(default_factory=list)
    signed_by: list[str] = field(default_factory=list)
    claimed: list[str] = field(default_factory=list)
    """Key ids that the envelope names and nobody checked."""
    statement: Statement | None = None

    @property
    def refused(self) -> Finding | None:
        """The first thing that does not hold."""
        return next((each for each in self.findings if each.status is Status.DIFFERS), None)

    @property
    def compared(self) -> bool:
        """Say whether anything that the statement is about was at hand."""
        return any(each.name in {"report", "manifest"} and each.status is Status.HOLDS for each in self.findings)

    @property
    def word(self) -> str:
        """The result in a word or two."""
        if self.refused is not None:
            return "REFUSED"
        return "VERIFIED" if self.signed_by and self.compared else "NOT VERIFIED"

    @property
    def exit_code(self) -> ExitCode:
        """0 for what holds, 1 for what does not, 5 where that was not to be known."""
        if self.refused is not None:
            return ExitCode.DIFFERS
        return ExitCode.REPRODUCED if self.word == "VERIFIED" else ExitCode.INCONCLUSIVE


def verify(material: Material, trust: Trust) -> Verification:
    """Check everything that can be checked; raises UnreadableError for files that are not what they should be."""
    result = Verification(material.attestation)
    content = read_bounded(material.attestation, envelope.MAX_BYTES, "the attestation")
    value = parse_json(content, where=str(material.attestation), what="the attestation")
    if keyless.is_bundle(value):
        signed = envelope.from_value(value["dsseEnvelope"], where=str(material.attestation))
        _identity(result, content, signed, trust)
    else:
        signed = envelope.from_value(value, where=str(material.attestation))
        _signatures(result, signed, trust)
    if signed.payload_type != envelope.PAYLOAD_TYPE:
        detail = f"the envelope holds {signed.payload_type!r}; a statement is {envelope.PAYLOAD_TYPE}"
        result.findings.append(Finding("payload type", Status.DIFFERS, detail))
        return result
    try:
        result.statement = stated = statement.read(signed.payload)
    except statement.RefusedError as error:
        result.findings.append(Finding("statement", Status.DIFFERS, str(error)))
        return result
    result.findings.append(Finding("statement", Status.HOLDS, "an in-toto statement v1 with a verdict"))
    result.findings += _consistent(stated)
    result.findings += _material(material, stated)
    return result


def _signatures(result: Verification, signed: Envelope, trust: Trust) -> None:
    """Every given key must have signed; without any the signatures stay unchecked."""
    if not signed.signatures:
        result.findings.append(Finding("signature", Status.DIFFERS, "the envelope has no signature"))
    unchecked = dict(signed.signatures)
    for key in trust.keys:
        found = next((each for name, each in unchecked.items() if name in {key.key_id, ""}), None)
        if found is None:
            made = ", ".join(map(name_of, signed.signatures)) or "nobody"
            detail = f"signed by {made}, not by {key.path} ({name_of(key.key_id)}): a wrong or an unknown key"
            result.findings.append(Finding("signature", Status.DIFFERS, detail))
            continue
        del unchecked[found.keyid]
        _one(result, key, bytes.fromhex(found.signature), signed)
    if trust.allowed is not None:
        _allowed(result, signed, trust.allowed, unchecked)
    if trust.issuer is not None:
        detail = "--issuer was given, and this is no Sigstore bundle"
        result.findings.append(Finding("signature", Status.DIFFERS, detail))
    result.claimed = [name_of(name) for name in unchecked]
    if unchecked:
        detail = f"not checked: made, it says, by {', '.join(result.claimed)}"
        result.findings.append(Finding("signature", Status.NOT_CHECKED, detail))


def _one(result: Verification, key: PublicKey, blob: bytes, signed: Envelope) -> None:
    detail = f"the signature of {name_of(key.key_id)} is not over these bytes: one of the two was changed"
    if key.ssh is not None:
        signer, why = ssh.verify(signed.pae(), blob, key.ssh)
        holds = signer is not None and ssh.fingerprint(blob) == key.key_id
        detail = f"{detail} ({why})" if signer is None else detail
    else:
        holds = key.key is not None and keys.verify(key.key, blob, signed.pae())
    if holds:
        result.signed_by.append(f"{key.path} ({name_of(key.key_id)})")
        result.findings.append(Finding("signature", Status.HOLDS, f"by the key {name_of(key.key_id)}"))
    else:
        result.findings.append(Finding("signature", Status.DIFFERS, detail))


def _allowed(result: Verification, signed: Envelope, allowed: ssh.Allowed, unchecked: dict[str, Any]) -> None:
    """One SSH signature of an allowed signer has to be there."""
    reasons: list[str] = []
    for name, each in list(unchecked.items()):
        blob = bytes.fromhex(each.signature)
        if not blob.startswith(ssh.MAGIC):
            continue
        del unchecked[name]
        signer, why = ssh.verify(signed.pae(), blob, allowed)
        made_with = ssh.fingerprint(blob)
        if signer is not None and name not in {made_with, ""}:
            signer, why = None, f"the envelope names the key {name}, the signature was made with {made_with}"
        if signer is not None:
            result.signed_by.append(f"{signer} ({made_with})")
            result.findings.append(Finding("signature", Status.HOLDS, f"by {signer}, {made_with}"))
            return
        reasons.append(why)
    why = "; ".join(reasons) or "the envelope has no signature by an SSH key"
    result.findings.append(Finding("signature", Status.DIFFERS, f"by no allowed signer: {why}"))


def _identity(result: Verification, content: bytes, signed: Envelope, trust: Trust) -> None:
    """Let Sigstore check the certificate, the log and the signature, for one identity of one issuer."""
    if trust.keys or trust.allowed:
        detail = "this is a Sigstore bundle: an identity signed it, no key; --identity and --issuer say which"
        result.findings.append(Finding("signature", Status.DIFFERS, detail))
        return
    if trust.identity is None or trust.issuer is None:
        result.claimed = ["an identity at Sigstore"]
        result.findings.append(Finding("signature", Status.NOT_CHECKED, "an identity at Sigstore signed it, it says"))
        return
    checked = keyless.verify(
        content,
        identity=trust.identity,
        issuer=trust.issuer,
        trusted_root=trust.trusted_root,
        offline=trust.offline,
    )
    if isinstance(checked, str):
        result.findings.append(Finding("signature", Status.DIFFERS, f"Sigstore refuses it: {checked}"))
    elif checked != (signed.payload_type, signed.payload):
        result.findings.append(Finding("signature", Status.DIFFERS, "Sigstore read other bytes out of this bundle"))
    else:
        result.signed_by.append(f"{trust.identity} (by {trust.issuer}, at Sigstore)")
        result.findings.append(Finding("signature", Status.HOLDS, f"by {trust.identity}, whom {trust.issuer} knows"))


def _consistent(stated: Statement) -> list[Finding]:
    """The subjects and the predicate name the same files and the same image."""
    said = stated.predicate
    image = str(said.image["manifest_digest"]) if said.image and "manifest_digest" in said.image else None
    pairs = (
        (statement.MANIFEST, said.manifest.sha256),
        (statement.REPORT, said.report.sha256),
        (statement.IMAGE, image and image.removeprefix("sha256:")),
    )
    for name, digest in pairs:
        if stated.digest_of(name) != digest:
            detail = f"the statement contradicts itself about {name}: its subject and its verdict have two digests"
            return [Finding("statement", Status.DIFFERS, detail)]
    return []


def _material(material: Material, stated: Statement) -> list[Finding]:
    found: list[Finding] = []
    report: Report | None = None
    if material.report is not None:
        content = read_bounded(material.report, MAX_REPORT_BYTES, "the report")
        found.append(compared("report", f"SHA-256 of {material.report}", stated.predicate.report.sha256, _sha(content)))
        report = _report(content, material.report)
        found += _stated(stated, report, content)
    else:
        found.append(Finding("report", Status.NOT_CHECKED, "no report.json was at hand"))
    if material.bundle is not None:
        found.append(_bundle(material.bundle, stated))
    if material.manifest is not None:
        content = read_bounded(material.manifest, MAX_MANIFEST_BYTES, "the manifest")
        expected = stated.predicate.manifest.sha256
        found.append(compared("manifest", f"SHA-256 of {material.manifest}", expected, _sha(content)))
    else:
        found.append(Finding("manifest", Status.NOT_CHECKED, "no manifest was at hand; --manifest FILE names one"))
    if material.run is not None and report is not None:
        found += [each for each in agreement.findings(material.run, report) if each.name != "manifest"]
        if (record := stated.digest_of(statement.RECORD)) is not None and material.run.record.is_file():
            content = read_bounded(material.run.record, MAX_RECORD_BYTES, "the record")
            found.append(compared("record", "SHA-256 of record.json", record, _sha(content)))
        for name in statement.seed_reports(report):
            if (digest := stated.digest_of(name)) is not None:
                found.append(agreement.file_below(material.run.path, f"seed {name.split('/')[-2]}", name, name, digest))
    return found


def _bundle(observed: str, stated: Statement) -> Finding:
    signed = stated.digest_of(statement.BUNDLE)
    if signed is None:
        return Finding("bundle", Status.NOT_CHECKED, "the statement is about a run, not about the whole bundle")
    return compared("bundle", "SHA-256 of the bundle", signed, observed)


def _stated(stated: Statement, report: Report, content: bytes) -> list[Finding]:
    """What the statement says in its own words is what the report says."""
    wanted = statement.predicate(report, content)
    found = []
    for key, name in (
        ("verdict", "verdict"), ("exit_code", "verdict"), ("image", "image"), ("environment_hash", "environment hash"),
    ):  # fmt: skip
        if stated.body.get(key) == wanted[key]:
            if key != "exit_code":
                found.append(Finding(name, Status.HOLDS, _said(key, wanted[key])))
        else:
            detail = f"the report says {_said(key, wanted[key])}, the statement {_said(key, stated.body.get(key))}"
            found.append(Finding(name, Status.DIFFERS, detail))
    others = [key for key, value in wanted.items() if key in stated.body and stated.body[key] != value]
    others = [key for key in others if key not in {"verdict", "exit_code", "image", "environment_hash", "report"}]
    if others:
        detail = f"the statement and the report do not agree: {', '.join(others)}"
        found.append(Finding("results", Status.DIFFERS, detail))
    return found


def _said(key: str, value: Any) -> str:
    if key == "image":
        return str(value.get("manifest_digest")) if isinstance(value, dict) else "no image"
    if value is None:
        return f"no {key.replace('_', ' ')}"
    return f"exit code {value}" if key == "exit_code" else str(value)


def _report(content: bytes, path: Path) -> Report:
    parse_json(content, where=str(path), what="the report")
    try:
        return Report.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise UnreadableError(
            f"this is no report of schema 1: {'.'.join(map(str, first['loc']))}: {first['msg']}", where=str(path)
        ) from None


def name_of(key_id: str) -> str:
    """Return a key id as people compare it: an SSH fingerprint whole, a hash by its first digits."""
    if not key_id:
        return "a key without a name"
    return key_id if key_id.startswith("SHA256:") else key_id[:16]


def _sha(content: bytes) -> str:
    return statement.sha256(content)
