from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError

from repro_tui.attest import envelope, keys
from repro_tui.attest.files import UnreadableError
from repro_tui.errors import UsageError
from repro_tui.runs.directory import RunDirectory
from tests.attest.keyring import Keyring, checked, no_passphrase, public_of, sign


def test_a_new_key_is_private_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    public, key_id = keys.new_key(path, None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert keys.load_public(public).key_id == key_id
    before = path.read_bytes(), public.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        keys.new_key(path, None)
    path.unlink()
    with pytest.raises(UsageError, match="never overwritten"):
        keys.new_key(path, None)
    assert not path.exists()
    assert public.read_bytes() == before[1]


def test_a_passphrase_is_asked_for_and_has_to_be_right(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    keys.new_key(path, b"correct horse")
    assert b"ENCRYPTED" in path.read_bytes()
    assert keys.load_signer(path, lambda: b"correct horse").public_key.keyid == keys.load_public(public_of(path)).key_id
    with pytest.raises(UsageError, match="cannot be used") as caught:
        keys.load_signer(path, lambda: b"wrong")
    assert "passphrase" in caught.value.hint


def test_files_that_are_other_than_they_should_be_are_named(tmp_path: Path, keyring: Keyring) -> None:
    key = keyring.pem()
    with pytest.raises(UsageError, match="no private key") as caught:
        keys.load_signer(public_of(key), no_passphrase)
    assert "without .pub" in caught.value.hint
    with pytest.raises(UsageError, match="this is a private key"):
        keys.load_public(key)
    text = tmp_path / "text"
    text.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(UsageError, match="cannot be used"):
        keys.load_signer(text, no_passphrase)
    text.write_bytes(b"\xff\xfe nothing")
    for load in (lambda: keys.load_public(text), lambda: keys.load_signer(text, no_passphrase)):
        with pytest.raises(UsageError):
            load()
    with pytest.raises(UnreadableError, match="cannot be read"):
        keys.load_public(tmp_path / "none")


def test_ecdsa_and_rsa_work_and_a_short_rsa_key_does_not(run: RunDirectory, keyring: Keyring) -> None:
    good = [
        keyring.other_kind(ec.generate_private_key(ec.SECP256R1()), "ecdsa.pem"),
        keyring.other_kind(rsa.generate_private_key(65537, 2048), "rsa.pem"),
    ]
    for key in good:
        sign(run, key)
    assert checked(run, *map(public_of, good)).word == "VERIFIED"
    short = keyring.other_kind(rsa.generate_private_key(65537, 1024), "short.pem")
    with pytest.raises(UsageError, match="1024 bits"):
        keys.load_signer(short, no_passphrase)
    with pytest.raises(UsageError, match="1024 bits"):
        keys.load_public(public_of(short))


def test_securesystemslib_itself_accepts_the_envelope(run: RunDirectory, keyring: Keyring) -> None:
    import json

    attestation = sign(run, keyring.pem())
    read = Envelope.from_dict(json.loads(attestation.read_bytes()))
    key, other = (keys.load_public(public_of(keyring.pem(name))).key for name in ("author", "other"))
    assert key is not None
    assert other is not None
    assert read.verify([key], 1) == {key.keyid: key}
    with pytest.raises(VerificationError):
        read.verify([other], 1)


def test_openssl_accepts_the_signature(run: RunDirectory, keyring: Keyring, tmp_path: Path) -> None:
    import shutil

    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    read = envelope.read(sign(run, keyring.pem()))
    (signature,) = read.signatures.values()
    (tmp_path / "pae").write_bytes(read.pae())
    (tmp_path / "sig").write_bytes(bytes.fromhex(signature.signature))
    done = subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public_of(keyring.pem())), "-rawin",
         "-in", str(tmp_path / "pae"), "-sigfile", str(tmp_path / "sig")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "rawin" in done.stderr and done.returncode != 0:
        pytest.skip("this openssl cannot verify ed25519 from its command line")
    assert "Verified Successfully" in done.stdout, done.stderr
