"""Canonical bytes and digests.

Promises: one JSON form (RFC 8785, JSON Canonicalization Scheme) and one digest spelling (``sha256:<64 hex>``)
for everything that is hashed or signed. Does not: read files, or re-serialise bytes that came from elsewhere.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import rfc8785

MAX_INTEGER = 2**53 - 1


def canonical_bytes(value: Any) -> bytes:
    """The RFC 8785 bytes of a JSON value.

    Raises:
        ValueError: a number that RFC 8785 cannot carry (NaN, infinity, an integer beyond 2^53-1) or a value that is not JSON.
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, TypeError) as error:
        raise ValueError(f"not canonical JSON: {error}") from error


def number_text(value: int | float) -> str:
    """A number as text, in the one spelling used in plan bytes, argv and the params file (RFC 8785, 3.2.2.3)."""
    return canonical_bytes(value).decode()


def digest_bytes(data: bytes) -> str:
    """``sha256:<hex>`` of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_value(value: Any) -> str:
    """``sha256:<hex>`` of the RFC 8785 bytes of a JSON value."""
    return digest_bytes(canonical_bytes(value))


def hex_of(digest: str) -> str:
    """The 64 hex digits of a ``sha256:`` digest.

    Raises:
        ValueError: the text is not a sha256 digest.
    """
    prefix, _, digits = digest.partition(":")
    if prefix != "sha256" or len(digits) != 64 or set(digits) - set("0123456789abcdef"):
        raise ValueError(f"not a sha256 digest: {digest!r}")
    return digits


def pretty_json(value: Mapping[str, Any]) -> bytes:
    """JSON for people and diffs (sorted, two spaces, final newline); never for hashing."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
