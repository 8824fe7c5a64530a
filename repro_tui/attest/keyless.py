"""Sigstore: a signature by an identity (an e-mail address, a workflow) instead of a key. Needs the network to sign.

The one module that knows the package `sigstore`; everything it fails with comes out as an error of ours.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from repro_tui.attest.files import need, read_bounded
from repro_tui.errors import InfrastructureError

ENDING = "sigstore.json"
FILE_NAME = f"attestation.{ENDING}"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle"
_HINT = "signing asks Sigstore's services and your identity provider over the network; --key and --ssh-key need none"


def is_bundle(value: Any) -> bool:
    """Say whether a JSON value is a Sigstore bundle around a DSSE envelope."""
    return (
        isinstance(value, dict) and str(value.get("mediaType", "")).startswith(MEDIA_TYPE) and "dsseEnvelope" in value
    )


def sign(payload: bytes, *, token: str | None = None) -> str:
    """Return the Sigstore bundle of a statement, as JSON text; raises InfrastructureError.

    The identity is `token`, else that of the surrounding CI job, else the one that a person shows in a browser.
    """
    need("sigstore", "sigstore")
    dsse, models, oidc, signing = (_module(name) for name in ("dsse", "models", "oidc", "sign"))
    try:
        trust = models.ClientTrustConfig.production()
        found = token or oidc.detect_credential()
        if found is not None:
            identity = oidc.IdentityToken(found)
        else:
            identity = oidc.Issuer(trust.signing_config.get_oidc_url()).identity_token()
        with signing.SigningContext.from_trust_config(trust).signer(identity) as signer:
            return str(signer.sign_dsse(dsse.Statement(payload)).to_json()) + "\n"
    except Exception as error:  # the package and its transports raise what they like; nothing was written yet
        raise InfrastructureError(f"Sigstore did not sign: {_words(error)}", hint=_HINT) from error


def verify(
    content: bytes, *, identity: str, issuer: str, trusted_root: Path | None = None, offline: bool = False
) -> tuple[str, bytes] | str:
    """Return (payload type, payload) of a bundle that the identity signed, or in words why it does not hold.

    Raises InfrastructureError where the root of trust cannot be had.
    """
    need("sigstore", "sigstore")
    errors, models, verifying, policy = (_module(name) for name in ("errors", "models", "verify", "verify.policy"))
    try:
        if trusted_root is not None:
            read_bounded(trusted_root, 1 << 24, "the trusted root")
            verifier = verifying.Verifier(trusted_root=models.TrustedRoot.from_file(str(trusted_root)))
        else:
            verifier = verifying.Verifier.production(offline=offline)
    except Exception as error:
        raise InfrastructureError(
            f"Sigstore's root of trust cannot be had: {_words(error)}",
            hint="--trusted-root FILE names one that was fetched before",
        ) from error
    try:
        bundle = models.Bundle.from_json(content)
        payload_type, payload = verifier.verify_dsse(bundle, policy.Identity(identity=identity, issuer=issuer))
    except errors.Error as error:
        return _words(error)
    except ValueError as error:
        return f"this is no Sigstore bundle: {_words(error)}"
    return str(payload_type), bytes(payload)


def _module(name: str) -> Any:
    """Return a module of the package; it is optional, so nothing here may import it by name when it is read."""
    return importlib.import_module(f"sigstore.{name}")


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
