"""DSSE envelopes: made in one byte form, and accepted in that form only.

Promises: bytes in, verdict out. `open_envelope` accepts exactly one Ed25519 signature by a trusted, unrevoked key over
the payload bytes as they are (DSSE v1.0.2 pre-authentication encoding). The file must be the RFC 8785 bytes that `seal`
writes, so no byte of it can change unnoticed: base64 tail bits, key id, white space, member order, escapes included.
Order of the checks: size, JSON, members, base64, byte form, key not revoked, key known, signature, payload type.
Does not: read files or keys from disk, hold a private key, or look inside the payload.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import Signature, SSlibKey

from controller.api.canonical import canonical_bytes
from controller.trust.keyid import key_id_of, raw_key

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_ENVELOPE_BYTES = 64 * 2**20
_SIGNATURE_BYTES = 64


class EnvelopeError(ValueError):
    """Why an envelope is not accepted. `check` is envelope (its form) or signature (who signed it); `reason` is
    stable."""

    def __init__(self, check: str, reason: str, message: str) -> None:
        self.check, self.reason = check, reason
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Opened:
    """An envelope whose signature verifies."""

    payload: bytes
    """Verbatim."""
    key_id: str


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed (DSSE pre-authentication encoding)."""
    encoded: bytes = Envelope(payload, payload_type, {}).pae()
    return encoded


def seal(payload_type: str, payload: bytes, key_id: str, sign: Callable[[bytes], bytes]) -> bytes:
    """The envelope's bytes over the payload verbatim; `sign` gets the encoded bytes and returns 64 signature bytes."""
    signature = Signature(key_id, sign(pae(payload_type, payload)).hex())
    return canonical_bytes(Envelope(payload, payload_type, {key_id: signature}).to_dict())


def open_envelope(data: bytes, keys: Mapping[str, bytes], revoked: frozenset[str] = frozenset()) -> Opened:
    """Verify an envelope against a trust root (key id to public PEM).

    Raises:
        EnvelopeError: it is not exactly what a trusted, unrevoked key signed; says which check failed and why.
    """
    payload_type, payload, key_id, signature = _parse(data)
    if key_id in revoked:
        raise EnvelopeError(
            "signature", "KeyRevoked", f"the key {key_id} is revoked; without trusted time none of its signatures count"
        )
    if key_id not in keys:
        raise EnvelopeError("signature", "KeyUnknown", f"the key {key_id} is not in the trust root (for this use)")
    _verify(key_id, keys[key_id], signature, pae(payload_type, payload))
    if payload_type != PAYLOAD_TYPE:
        raise EnvelopeError("envelope", "PayloadTypeMismatch", f"payloadType is {payload_type!r}, not {PAYLOAD_TYPE!r}")
    return Opened(payload, key_id)


def _verify(key_id: str, public_pem: bytes, signature: bytes, message: bytes) -> None:
    try:
        raw = raw_key(public_pem)
    except ValueError as error:
        raise EnvelopeError(
            "signature", "TrustRootInvalid", f"the trusted key {key_id} is unusable: {error}"
        ) from error
    if key_id_of(public_pem) != key_id:
        raise EnvelopeError("signature", "TrustRootInvalid", f"the key trusted under the id {key_id} is another key")
    key = SSlibKey(key_id, "ed25519", "ed25519", {"public": raw.hex()})
    try:
        key.verify_signature(Signature(key_id, signature.hex()), message)
    except (UnverifiedSignatureError, VerificationError) as error:
        raise EnvelopeError(
            "signature", "SignatureInvalid", f"the signature does not verify with the key {key_id}"
        ) from error


def _parse(data: bytes) -> tuple[str, bytes, str, bytes]:
    if len(data) > MAX_ENVELOPE_BYTES:
        raise _malformed(f"the envelope has {len(data)} bytes; at most {MAX_ENVELOPE_BYTES} are read")
    envelope = _json(data)
    _members(envelope, {"payload", "payloadType", "signatures"}, "the envelope")
    signatures = envelope["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise EnvelopeError(
            "envelope", "SignatureCount", f"exactly one signature is expected, not {_count(signatures)}"
        )
    _members(signatures[0], {"keyid", "sig"}, "the signature")
    payload_type, key_id = envelope["payloadType"], signatures[0]["keyid"]
    if not isinstance(payload_type, str) or not isinstance(key_id, str):
        raise _malformed("payloadType and keyid must be strings")
    payload, signature = _base64(envelope["payload"], "payload"), _base64(signatures[0]["sig"], "sig")
    if len(signature) != _SIGNATURE_BYTES:
        raise _malformed(f"an Ed25519 signature has {_SIGNATURE_BYTES} bytes, not {len(signature)}")
    if canonical_bytes(envelope) != data:
        raise _malformed("the file is not in the byte form that is signed (RFC 8785, nothing around it)")
    return payload_type, payload, key_id, signature


def _malformed(message: str) -> EnvelopeError:
    return EnvelopeError("envelope", "EnvelopeInvalid", message)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"the envelope is not JSON: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return value


def _members(value: Any, names: set[str], what: str) -> None:
    if not isinstance(value, dict):
        raise _malformed(f"{what} must be an object")
    if value.keys() != names:
        raise _malformed(f"{what} must have exactly {', '.join(sorted(names))}, not {', '.join(sorted(value))}")


def _count(signatures: Any) -> str:
    return str(len(signatures)) if isinstance(signatures, list) else "a value that is no list"


def _base64(text: Any, name: str) -> bytes:
    try:
        decoded = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError) as error:
        raise EnvelopeError("envelope", "EncodingInvalid", f"{name} is not base64: {error}") from error
    if not isinstance(text, str) or base64.b64encode(decoded).decode() != text:
        message = f"{name} is not canonical base64 (standard alphabet, padding, no spare bits)"
        raise EnvelopeError("envelope", "EncodingInvalid", message)
    return decoded
