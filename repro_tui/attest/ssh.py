"""SSH keys, by OpenSSH's own `ssh-keygen -Y`: key files, the agent and hardware keys alike.

What is signed is the envelope's pre-authentication encoding, under a namespace of its own, so a signature made for
anything else (a login, a git commit) is never one of an attestation. The envelope carries the SSHSIG bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Signature  # type: ignore[attr-defined] # it is public, by its documentation

from repro_tui.attest.files import read_bounded, usage
from repro_tui.errors import InfrastructureError

NAMESPACE = "repro-tui"
MAGIC = b"SSHSIG"
PUBLIC_LINE = re.compile(r"^(?:ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/=]+(?: .*)?$")
_MAX_BYTES = 1 << 20
_LIMIT_S = 300
_PRINCIPAL = "given-key"


@dataclass(frozen=True, slots=True)
class Allowed:
    """Whose SSH signatures count: an allowed-signers file, or one public key (`line`)."""

    file: Path | None = None
    line: str = ""
    identity: str | None = None
    """Only this principal of the file."""


def sign(message: bytes, key: Path) -> Signature:
    """Return the SSHSIG of a message; ssh-keygen asks for passphrase or touch itself. Raises UsageError.

    `key` is a private key file, or a public one whose private side is in the agent or on a hardware key.
    """
    read_bounded(key, _MAX_BYTES, "the SSH key")
    interactive = sys.stderr.isatty()
    done = _keygen(
        ["-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE], message, stderr=None if interactive else subprocess.PIPE
    )
    if done.returncode != 0:
        said = (done.stderr or b"").decode(errors="replace").strip().splitlines()
        raise usage(
            f"ssh-keygen did not sign{': ' + said[-1] if said else ''}",
            where=key,
            hint="a key with a passphrase needs a terminal or the agent (`ssh-add KEY`); a .pub file needs the agent",
        )
    blob = dearmor(done.stdout.decode(errors="replace"))
    if blob is None:
        raise InfrastructureError("ssh-keygen wrote no signature", where=str(key))
    return Signature(fingerprint(blob) or "", blob.hex())


def verify(message: bytes, blob: bytes, allowed: Allowed) -> tuple[str | None, str]:
    """Return who signed and how that is known, or None and why the signature does not count."""
    with tempfile.TemporaryDirectory(prefix="repro-tui-ssh-") as name:
        folder = Path(name)
        signature, signers = folder / "sig", folder / "allowed_signers"
        signature.write_text(armor(blob), encoding="ascii")
        if allowed.file is None:
            signers.write_text(f'{_PRINCIPAL} namespaces="{NAMESPACE}" {allowed.line}\n', encoding="utf-8")
            principals = [_PRINCIPAL]
        else:
            signers.write_bytes(read_bounded(allowed.file, _MAX_BYTES, "the allowed-signers file"))
            principals = [allowed.identity] if allowed.identity else _principals(signature, signers)
        if not principals:
            return None, f"the key {fingerprint(blob) or 'of the signature'} is not in {allowed.file}"
        said = ""
        for principal in principals:
            arguments = ["-Y", "verify", "-f", str(signers), "-I", principal, "-n", NAMESPACE, "-s", str(signature)]
            done = _keygen(arguments, message)
            if done.returncode == 0:
                return ("the given SSH key" if allowed.file is None else principal), "an SSH key"
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
        return None, " ".join(said.split()) or "ssh-keygen does not accept the signature"


def public_fingerprint(line: str) -> str:
    """Return the fingerprint of a public key line, as `ssh-keygen -l` prints it; raises UsageError."""
    try:
        return _fingerprint(base64.b64decode(line.split()[1], validate=True))
    except (binascii.Error, ValueError, IndexError):
        raise usage("this is no SSH public key") from None


def fingerprint(blob: bytes) -> str | None:
    """Return the fingerprint of the key that an SSHSIG says it was made with; None where it is cut off."""
    try:
        (length,) = struct.unpack_from(">I", blob, len(MAGIC) + 4)
    except struct.error:
        return None
    key = blob[len(MAGIC) + 8 : len(MAGIC) + 8 + length]
    return _fingerprint(key) if len(key) == length else None


def armor(blob: bytes) -> str:
    """Return an SSHSIG as ssh-keygen reads it from a file."""
    text = base64.b64encode(blob).decode()
    lines = "\n".join(text[at : at + 70] for at in range(0, len(text), 70))
    return f"-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n"


def dearmor(text: str) -> bytes | None:
    """Return the bytes of an armored SSHSIG; None where it is none."""
    found = re.search(r"-----BEGIN SSH SIGNATURE-----(.*)-----END SSH SIGNATURE-----", text, re.DOTALL)
    if found is None:
        return None
    blob = base64.b64decode(found[1])
    return blob if blob.startswith(MAGIC) else None


def _principals(signature: Path, signers: Path) -> list[str]:
    done = _keygen(["-Y", "find-principals", "-s", str(signature), "-f", str(signers)], b"")
    if done.returncode != 0:
        return []
    lines = done.stdout.decode(errors="replace").splitlines()
    return [name for line in lines for name in line.strip().split(",") if name]


def _fingerprint(key: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _keygen(
    arguments: list[str], message: bytes, stderr: int | None = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise InfrastructureError(
            "ssh-keygen is not installed, which SSH signatures are made and checked with",
            hint="install OpenSSH's client (8.9 or newer), or sign with --key",
        )
    try:
        return subprocess.run(
            [program, *arguments], input=message, stdout=subprocess.PIPE, stderr=stderr, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise InfrastructureError(f"ssh-keygen did not answer within {_LIMIT_S} s") from None
