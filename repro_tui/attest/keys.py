"""Key files: a new key pair, a private key to sign with, a public one to verify with. PEM, by `cryptography`."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import (  # type: ignore[attr-defined] # they are public, by its documentation
    CryptoSigner,
    Signature,
    SSlibKey,
)

from repro_tui.attest.files import read_bounded, usage
from repro_tui.attest.ssh import PUBLIC_LINE, Allowed, public_fingerprint
from repro_tui.errors import UsageError

MAX_BYTES = 1 << 16
MIN_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key whose signature has to be there: one of PEM (`key`) or of SSH (`ssh`)."""

    path: Path
    key_id: str
    key: SSlibKey | None = None
    ssh: Allowed | None = None


def new_key(path: Path, passphrase: bytes | None) -> tuple[Path, str]:
    """Write a new ed25519 key (PKCS #8, mode 0600) and its public side beside it; return that path and the key's id.

    Nothing is ever overwritten: raises UsageError.
    """
    public_path = path.with_name(path.name + ".pub")
    private = Ed25519PrivateKey.generate()
    content = private.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    )
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if public_path.exists():
        raise _taken(public_path)
    _write_new(path, content, 0o600)
    try:
        _write_new(public_path, public, 0o644)
    except UsageError:
        path.unlink()
        raise
    return public_path, SSlibKey.from_crypto(private.public_key()).keyid


def load_signer(path: Path, passphrase: Callable[[], bytes]) -> CryptoSigner:
    """Return what signs with a private key file; `passphrase` is called where it has one. Raises UsageError."""
    content = read_bounded(path, MAX_BYTES, "the key")
    if b"BEGIN OPENSSH PRIVATE KEY" in content:
        raise usage("this is an SSH key", where=path, hint=f"--ssh-key {path}")
    if b"PRIVATE KEY-----" not in content:
        hint = "this is the public side; sign with the file without .pub" if b"PUBLIC KEY" in content else ""
        raise usage(
            "this is no private key in PEM", where=path, hint=hint or "`repro-tui sign --new-key PATH` makes one"
        )
    try:
        try:
            private = load_pem_private_key(content, None)
        except TypeError:  # it is encrypted
            private = load_pem_private_key(content, passphrase())
        if isinstance(private, RSAPrivateKey) and private.key_size < MIN_RSA_BITS:
            raise usage(f"an RSA key of {private.key_size} bits is too short to trust", where=path)
        return CryptoSigner(private)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise usage(
            f"the key cannot be used: {error}", where=path, hint="is the passphrase right? ed25519, ECDSA and RSA work"
        ) from None


def load_public(path: Path) -> PublicKey:
    """Return the public key in a file, PEM or one line of SSH; raises UsageError."""
    content = read_bounded(path, MAX_BYTES, "the public key")
    if b"PRIVATE KEY-----" in content:
        raise usage(
            "this is a private key; verifying takes the public one",
            where=path,
            hint=f"--key {path}.pub, if it is there",
        )
    with suppress(UnicodeDecodeError):
        lines = [line.strip() for line in content.decode().splitlines() if line.strip()]
        if len(lines) == 1 and PUBLIC_LINE.match(lines[0]):
            line = " ".join(lines[0].split()[:2])
            return PublicKey(path, public_fingerprint(line), ssh=Allowed(line=line))
    try:
        public = load_pem_public_key(content)
        if isinstance(public, RSAPublicKey) and public.key_size < MIN_RSA_BITS:
            raise usage(f"an RSA key of {public.key_size} bits is too short to trust", where=path)
        key = SSlibKey.from_crypto(public)
    except (ValueError, UnsupportedAlgorithm):
        raise usage(
            "this is no public key: neither PEM nor one line of SSH",
            where=path,
            hint="an allowed-signers file is given with --allowed-signers",
        ) from None
    return PublicKey(path, key.keyid, key=key)


def verify(key: SSlibKey, signature: bytes, message: bytes) -> bool:
    """Say whether a signature is the key's over a message."""
    try:
        key.verify_signature(Signature(key.keyid, signature.hex()), message)
    except UnverifiedSignatureError:
        return False
    return True


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise _taken(path) from None
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _taken(path: Path) -> UsageError:
    return usage("there is a file already; a key is never overwritten", where=path, hint="choose another name")
