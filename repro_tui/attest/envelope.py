"""The DSSE envelope: what was signed, and by whom. Read strictly, so that no two readings of the same bytes differ."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signature  # type: ignore[attr-defined] # it is public, by its documentation

from repro_tui.attest.files import UnreadableError, parse_json, read_bounded

PAYLOAD_TYPE = "application/vnd.in-toto+json"
ENDING = "dsse.json"
FILE_NAME = f"attestation.{ENDING}"
MAX_BYTES = 16 << 20
"""A larger file is no attestation."""
MAX_SIGNATURES = 64

_KEYS = {"payload", "payloadType", "signatures"}


def read(path: Path) -> Envelope:
    """Return the envelope in a file; raises UnreadableError."""
    return parse(read_bounded(path, MAX_BYTES, "the attestation"), where=str(path))


def parse(content: bytes, *, where: str) -> Envelope:
    """Return the envelope in JSON text; raises UnreadableError that says what is wrong with it."""
    return from_value(parse_json(content, where=where, what="the attestation"), where=where)


def from_value(value: Any, *, where: str) -> Envelope:
    """Return the envelope in a JSON value; raises UnreadableError. A field that nobody looks at is not accepted."""
    if not isinstance(value, dict) or value.keys() != _KEYS:
        keys = ", ".join(sorted(value)) if isinstance(value, dict) else type(value).__name__
        raise UnreadableError(
            f"this is no DSSE envelope: it has {keys or 'nothing'}, one has {', '.join(sorted(_KEYS))}", where=where
        )
    payload_type, listed = value["payloadType"], value["signatures"]
    if not isinstance(payload_type, str) or not isinstance(listed, list) or len(listed) > MAX_SIGNATURES:
        raise UnreadableError(
            f"this is no DSSE envelope: payloadType is text, signatures a list of at most {MAX_SIGNATURES}", where=where
        )
    signatures: dict[str, Signature] = {}
    for each in listed:
        if not isinstance(each, dict) or not {"sig"} <= each.keys() <= {"sig", "keyid"}:
            raise UnreadableError("a signature of the envelope has other keys than keyid and sig", where=where)
        key_id = each.get("keyid", "")
        if not isinstance(key_id, str) or key_id in signatures:
            raise UnreadableError(f"the envelope has two signatures with the key id {key_id!r}", where=where)
        signatures[key_id] = Signature(key_id, _decode(each, "sig", where).hex())
    return Envelope(_decode(value, "payload", where), payload_type, signatures)


def render(envelope: Envelope) -> str:
    """Return the file's text: one line, so that it is a line of an `.intoto.jsonl` file too."""
    return json.dumps(envelope.to_dict(), separators=(",", ":"), sort_keys=True) + "\n"


def _decode(body: Mapping[str, Any], key: str, where: str) -> bytes:
    """Return the bytes of a base64 value. The alphabets are both the format's; padding bits must be what they are."""
    text = body[key]
    if isinstance(text, str):
        for altchars in (b"+/", b"-_"):
            try:
                decoded = base64.b64decode(text, altchars=altchars, validate=True)
            except (binascii.Error, ValueError):
                continue
            if base64.b64encode(decoded, altchars=altchars).decode() == text:
                return decoded
    raise UnreadableError(f"{key} of the envelope is not base64", where=where)
