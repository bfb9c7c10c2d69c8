"""What a plain (unquoted) YAML scalar means: the YAML 1.2 core schema, cut down to what every reader agrees on.

Promises: a scalar that kubectl's parser (sigs.k8s.io/yaml, a YAML 1.1 reader in Go) reads differently is never
guessed at: it comes back as a `BadScalar` that says to quote it. Does not: look at quoted or block scalars, which are
always text.

The rules of the other reader are in `resolve` of goyaml.v2/resolve.go; a contract test compares both readers.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from controller.api.canonical import MAX_INTEGER

Scalar = str | int | float | bool | None


class BadScalar(NamedTuple):
    """A plain scalar that is refused, with the reason and what to write instead."""

    reason: str
    message: str
    fix: str


_WORDS: dict[str, Scalar] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_YAML_1_1 = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON"), "true"),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF"), "false"),
}
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_GO_NUMBER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][-+]?[01]+)")
_LONGEST_NUMBER = 400
"""Characters; a longer run of digits is no number that anyone means, and parsing it costs quadratic time."""

FIRST_CHARACTERS = frozenset(["", *"+-.0123456789~yYnNtTfFoO"])
"""A plain scalar whose first character (or emptiness) is none of these is text for every reader."""


def _ambiguous(text: str, other: str) -> BadScalar:
    return BadScalar(
        "AmbiguousScalar", f"{text} is read as {other} by some YAML readers (kubectl among them)", f'quote it: "{text}"'
    )


def _integer(text: str, value: int) -> int | BadScalar:
    if abs(value) <= MAX_INTEGER:
        return value
    fix = f'quote it if it is text: "{text}"' if len(text) < 80 else "quote it if it is text"
    return BadScalar("InvalidNumber", f"a whole number beyond {MAX_INTEGER} loses digits in JSON", fix)


def _float(text: str) -> float | BadScalar:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return _ambiguous(text, "infinity by some and as text")
    return value


def _number_like(text: str) -> Scalar | BadScalar:
    if len(text) > _LONGEST_NUMBER:
        digits_only = set(text) <= set("+-.0123456789eE_xabcdfABCDF")
        return (
            BadScalar("InvalidNumber", f"a number of {len(text)} characters", "quote it if it is text")
            if digits_only
            else text
        )
    if _INTEGER.fullmatch(text):
        return _integer(text, int(text))
    if _LEADING_ZERO.fullmatch(text):
        return _ambiguous(text, "an octal number")
    if _FLOAT.fullmatch(text):
        return _float(text)
    if _HEXADECIMAL.fullmatch(text):
        return _integer(text, int(text, 16))
    if _NOT_FINITE.fullmatch(text):
        return BadScalar(
            "InvalidNumber", f"{text} is not a finite number", f'write a finite number, or quote it: "{text}"'
        )
    bare = text.replace("_", "")
    if _GO_NUMBER.fullmatch(bare) or (bare != text and (_FLOAT.fullmatch(bare) or _LEADING_ZERO.fullmatch(bare))):
        return _ambiguous(text, "a number")
    return text


def resolve(text: str) -> Scalar | BadScalar:
    """The value of a plain scalar, or why it is refused."""
    if text in _WORDS:
        return _WORDS[text]
    if text in _YAML_1_1:
        return _ambiguous(text, _YAML_1_1[text])
    return _number_like(text) if text[0] in "+-.0123456789" else text


_resolve_short = lru_cache(maxsize=4096)(resolve)


def resolve_cached(text: str) -> Scalar | BadScalar:
    """`resolve`, remembering short texts: specs say the same words again and again."""
    return _resolve_short(text) if len(text) < 40 else resolve(text)
