"""Sign a run: only one that has finished, and only what its directory agrees on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signature  # type: ignore[attr-defined] # it is public, by its documentation

from repro_tui.attest import agreement, envelope, statement
from repro_tui.attest.files import usage
from repro_tui.errors import ExitCode, ReproError
from repro_tui.report import json as report_json
from repro_tui.report.model import Report
from repro_tui.runs.directory import RunDirectory


class NotSignedError(ReproError):
    """A run cannot be signed as it is."""

    exit_code = ExitCode.DIFFERS


def payload(run: RunDirectory, *, bundle: str | None = None) -> tuple[Report, bytes]:
    """Return a run's report and the statement about it; raises NotSignedError where there is nothing sound to sign.

    `bundle` is the SHA-256 of the bundle that the run lies in: the statement is about the whole of that too.
    """
    if not run.report.is_file() or run.worker_alive():
        raise NotSignedError(
            f"{run.id} has not finished: there is no verdict to sign",
            where=str(run.path),
            hint=f"`repro-tui attach {run.id}` waits for it; a run whose worker died is run again",
        )
    content = run.report.read_bytes()
    report = report_json.parse(content, where=str(run.report))
    for finding in agreement.findings(run, report):
        decides = finding.status is agreement.Status.DIFFERS or (
            finding.status is agreement.Status.NOT_CHECKED and finding.name in {"manifest", "events"}
        )
        if decides:
            raise NotSignedError(
                f"not signed: {finding.name}: {finding.detail}",
                where=str(run.path),
                hint="the run directory was changed after the run; run it again and sign that",
            )
    try:
        return report, statement.build(run, report, content, bundle=bundle)
    except ValueError as error:
        raise NotSignedError(f"not signed: the report cannot be stated: {error}", where=str(run.report)) from None


def add_signature(path: Path, content: bytes, sign: Callable[[bytes], Signature]) -> tuple[Signature, int]:
    """Sign a statement into the envelope at `path`; return the signature, and how many the envelope has now.

    An envelope about the same statement keeps its signatures; raises UsageError where there is one about another.
    """
    signed = Envelope(content, envelope.PAYLOAD_TYPE, {})
    if path.exists():
        signed = envelope.read(path)
        if (signed.payload, signed.payload_type) != (content, envelope.PAYLOAD_TYPE):
            raise usage(
                "there is an attestation already, and what it says is not what would be signed now",
                where=path,
                hint="remove it, or write another file with -o FILE",
            )
    signature = sign(signed.pae())
    signed.signatures[signature.keyid] = signature
    report_json.write_whole(path, envelope.render(signed))
    return signature, len(signed.signatures)
