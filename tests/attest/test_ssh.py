from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from repro_tui.attest import envelope, ssh
from repro_tui.attest.ssh import Allowed
from repro_tui.errors import InfrastructureError, UsageError
from repro_tui.runs.directory import RunDirectory
from tests.attest.keyring import Keyring, checked, public_of, sign

pytestmark = pytest.mark.usefixtures("ssh_keygen")


@contextmanager
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if shutil.which("ssh-agent") is None:
        pytest.skip("ssh-agent is not installed")
    said = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
    socket, pid = re.search(r"SSH_AUTH_SOCK=([^;]+)", said), re.search(r"SSH_AGENT_PID=(\d+)", said)
    assert socket is not None
    assert pid is not None
    monkeypatch.setenv("SSH_AUTH_SOCK", socket[1])
    try:
        yield
    finally:
        os.kill(int(pid[1]), 15)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_keys_of_every_kind_sign_and_verify(run: RunDirectory, keyring: Keyring, kind: str) -> None:
    key = keyring.ssh(kind)
    sign(run, key, by_ssh=True)
    assert checked(run, public_of(key)).word == "VERIFIED"
    result = checked(run, public_of(keyring.ssh(name="-other")))
    assert result.refused is not None
    assert "a wrong or an unknown key" in result.refused.detail


def test_ssh_keygen_itself_accepts_the_signature(run: RunDirectory, keyring: Keyring, tmp_path: Path) -> None:
    key = keyring.ssh()
    read = envelope.read(sign(run, key, by_ssh=True))
    ((name, signature),) = read.signatures.items()
    listed = subprocess.run(["ssh-keygen", "-lf", str(key)], capture_output=True, text=True, check=True).stdout
    assert listed.split()[1] == name
    (tmp_path / "sig").write_text(ssh.armor(bytes.fromhex(signature.signature)))
    signers = keyring.allowed(key, "ada@example.org")
    done = subprocess.run(
        ["ssh-keygen", "-Y", "verify", "-f", signers, "-I", "ada@example.org", "-n", "repro-tui", "-s", tmp_path / "sig"],
        input=read.pae(), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_allowed_signers_say_who_it_was(run: RunDirectory, keyring: Keyring) -> None:
    key = keyring.ssh()
    sign(run, key, by_ssh=True)
    good = checked(run, allowed=Allowed(file=keyring.allowed(key, "ada@example.org")))
    assert good.word == "VERIFIED"
    assert good.signed_by[0].startswith("ada@example.org (SHA256:")

    def refused(signers: Path, identity: str | None = None) -> str:
        result = checked(run, allowed=Allowed(file=signers, identity=identity))
        assert result.exit_code == 1
        assert result.refused is not None
        return result.refused.detail

    other = keyring.ssh(name="-other")
    assert "is not in" in refused(keyring.allowed(other, "ada@example.org"))
    assert "by no allowed signer" in refused(keyring.allowed(key, "ada@example.org"), "eve@example.org")
    assert "by no allowed signer" in refused(keyring.allowed(key, "git@example.org", 'namespaces="git"'))
    assert "by no allowed signer" in refused(keyring.allowed(key, "late@example.org", 'valid-before="20200101"'))


def test_a_signature_for_something_else_is_none_of_an_attestation(
    run: RunDirectory, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keyring.ssh()
    monkeypatch.setattr(ssh, "NAMESPACE", "file")
    sign(run, key, by_ssh=True)
    monkeypatch.undo()
    result = checked(run, public_of(key))
    assert result.exit_code == 1
    assert result.refused is not None
    assert "namespace" in result.refused.detail


def test_the_agent_signs_for_a_public_key(
    run: RunDirectory, keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keyring.ssh(name="-agent")
    alone = tmp_path / "alone.pub"
    shutil.copy(public_of(key), alone)
    with agent(monkeypatch):
        with pytest.raises(UsageError, match="ssh-keygen did not sign") as caught:
            sign(run, alone, by_ssh=True)
        assert "the agent" in caught.value.hint
        subprocess.run(["ssh-add", "-q", str(key)], check=True, capture_output=True)
        sign(run, alone, by_ssh=True)
    assert checked(run, alone).word == "VERIFIED"


def test_a_passphrase_is_ssh_s_own_business(
    run: RunDirectory, keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keyring.ssh(passphrase="correct horse", name="-locked")
    ask = tmp_path / "ask"
    monkeypatch.setenv("SSH_ASKPASS", str(ask))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    ask.write_text("#!/bin/sh\necho wrong\n")
    ask.chmod(0o755)
    with pytest.raises(UsageError, match="incorrect passphrase"):
        sign(run, key, by_ssh=True)
    ask.write_text("#!/bin/sh\necho correct horse\n")
    sign(run, key, by_ssh=True)
    assert checked(run, public_of(key)).word == "VERIFIED"


def test_without_ssh_keygen_that_is_what_is_said(
    run: RunDirectory, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keyring.ssh()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InfrastructureError, match="ssh-keygen is not installed"):
        sign(run, key, by_ssh=True)


@pytest.mark.parametrize("blob", [b"SSHSIG", b"SSHSIG\0\0\0\1\0\0\1\0short", b"SSHSIG" + b"\xff" * 100])
def test_a_broken_signature_is_refused(run: RunDirectory, keyring: Keyring, blob: bytes) -> None:
    signer, why = ssh.verify(b"x", blob, Allowed(line=public_of(keyring.ssh()).read_text().strip()))
    assert signer is None
    assert why
