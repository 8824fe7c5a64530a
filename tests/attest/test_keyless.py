"""Sigstore: written against its real interface, run here against a stand-in for the package.

What the stand-in has (names, arguments, errors) is compared with the real package where that is installed; the real
service was never asked.
"""

from __future__ import annotations

import base64
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from repro_tui.attest import keyless, signing
from repro_tui.attest.verification import Material, Trust, Verification, verify
from repro_tui.errors import InfrastructureError
from repro_tui.runs.directory import RunDirectory
from tests.attest.keyring import Keyring, checked

WHO, ISSUER = "ada@example.org", "https://accounts.example.org"


class RefusalError(Exception):
    pass


class Bundle:
    def __init__(self, content: bytes) -> None:
        self.body = json.loads(content)

    @classmethod
    def from_json(cls, raw: bytes) -> Bundle:
        return cls(raw)

    def to_json(self) -> str:
        return json.dumps(self.body)


class Signer:
    def __init__(self, token: str) -> None:
        self.token = token

    def sign_dsse(self, input_: SimpleNamespace) -> Bundle:
        sealed = {
            "payload": base64.b64encode(input_.contents).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": base64.b64encode(self.token.encode()).decode()}],
        }
        return Bundle(json.dumps({"mediaType": keyless.MEDIA_TYPE + ".v0.3+json", "dsseEnvelope": sealed}).encode())


class Verifier:
    """The signature is the token: whoever has it is whom it names."""

    def __init__(self, *, trusted_root: object = None) -> None:
        pass

    @classmethod
    def production(cls, *, offline: bool = False) -> Verifier:
        if offline:
            raise OSError("nothing is cached")
        return cls()

    def verify_dsse(self, bundle: Bundle, policy: SimpleNamespace) -> tuple[str, bytes]:
        sealed = bundle.body["dsseEnvelope"]
        if base64.b64decode(sealed["signatures"][0]["sig"]) != f"{policy.identity} {policy.issuer}".encode():
            raise RefusalError(f"Certificate's SANs do not match {policy.identity}")
        return sealed["payloadType"], base64.b64decode(sealed["payload"])


@contextmanager
def _signer(token: str) -> Iterator[Signer]:
    yield Signer(token)


def _offline(cls: object = None) -> None:
    raise OSError("Network is unreachable")


@pytest.fixture
def sigstore(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Put a stand-in where the package is imported from."""
    trust = SimpleNamespace(signing_config=SimpleNamespace(get_oidc_url=lambda: ISSUER))
    state = SimpleNamespace(trust=lambda: trust, ambient=None)
    parts: dict[str, dict[str, Any]] = {
        "errors": {"Error": RefusalError},
        "dsse": {"Statement": lambda contents: SimpleNamespace(contents=contents)},
        "models": {
            "Bundle": Bundle,
            "ClientTrustConfig": SimpleNamespace(
                production=lambda: state.trust()  # noqa: PLW0108 - looked up when it is called
            ),
            "TrustedRoot": SimpleNamespace(from_file=lambda path: path),
        },
        "oidc": {
            "detect_credential": lambda: state.ambient,
            "IdentityToken": str,
            "Issuer": lambda url: SimpleNamespace(identity_token=lambda: f"browser@example.org {url}"),
        },
        "sign": {"SigningContext": SimpleNamespace(from_trust_config=lambda trust: SimpleNamespace(signer=_signer))},
        "verify": {"Verifier": Verifier},
        "verify.policy": {"Identity": lambda *, identity, issuer: SimpleNamespace(identity=identity, issuer=issuer)},
    }
    monkeypatch.setitem(sys.modules, "sigstore", ModuleType("sigstore"))
    for name, names in parts.items():
        module = ModuleType(f"sigstore.{name}")
        module.__dict__.update(names)
        monkeypatch.setitem(sys.modules, f"sigstore.{name}", module)
    monkeypatch.setattr(keyless, "need", lambda extra, *packages: None)
    return state


def sign(run: RunDirectory, token: str | None = f"{WHO} {ISSUER}") -> Path:
    path = run.path / keyless.FILE_NAME
    path.write_text(keyless.sign(signing.payload(run)[1], token=token))
    return path


def judged(run: RunDirectory, **trust: Any) -> Verification:
    return verify(Material(run.path / keyless.FILE_NAME, run.report, run.manifest, run), Trust(**trust))


@pytest.mark.usefixtures("sigstore")
def test_an_identity_signs_and_is_verified(run: RunDirectory) -> None:
    sign(run)
    result = judged(run, identity=WHO, issuer=ISSUER)
    assert (result.word, result.exit_code) == ("VERIFIED", 0)
    assert WHO in result.signed_by[0]


@pytest.mark.usefixtures("sigstore")
def test_another_identity_and_changed_bytes_are_refused(run: RunDirectory, keyring: Keyring) -> None:
    path = sign(run)
    other = judged(run, identity="eve@example.org", issuer=ISSUER)
    assert other.refused is not None
    assert other.refused.detail == "Sigstore refuses it: Certificate's SANs do not match eve@example.org"
    unchecked = judged(run)
    assert (unchecked.word, unchecked.exit_code) == ("NOT VERIFIED", 5)
    run.report.write_text(run.report.read_text().replace("Acme", "Acne"))
    changed = judged(run, identity=WHO, issuer=ISSUER)
    assert changed.refused is not None
    assert changed.refused.name == "report"
    path.unlink()


@pytest.mark.usefixtures("sigstore")
def test_a_key_says_nothing_about_an_identity(run: RunDirectory, keyring: Keyring) -> None:
    from tests.attest.keyring import public_of
    from tests.attest.keyring import sign as sign_with_key

    sign(run)
    from repro_tui.attest import keys

    public = keys.load_public(public_of(keyring.pem()))
    assert judged(run, keys=[public]).exit_code == 1
    sign_with_key(run, keyring.pem())
    result = verify(Material(run.path / "attestation.dsse.json", run.report), Trust(identity=WHO, issuer=ISSUER))
    assert result.refused is not None
    assert "no Sigstore bundle" in result.refused.detail
    assert checked(run, public.path).word == "VERIFIED"


def test_who_signs_is_the_token_then_the_job_then_the_browser(run: RunDirectory, sigstore: SimpleNamespace) -> None:
    sign(run, None)
    assert judged(run, identity="browser@example.org", issuer=ISSUER).word == "VERIFIED"
    sigstore.ambient = f"job {ISSUER}"
    sign(run, None)
    assert judged(run, identity="job", issuer=ISSUER).word == "VERIFIED"
    sign(run)
    assert judged(run, identity=WHO, issuer=ISSUER).word == "VERIFIED"


def test_without_the_network_that_is_what_is_said(run: RunDirectory, sigstore: SimpleNamespace) -> None:
    sign(run)
    with pytest.raises(InfrastructureError, match="root of trust cannot be had: nothing is cached"):
        judged(run, identity=WHO, issuer=ISSUER, offline=True)
    sigstore.trust = _offline
    with pytest.raises(InfrastructureError, match="did not sign: Network is unreachable") as caught:
        sign(run)
    assert "--ssh-key" in caught.value.hint


def test_without_the_package_its_extra_is_named(run: RunDirectory) -> None:
    if importlib.util.find_spec("sigstore") is not None:
        pytest.skip("sigstore is installed")
    with pytest.raises(InfrastructureError, match="the package sigstore") as caught:
        sign(run)
    assert caught.value.hint == "pip install 'repro-tui[sigstore]'"


def test_the_stand_in_is_like_the_real_package(run: RunDirectory) -> None:
    pytest.importorskip("sigstore", reason="the package sigstore is not installed (extra: sigstore)")
    import importlib

    models, oidc, signing_, verifying, policy, dsse = (
        importlib.import_module(f"sigstore.{name}")
        for name in ("models", "oidc", "sign", "verify", "verify.policy", "dsse")
    )
    assert "offline" in inspect.signature(verifying.Verifier.production).parameters
    assert "trusted_root" in inspect.signature(verifying.Verifier).parameters
    assert list(inspect.signature(verifying.Verifier.verify_dsse).parameters) == ["self", "bundle", "policy"]
    assert {"identity", "issuer"} <= inspect.signature(policy.Identity).parameters.keys()
    assert inspect.signature(models.TrustedRoot.from_file).parameters
    assert inspect.signature(models.Bundle.from_json).parameters
    assert inspect.signature(models.ClientTrustConfig.production).parameters
    assert inspect.signature(signing_.SigningContext.from_trust_config).parameters
    assert inspect.signature(signing_.Signer.sign_dsse).parameters
    assert oidc.detect_credential
    assert inspect.signature(oidc.Issuer).parameters
    dsse.Statement(signing.payload(run)[1])
