from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope

from repro_tui.attest import envelope, keys
from repro_tui.attest.files import UnreadableError
from repro_tui.attest.verification import Material, Trust, verify

KNOWN = Path(__file__).with_name("known")
GOOD: dict[str, Any] = {
    "payload": base64.b64encode(b"hello world").decode(),
    "payloadType": "http://example.com/HelloWorld",
    "signatures": [{"keyid": "k", "sig": "AAAA"}],
}


def parse(value: object) -> Envelope:
    return envelope.parse(json.dumps(value).encode(), where="a")


def test_what_is_signed_is_the_encoding_of_the_specification() -> None:
    assert parse(GOOD).pae() == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_an_envelope_by_in_toto_itself_is_read_and_its_signature_holds() -> None:
    read = envelope.read(KNOWN / "in-toto.link.json")
    key = keys.load_public(KNOWN / "in-toto.pub")
    assert key.key is not None
    (signature,) = read.signatures.values()
    assert signature.keyid == key.key_id
    assert keys.verify(key.key, bytes.fromhex(signature.signature), read.pae())
    assert not keys.verify(key.key, bytes.fromhex(signature.signature), read.pae() + b" ")


def test_a_link_signed_by_the_right_key_is_still_no_verdict() -> None:
    result = verify(Material(KNOWN / "in-toto.link.json"), Trust(keys=[keys.load_public(KNOWN / "in-toto.pub")]))
    assert result.signed_by
    assert result.exit_code == 1
    assert result.refused is not None
    assert result.refused.name == "statement"
    assert "'link'" in result.refused.detail


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "no DSSE envelope: it has list"),
        ({}, "it has nothing"),
        ({**GOOD, "extra": 1}, "it has extra, payload"),
        ({**GOOD, "payloadType": 3}, "payloadType is text"),
        ({**GOOD, "signatures": {}}, "signatures a list"),
        ({**GOOD, "signatures": [{"keyid": "k", "sig": "AAAA"}] * 65}, "at most 64"),
        ({**GOOD, "signatures": [{"keyid": "k", "sig": "AAAA"}] * 2}, "two signatures with the key id 'k'"),
        ({**GOOD, "signatures": [{"keyid": "k"}]}, "other keys than keyid and sig"),
        ({**GOOD, "signatures": [{"keyie": "k", "sig": "AAAA"}]}, "other keys than keyid and sig"),
        ({**GOOD, "signatures": ["AAAA"]}, "other keys"),
        ({**GOOD, "payload": "aGVsbG8"}, "payload of the envelope is not base64"),
        ({**GOOD, "payload": "aGVs\nbG8="}, "payload of the envelope is not base64"),
        ({**GOOD, "payload": "aGVsbG9="}, "payload of the envelope is not base64"),  # a padding bit is set
        ({**GOOD, "payload": None}, "payload of the envelope is not base64"),
    ],
)
def test_what_is_no_envelope_is_refused_with_the_reason(value: object, said: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        parse(value)
    assert said in caught.value.message
    assert caught.value.exit_code == 2


def test_both_alphabets_of_base64_are_read() -> None:
    for text in ("-_-_", "+/+/"):
        assert parse({**GOOD, "payload": text}).payload == b"\xfb\xff\xbf"


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(UnreadableError, match="'payload' stands twice"):
        envelope.parse(b'{"payload": "", "payload": ""}', where="a")


@given(st.binary(max_size=200))
def test_any_bytes_are_an_envelope_or_an_error_of_ours(content: bytes) -> None:
    with pytest.raises(UnreadableError):
        envelope.parse(content, where="a")


def test_what_was_written_reads_the_same() -> None:
    read = parse(GOOD)
    text = envelope.render(read)
    assert envelope.parse(text.encode(), where="a") == read
    assert text.count("\n") == 1


def test_a_file_that_is_too_large_or_none_is_not_read(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(envelope.MAX_BYTES + 1)
    for path, said in ((large, "larger than"), (tmp_path, "not a plain file"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(UnreadableError, match=said):
            envelope.read(path)
