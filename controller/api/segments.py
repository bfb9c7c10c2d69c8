"""The bytes of a spec file: what may stand in them, and where its documents begin and end.

Promises: refuses what is no text that people edit (not UTF-8, control characters, ten megabytes) with a position;
splits a file into its documents byte for byte, so that one broken document leaves its neighbours alone. Does not:
parse YAML.
"""

import re
from typing import NamedTuple

from yaml.nodes import Node

from controller.api.problems import Position

MAX_DOCUMENT = 1 << 20
"""Bytes of one document."""
MAX_FILE = 10 << 20
"""Bytes of a file; more is refused unread."""
MAX_DOCUMENTS = 1000


class Fault(NamedTuple):
    """Something that no document may contain; `node` is the key or value that it stands at, when there is a tree."""

    position: Position
    reason: str
    message: str
    fix: str
    node: Node | None = None


class Segment(NamedTuple):
    """The bytes of one document of a file, its `---` line included."""

    data: bytes
    line: int
    """Lines of the file before it."""


# Controls; NEL, LS and PS, which end lines in YAML 1.1 but not in 1.2; and what turns the direction of text around, so
# that a reviewer reads something else than the parser.
_HIDDEN = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufffe\uffff]"
HIDDEN = re.compile(_HIDDEN)
"""A character that no text of a spec may contain, however it is written."""
_UNWANTED = re.compile(rf"{_HIDDEN}|(?<!\A)\ufeff|\r(?!\n)")
_PRINTABLE_ASCII = bytes([9, 10, *range(32, 127)])
_BOMS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


def _place(text: str, offset: int) -> Position:
    before = text[:offset]
    return Position(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


def check_bytes(data: bytes) -> Fault | None:
    """The fault of bytes that are no text that people edit: too long, not UTF-8, control characters."""
    if len(data) <= MAX_DOCUMENT and not data.translate(None, _PRINTABLE_ASCII):
        return None  # the usual file, without a regular expression
    if len(data) > MAX_FILE:
        fix = f"keep a file of specs below {MAX_FILE:,} bytes"
        return Fault(Position(), "FileTooLarge", f"the file has {len(data):,} bytes", fix)
    if data.startswith(_BOMS):
        return Fault(Position(), "NotUTF8", "the file is UTF-16 or UTF-32", "save it as UTF-8")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        where = _place(before, len(before))
        return Fault(where, "NotUTF8", f"byte 0x{data[error.start]:02x} is not UTF-8", "save the file as UTF-8")
    found = _UNWANTED.search(text)
    if not found:
        return None
    message = f"the character U+{ord(found.group()):04X} may not stand in a spec"
    fix = "end lines with a line feed" if found.group() == "\r" else "delete it"
    return Fault(_place(text, found.start()), "ControlCharacter", message, fix)


_MARKER = re.compile(rb"^(?:\xef\xbb\xbf)?(---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
_CONTENT = re.compile(rb"^(?!\xef\xbb\xbf)[ \t]*[^\s#]|^\xef\xbb\xbf[ \t]*[^\s#]", re.MULTILINE)
_DIRECTIVE = re.compile(rb"(?:\xef\xbb\xbf)?(?:[ \t]*(?:#[^\n]*)?\r?\n)*%")


def find_directive(data: bytes) -> int | None:
    """The line, from 0, of a `%` directive before the document's content."""
    found = _DIRECTIVE.match(data) if b"%" in data else None
    return data.count(b"\n", 0, found.end()) if found else None


def find_end(data: bytes) -> int:
    """Where the content of one document ends: at its `...` line, else at its last byte."""
    return next((marker.start() for marker in _MARKER.finditer(data) if marker.group(1) == b"..."), len(data))


def segments(data: bytes) -> list[Segment]:
    """The documents of a file; joined they are the file.

    Blank lines and comments before the first `---` belong to the document that it begins, those after `...` to the
    one that it ends. A marker at the start of a line is one wherever it stands, inside quotes and block scalars too.
    """
    markers = list(_MARKER.finditer(data)) if b"---" in data or b"..." in data else []
    if not markers:
        return [Segment(data, 0)]
    cuts = [0]
    ends = [marker.start() for marker in markers[1:]] + [len(data)]
    for marker, next_marker in zip(markers, ends, strict=True):
        if marker.group(1) == b"---":
            if _CONTENT.search(data, cuts[-1], marker.start()):
                cuts.append(marker.start())
        else:
            after = data.find(b"\n", marker.end()) + 1
            if after and _CONTENT.search(data, after, next_marker):
                cuts.append(after)
    lines = 0
    found = []
    for start, end in zip(cuts, [*cuts[1:], len(data)], strict=True):
        found.append(Segment(data[start:end], lines))
        lines += data.count(b"\n", start, end)
    return found
