"""`repro-tui sign RUN`: sign the verdict of a finished run, with a key file, an SSH key or an identity at Sigstore."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from repro_tui.cli import console
from repro_tui.cli.options import add_runs, chosen_run
from repro_tui.errors import UsageError

ENV_PASSPHRASE = "REPRO_TUI_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable
ENV_TOKEN = "SIGSTORE_ID_TOKEN"  # noqa: S105 - as above


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("sign", help="sign the verdict of a finished run", allow_abbrev=False)
    parser.add_argument(
        "name", metavar="RUN", nargs="?", help='id of a run, the beginning of one, its folder, "last", or a bundle'
    )
    add_runs(parser)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--key", metavar="FILE", type=Path, help="a private key (PEM), as --new-key makes one")
    how.add_argument(
        "--ssh-key", metavar="FILE", type=Path, help="an SSH key; a .pub file where the agent holds its private side"
    )
    how.add_argument("--sigstore", action="store_true", help="an identity at Sigstore; needs the network")
    how.add_argument(
        "--new-key", metavar="FILE", type=Path, help="make a key (and FILE.pub), and sign with it where RUN is given"
    )
    parser.add_argument(
        "--passphrase-file",
        metavar="FILE",
        type=Path,
        help=f"the passphrase of --key and --new-key is its first line (else ${ENV_PASSPHRASE}, else asked)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="default: attestation.dsse.json in the run directory, BUNDLE.dsse.json beside a bundle",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the attestation and print its path to stdout."""
    from repro_tui.attest.files import need

    if arguments.name is None and arguments.new_key is None:
        raise UsageError("sign which run?", hint="`repro-tui sign last`; `repro-tui list` has the others")
    if arguments.sigstore:
        need("sigstore", "sigstore")
    need("sign", "securesystemslib", "cryptography")
    from repro_tui.attest import signing
    from repro_tui.bundles.reading import looks_like_bundle
    from repro_tui.cli.bundled import bundled_run

    passphrase = None
    if arguments.new_key is not None:
        passphrase = _new_key(arguments)
        if arguments.name is None:
            return 0
    given = Path(arguments.name)
    if looks_like_bundle(given):
        with bundled_run(given) as (inside, digest):
            report, payload = signing.payload(inside, bundle=digest)
        beside = f"{given}."
    else:
        directory = chosen_run(arguments)
        report, payload = signing.payload(directory)
        beside = f"{directory.path}{os.sep}attestation."
    if arguments.sigstore:
        path = _sign_keyless(arguments, beside, payload)
    else:
        path = _sign(arguments, beside, payload, passphrase)
    console.say(f"it says: {report.verdict}, {report.experiment.name}, run {report.run.id}")
    console.data(f"{path}\n")
    return 0


def _sign(arguments: argparse.Namespace, beside: str, payload: bytes, passphrase: bytes | None) -> Path:
    from repro_tui.attest import envelope, signing, ssh
    from repro_tui.attest.keys import load_signer

    path: Path = arguments.output or Path(beside + envelope.ENDING)
    if arguments.ssh_key is not None:
        key: Path = arguments.ssh_key
        signature, count = signing.add_signature(path, payload, lambda message: ssh.sign(message, key))
    else:
        key = arguments.key or arguments.new_key
        signer = load_signer(key, lambda: passphrase or _passphrase(arguments, key))
        signature, count = signing.add_signature(path, payload, signer.sign)
    others = f"; {count} signatures now" if count > 1 else ""
    console.say(f"signed by {signature.keyid}{others}")
    return path


def _sign_keyless(arguments: argparse.Namespace, beside: str, payload: bytes) -> Path:
    from repro_tui.attest import keyless
    from repro_tui.report.json import write_whole

    path: Path = arguments.output or Path(beside + keyless.ENDING)
    if path.exists():
        raise UsageError(
            "there is an attestation already", where=str(path), hint="remove it, or write another file with -o FILE"
        )
    write_whole(path, keyless.sign(payload, token=os.environ.get(ENV_TOKEN)))
    console.say("signed at Sigstore; the signature is in its public log")
    return path


def _new_key(arguments: argparse.Namespace) -> bytes | None:
    """Make a key and return its passphrase: signing with it at once asks no second time."""
    from repro_tui.attest.keys import new_key

    path: Path = arguments.new_key
    passphrase = _given(arguments)
    if passphrase is None and sys.stdin.isatty():
        import getpass

        passphrase = getpass.getpass(f"passphrase for {path} (empty: none): ").encode()
        if passphrase and getpass.getpass("again: ").encode() != passphrase:
            raise UsageError("the two passphrases are not the same", hint="nothing was written; try again")
    public, key_id = new_key(path, passphrase or None)
    if not passphrase:
        console.say(f"{path} has no passphrase: whoever can read it can sign")
    console.say(f"key {key_id}\n  private: {path}, keep it\n  public:  {public}, publish it beside the manifest")
    return passphrase or None


def _passphrase(arguments: argparse.Namespace, key: Path) -> bytes:
    given = _given(arguments)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise UsageError(
            "the key has a passphrase, and there is no terminal to ask for it",
            where=str(key),
            hint=f"--passphrase-file FILE, or ${ENV_PASSPHRASE}",
        )
    import getpass

    return getpass.getpass(f"passphrase of {key}: ").encode()


def _given(arguments: argparse.Namespace) -> bytes | None:
    """Return the passphrase that a file or the environment holds."""
    if arguments.passphrase_file is not None:
        from repro_tui.attest.files import read_bounded

        content = read_bounded(arguments.passphrase_file, 1 << 16, "the passphrase file")
        return content.partition(b"\n")[0].rstrip(b"\r")
    found = os.environ.get(ENV_PASSPHRASE)
    return None if found is None else found.encode()
