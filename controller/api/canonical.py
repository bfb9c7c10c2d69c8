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


_ENCODE = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


def _agrees(value: Any) -> bool:
    """Whether Python's own encoder writes this value as RFC 8785 does.

    It does for ASCII keys (sorted alike by code point and by UTF-16 unit), strings, and numbers whose shortest digits
    both write without an exponent. Anything else is left to rfc8785, which is right everywhere and several times
    slower.
    """
    stack: list[Any] = [[value]]
    while stack:  # a loop over containers, not over values: this runs on every spec
        for item in stack.pop():
            kind = type(item)
            if kind is str or kind is bool or item is None:
                continue
            if kind is dict:  # a key that is no text raises TypeError here
                if not "".join(item).isascii():
                    return False
                stack.append(item.values())
            elif kind is list or kind is tuple:
                stack.append(item)
            elif not (kind is int or kind is float) or not _plain_number(item):
                return False
    return True


def _plain_number(value: float) -> bool:
    if isinstance(value, int):
        return -MAX_INTEGER <= value <= MAX_INTEGER
    return 1e-4 <= abs(value) < 1e16 and not value.is_integer()


def canonical_bytes(value: Any) -> bytes:
    """The RFC 8785 bytes of a JSON value.

    Raises:
        ValueError: a number that RFC 8785 cannot carry (NaN, infinity, an integer beyond 2^53-1) or a value that is
        not JSON.
    """
    try:
        if _agrees(value):
            return _ENCODE(value).encode()
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
