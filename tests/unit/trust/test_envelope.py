"""An envelope is accepted in exactly the bytes that were signed, from exactly the keys that are trusted."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from controller.api.canonical import canonical_bytes
from controller.trust.envelope import (
    MAX_ENVELOPE_BYTES,
    PAYLOAD_TYPE,
    EnvelopeError,
    key_id_of,
    open_envelope,
    pae,
    seal,
)
from tests.fakes.signer import FakeSigner

SIGNER = FakeSigner(1)
OTHER = FakeSigner(2)
PAYLOAD = b'{"_type":"x"} not \xff necessarily JSON'
ENVELOPE = SIGNER.sign(PAYLOAD_TYPE, PAYLOAD)
ROOT = SIGNER.trust_root


def refused(data: bytes, **options: Any) -> EnvelopeError:
    """The error that opening these bytes gives."""
    with pytest.raises(EnvelopeError) as caught:
        open_envelope(data, options.get("root", ROOT), options.get("revoked", frozenset()))
    return caught.value


def edited(change: Callable[[dict[str, Any]], Any]) -> bytes:
    """The envelope with a change, in canonical form again."""
    envelope = json.loads(ENVELOPE)
    change(envelope)
    return canonical_bytes(envelope)


def test_pae_is_the_example_of_the_dsse_specification() -> None:
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_what_was_sealed_opens_to_the_same_bytes() -> None:
    opened = open_envelope(ENVELOPE, ROOT)
    assert (opened.payload, opened.key_id) == (PAYLOAD, SIGNER.key_id)


def test_every_bit_of_every_byte_counts() -> None:
    tried = 0
    for position in range(len(ENVELOPE)):
        for bit in range(8):
            changed = bytearray(ENVELOPE)
            changed[position] ^= 1 << bit
            refused(bytes(changed))
            tried += 1
    assert tried == len(ENVELOPE) * 8


def test_a_byte_more_or_less_anywhere_counts() -> None:
    for position in range(len(ENVELOPE) + 1):
        for extra in (b" ", b"\n", b"\t", b"="):
            refused(ENVELOPE[:position] + extra + ENVELOPE[position:])
        if position < len(ENVELOPE):
            refused(ENVELOPE[:position] + ENVELOPE[position + 1 :])


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        (lambda e: e.update(payload=base64.b64encode(b"other").decode()), "signature", "does not verify"),
        (lambda e: e.update(payloadType="text/plain"), "signature", "does not verify"),
        (lambda e: e["signatures"][0].update(keyid=OTHER.key_id), "signature", "not in the trust root"),
        (lambda e: e["signatures"][0].update(keyid=7), "envelope", "must be strings"),
        (lambda e: e["signatures"].append(e["signatures"][0]), "envelope", "exactly one signature"),
        (lambda e: e.update(signatures=[]), "envelope", "exactly one signature"),
        (lambda e: e.update(signatures="none"), "envelope", "exactly one signature"),
        (lambda e: e.update(signatures=["x"]), "envelope", "must be an object"),
        (lambda e: e.update(note=1), "envelope", "must have exactly"),
        (lambda e: e["signatures"][0].update(cert="x"), "envelope", "must have exactly"),
        (lambda e: e.pop("payloadType"), "envelope", "must have exactly"),
        (lambda e: e.update(payload="!!!!"), "envelope", "not base64"),
        (lambda e: e.update(payload=e["payload"] + "\n"), "envelope", "base64"),
        (lambda e: e.update(payload=None), "envelope", "base64"),
        (lambda e: e["signatures"][0].update(sig=e["signatures"][0]["sig"][:-4]), "envelope", "has 64 bytes"),
    ],
)
def test_what_is_wrong_is_said(change: Callable[[dict[str, Any]], Any], check: str, words: str) -> None:
    error = refused(edited(change))
    assert error.check == check
    assert words in str(error)


def test_spare_bits_at_the_end_of_base64_are_refused() -> None:
    sig = json.loads(ENVELOPE)["signatures"][0]["sig"]
    assert sig.endswith("==")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    same_bytes = sig[:-3] + alphabet[alphabet.index(sig[-3]) ^ 1] + "=="
    assert base64.b64decode(same_bytes) == base64.b64decode(sig)
    assert "canonical base64" in str(refused(edited(lambda e: e["signatures"][0].update(sig=same_bytes))))


def test_the_url_safe_alphabet_is_refused() -> None:
    data = seal(PAYLOAD_TYPE, b"\xfb\xff\xfe", SIGNER.key_id, lambda _: b"\0" * 64)
    assert b"+//+" in data
    assert "base64" in str(refused(data.replace(b"+//+", b"-__-")))


@pytest.mark.parametrize(
    "data",
    [
        ENVELOPE.replace(b'{"payload"', b'{"payload":"AAAA","payload"'),
        ENVELOPE.replace(b",", b", ", 1),
        ENVELOPE + b"\n",
        b"\xef\xbb\xbf" + ENVELOPE,
        ENVELOPE.replace(b"payloadType", b"payload\\u0054ype"),
        json.dumps(dict(reversed(json.loads(ENVELOPE).items()))).encode(),
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
    ],
)
def test_other_spellings_of_the_same_json_are_refused(data: bytes) -> None:
    assert refused(data).check == "envelope"


def test_a_duplicate_key_is_named_as_the_fault() -> None:
    assert "appears twice" in str(refused(ENVELOPE.replace(b'{"payload"', b'{"payload":"AAAA","payload"')))


def test_too_large_a_file_is_not_parsed() -> None:
    assert "at most" in str(refused(b"[" * (MAX_ENVELOPE_BYTES + 1)))


def test_a_revoked_key_counts_no_longer() -> None:
    error = refused(ENVELOPE, revoked=frozenset({SIGNER.key_id}))
    assert error.check == "signature"
    assert "revoked" in str(error)


def test_a_signature_by_another_key_under_a_trusted_id_is_refused() -> None:
    forged = seal(PAYLOAD_TYPE, PAYLOAD, SIGNER.key_id, OTHER._key.sign)
    assert "does not verify" in str(refused(forged))


def test_a_trust_root_that_lies_about_a_key_is_refused() -> None:
    forged = seal(PAYLOAD_TYPE, PAYLOAD, SIGNER.key_id, OTHER._key.sign)
    assert "is another key" in str(refused(forged, root={SIGNER.key_id: OTHER.public_pem}))


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n", b"\xff\n\n\n"])
def test_a_trust_root_without_a_usable_key_is_refused(pem: bytes) -> None:
    assert "unusable" in str(refused(ENVELOPE, root={SIGNER.key_id: pem}))


def test_only_statements_are_accepted() -> None:
    signed_text = SIGNER.sign("text/plain", PAYLOAD)
    assert "payloadType" in str(refused(signed_text))


def test_a_key_id_names_an_ed25519_key_only() -> None:
    assert key_id_of(SIGNER.public_pem) == SIGNER.key_id
    x25519 = base64.b64encode(bytes.fromhex("302a300506032b656e032100") + bytes(32))
    with pytest.raises(ValueError, match="not an Ed25519"):
        key_id_of(b"-----BEGIN PUBLIC KEY-----\n" + x25519 + b"\n-----END PUBLIC KEY-----\n")
