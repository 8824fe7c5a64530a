"""Keys for tests, and signing in one line."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from repro_tui.attest import envelope, keys, signing, ssh
from repro_tui.attest.verification import Material, Trust, Verification, verify
from repro_tui.runs.directory import RunDirectory


def no_passphrase() -> bytes:
    raise AssertionError("this key has no passphrase")


@dataclass(frozen=True)
class Keyring:
    """A folder of keys, made when they are asked for; `name.pub` is the public side."""

    folder: Path

    def pem(self, name: str = "author") -> Path:
        path = self.folder / f"{name}.pem"
        if not path.exists():
            keys.new_key(path, None)
        return path

    def other_kind(self, private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, name: str) -> Path:
        path = self.folder / name
        path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        public_of(path).write_bytes(public)
        return path

    def ssh(self, kind: str = "ed25519", passphrase: str = "", name: str = "") -> Path:
        path = self.folder / f"id_{kind}{name}"
        if not path.exists():
            subprocess.run(
                ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "ada@example.org", "-f", str(path)],
                check=True,
                stdin=subprocess.DEVNULL,
            )
        return path

    def allowed(self, key: Path, who: str, options: str = "") -> Path:
        path = self.folder / f"allowed-{key.name}-{who}-{len(options)}"
        path.write_text(f"{who} {options} {public_of(key).read_text()}".replace("  ", " "))
        return path


def public_of(path: Path) -> Path:
    return path.with_name(path.name + ".pub")


def sign(run: RunDirectory, key: Path, *, by_ssh: bool = False) -> Path:
    """Sign a run with a key file and return the attestation."""
    path = run.path / envelope.FILE_NAME
    _, payload = signing.payload(run)
    if by_ssh:
        signing.add_signature(path, payload, lambda message: ssh.sign(message, key))
    else:
        signing.add_signature(path, payload, keys.load_signer(key, no_passphrase).sign)
    return path


def checked(run: RunDirectory, *public: Path, allowed: ssh.Allowed | None = None) -> Verification:
    """Verify a run's attestation with public keys."""
    material = Material(run.path / envelope.FILE_NAME, run.report, run.manifest, run)
    return verify(material, Trust(keys=[keys.load_public(path) for path in public], allowed=allowed))
