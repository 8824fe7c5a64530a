"""`repro-tui verify REPORT`: check who signed a verdict, and that the files at hand are the ones it is about."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro_tui.cli import console
from repro_tui.cli.options import add_runs, chosen_run
from repro_tui.errors import UsageError

if TYPE_CHECKING:
    from repro_tui.attest.verification import Material, Trust, Verification

_SNIFF_BYTES = 1 << 26
_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")
"""Shown by its beginning, as everywhere; --json has all of it."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "verify", help="check a signed verdict against its report, manifest and run", allow_abbrev=False
    )
    parser.add_argument(
        "name", metavar="WHAT", help="a report.json, an attestation, a run (id, folder, last), or a bundle"
    )
    add_runs(parser)
    parser.add_argument(
        "--key", metavar="FILE", type=Path, action="append", default=[], help="a public key that must have signed it"
    )
    parser.add_argument("--allowed-signers", metavar="FILE", type=Path, help="OpenSSH's list of SSH keys and names")
    parser.add_argument("--identity", metavar="NAME", help="who has to have signed it (Sigstore, allowed signers)")
    parser.add_argument("--issuer", metavar="URL", help="which provider knows --identity (Sigstore)")
    parser.add_argument("--trusted-root", metavar="FILE", type=Path, help="Sigstore's root of trust, fetched before")
    parser.add_argument("--offline", action="store_true", help="use the root of trust that Sigstore has cached")
    parser.add_argument("--attestation", metavar="FILE", type=Path, help="default: the one beside the report")
    parser.add_argument("--manifest", metavar="FILE", type=Path, help="default: manifest.toml beside the report")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what holds and what does not to stdout; the exit code is about the attestation, not about the verdict."""
    from repro_tui.attest.files import need

    need("sign", "securesystemslib", "cryptography")
    from repro_tui.attest.verification import Material, verify
    from repro_tui.bundles.reading import looks_like_bundle
    from repro_tui.cli.bundled import bundled_run

    trust = _trust(arguments)
    given = Path(arguments.name)
    if looks_like_bundle(given):
        attestation = arguments.attestation or _beside(f"{given}.", sigstore=bool(arguments.issuer))
        with bundled_run(given) as (inside, digest):
            manifest = arguments.manifest or inside.manifest
            result = verify(Material(attestation, inside.report, manifest, inside, digest), trust)
    else:
        result = verify(_material(arguments), trust)
    if arguments.json:
        console.data(json.dumps(_body(result), indent=2, ensure_ascii=False) + "\n")
    else:
        console.data(_text(result))
    return int(result.exit_code)


def _trust(arguments: argparse.Namespace) -> Trust:
    from repro_tui.attest.keys import load_public
    from repro_tui.attest.ssh import Allowed
    from repro_tui.attest.verification import Trust

    if arguments.issuer and not arguments.identity:
        raise UsageError("--issuer needs --identity: an issuer vouches for many people")
    if arguments.identity and not (arguments.issuer or arguments.allowed_signers):
        raise UsageError("--identity needs --issuer (Sigstore) or --allowed-signers (SSH): a name alone proves nothing")
    allowed = arguments.allowed_signers
    return Trust(
        keys=[load_public(path) for path in arguments.key],
        allowed=allowed and Allowed(file=allowed, identity=None if arguments.issuer else arguments.identity),
        identity=arguments.identity,
        issuer=arguments.issuer,
        trusted_root=arguments.trusted_root,
        offline=arguments.offline,
    )


def _material(arguments: argparse.Namespace) -> Material:
    """Return the files that WHAT means; raises UsageError where there is no attestation among them."""
    from repro_tui.attest.verification import Material
    from repro_tui.runs.catalog import looks_like_a_run
    from repro_tui.runs.directory import RunDirectory

    given = Path(arguments.name)
    attestation: Path | None = arguments.attestation
    report: Path | None
    if given.is_file() and _is_report(given):
        folder, report = given.parent, given
    elif given.is_file():
        if attestation is not None:
            raise UsageError("two attestations were given", where=str(given), hint="leave --attestation out")
        folder, attestation = given.parent, given
        report = folder / "report.json"
    else:
        folder = chosen_run(arguments).path
        report = folder / "report.json"
    attestation = attestation or _beside(f"{folder}{os.sep}attestation.", sigstore=bool(arguments.issuer))
    manifest: Path = arguments.manifest or folder / "manifest.toml"
    whole = report.name == "report.json" and looks_like_a_run(folder)
    return Material(
        attestation=attestation,
        report=report if report.exists() else None,
        manifest=manifest if arguments.manifest or manifest.exists() else None,
        run=RunDirectory(folder.resolve()) if whole else None,
    )


def _beside(beginning: str, *, sigstore: bool) -> Path:
    """Return the attestation whose path begins so; raises UsageError."""
    from repro_tui.attest import envelope, keyless

    places = [Path(beginning + ending) for ending in (envelope.ENDING, keyless.ENDING)]
    for place in reversed(places) if sigstore else places:
        if place.exists():
            return place
    raise UsageError(
        "there is no attestation: nobody signed this, or the file was not sent along",
        where=str(places[0].parent),
        hint=f"looked for {' and '.join(place.name for place in places)}; --attestation FILE names another, "
        "`repro-tui sign` makes one",
    )


def _is_report(path: Path) -> bool:
    """Say whether a file is a report rather than an attestation, by what it holds; what is neither counts as one."""
    from repro_tui.attest.files import parse_json, read_bounded

    if path.name == "report.json":
        return True
    value = parse_json(read_bounded(path, _SNIFF_BYTES, "the file"), where=str(path), what="the file")
    return isinstance(value, dict) and "verdict" in value


def _text(result: Verification) -> str:
    from repro_tui.runs.words import printable

    refused = result.refused
    said = result.word + (f": {refused.name}: {refused.detail}" if refused else f": {_why(result)}")
    lines = [console.folded(_line(said), console.columns(), 2) if sys.stdout.isatty() else _line(said), ""]
    for each in result.findings:
        place = f"  {each.name:16}  {each.status.value:11}  "
        lines.append(console.folded(place + _line(each.detail), console.columns(), len(place)))
    if (stated := result.statement) is not None:
        signed = stated.predicate
        lines += [
            "",
            f"What was signed: {signed.verdict} (exit code {signed.exit_code})",
            f"  {signed.experiment.get('name')}, run {signed.run.get('id')}, finished {signed.run.get('finished')}",
            console.folded(f"  {_line(signed.summary)}", console.columns(), 4),
        ]
    for heading, points in (("This shows:", _shows(result)), ("This does not show:", _not_shown(result))):
        lines += ["", heading, *(console.folded(f"  - {point}", console.columns(), 4) for point in points)]
    return printable("\n".join(lines)) + "\n"


def _line(text: str) -> str:
    """Return what somebody else may have written as one line of text."""
    from repro_tui.runs.words import printable

    return _DIGEST.sub(r"\1…", printable(text).replace("\n", " "))


def _why(result: Verification) -> str:
    if result.word == "VERIFIED":
        return f"signed by {' and '.join(result.signed_by)}, about the files at hand"
    if not result.signed_by:
        claimed = ", ".join(result.claimed) or "nobody"
        return f"the signature was not checked; it claims to be by {claimed}. Give --key, --allowed-signers or --issuer"
    return "the signature holds, but neither report nor manifest was at hand to compare"


def _shows(result: Verification) -> list[str]:
    if result.refused is not None:
        return ["nothing: what does not hold is named above"]
    shown = [f"the holder of the key of {who} stated this verdict" for who in result.signed_by]
    held = {each.name for each in result.findings if each.status.value == "holds"}
    if "report" in held:
        shown.append("report.json is, byte for byte, the one that the statement names")
    if "manifest" in held:
        shown.append("the manifest is, byte for byte, the one that the statement names")
    if "bundle" in held:
        shown.append(
            "the bundle is, byte for byte, the one that the statement names: manifest, code, data and image too"
        )
    if "events" in held:
        shown.append("the run directory agrees with its report: events, metrics, and what of the files is still there")
    return shown or ["nothing that is at hand could be compared"]


def _not_shown(result: Verification) -> list[str]:
    missing = [] if result.signed_by else ["who made this: no signature was checked"]
    return [
        *missing,
        "that the run happened as it is told: who signs vouches for it. `repro-tui --run MANIFEST` finds out",
        "who holds the key: that has to come from somewhere you trust, not from beside the report",
        "when it was signed: a key's signature carries no time",
    ]


def _body(result: Verification) -> dict[str, Any]:
    stated = result.statement
    return {
        "result": result.word,
        "exit_code": int(result.exit_code),
        "refused": result.refused and f"{result.refused.name}: {result.refused.detail}",
        "attestation": str(result.attestation),
        "signed_by": result.signed_by,
        "not_checked": result.claimed,
        "findings": [
            {"name": each.name, "status": each.status.value, "detail": each.detail} for each in result.findings
        ],
        "subject": [subject.model_dump() for subject in stated.subject] if stated else [],
        "predicate": stated.body if stated else None,
        "shows": _shows(result),
        "does_not_show": _not_shown(result),
    }
