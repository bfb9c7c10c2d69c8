"""JSON values as block-style YAML that every reader reads alike.

Promises: deterministic; any text that a YAML 1.1 or 1.2 reader could take for something else is in double quotes;
what is written loads back equal through `yaml_loader`. Does not: keep comments, or write anything but JSON values.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller.api.canonical import number_text
from controller.api.scalars import resolve

_BIG, _EXPONENT = 2.0**53, 1e21
"""From the first on, the loader refuses whole numbers; from the second on, canonical text has an exponent."""
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./+@-]*(?:[:=][A-Za-z0-9_./+@-]+)*")
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def scalar(value: Any) -> str:
    """One scalar.

    Raises:
        ValueError: not a JSON scalar, not finite, or beyond 2^53-1.
    """
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float) and _BIG <= abs(value) < _EXPONENT:
        return repr(value)  # as digits alone it would read as a whole number that no reader of JSON keeps exactly
    if isinstance(value, int | float):
        return number_text(value)
    if not isinstance(value, str):
        raise ValueError(f"{type(value).__name__} is no JSON value")  # noqa: TRY004  # callers handle one error
    if _PLAIN.fullmatch(value) and resolve(value) == value:
        return value
    return _ESCAPED.sub(lambda found: f"\\u{ord(found.group()):04x}", json.dumps(value, ensure_ascii=False))


def lines(value: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a mapping in block style, unindented and without line ends.

    Raises:
        ValueError: something in it is no JSON value.
    """
    for key, item in value.items():
        yield from _entry(f"{scalar(key)}:", item)


def _entry(head: str, item: Any) -> Iterator[str]:
    if isinstance(item, Mapping) and item:
        yield head
        yield from ("  " + line for line in lines(item))
    elif isinstance(item, Sequence) and not isinstance(item, str | bytes) and item:
        yield head
        for element in item:
            yield from _element(element)
    else:
        yield f"{head} {_empty(item)}"


def _element(item: Any) -> Iterator[str]:
    if isinstance(item, Mapping) and item:
        body = list(lines(item))
    elif isinstance(item, Sequence) and not isinstance(item, str | bytes) and item:
        body = [line for element in item for line in _element(element)]
    else:
        body = [_empty(item)]
    yield f"- {body[0]}"
    yield from ("  " + line for line in body[1:])


def _empty(item: Any) -> str:
    if isinstance(item, Mapping):
        return "{}"
    if isinstance(item, Sequence) and not isinstance(item, str | bytes):
        return "[]"
    return scalar(item)
