"""New git objects made in memory: trees in which only some files differ, and the pack that carries them.

Promises: every entry that is not changed keeps its bytes, its mode and its place, whatever it is; pure, no I/O.
Does not: judge what it copies.
"""

import hashlib
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

_KINDS = {"commit": 1, "tree": 2, "blob": 3}
_ENTRY = re.compile(rb"([0-7]{1,6}) ([^\0]*)\0(.{20})", re.DOTALL)
_TREE = b"40000"
_FILE = b"100644"


class Conflict(Exception):  # noqa: N818  # it is one
    """A file cannot be put there: a folder is in its place, or a file in the place of its folder."""


@dataclass(frozen=True, slots=True)
class NewObject:
    """One object that is not in the repository yet."""

    kind: str
    data: bytes

    @property
    def oid(self) -> str:
        """Its id."""
        head = f"{self.kind} {len(self.data)}\0".encode()
        return hashlib.sha1(head + self.data, usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class _Entry:
    mode: bytes
    name: bytes
    oid: str

    @property
    def order(self) -> bytes:
        """Folders sort as if their name ended with a slash."""
        return self.name + b"/" if self.mode.lstrip(b"0") == _TREE else self.name


def rewritten(read: Callable[[str], bytes], tree: str | None, files: Mapping[bytes, str]) -> list[NewObject]:
    """The trees that differ once these files (path to blob id) are put into `tree`; the root comes last.

    Args:
        read: a tree's bytes by id.
        tree: the root; None for an empty one.
        files: path from the root to the blob's id; not empty.

    Raises:
        Conflict: a path leads through a file, or ends at a folder.
    """
    entries = [_Entry(found[1], found[2], found[3].hex()) for found in _ENTRY.finditer(read(tree))] if tree else []
    made: list[NewObject] = []
    for name, inside in _by_first(files).items():
        there = next((entry for entry in entries if entry.name == name), None)
        if b"" in inside:
            _put(entries, there, _FILE, name, inside[b""])
            continue
        if there is not None and there.mode.lstrip(b"0") != _TREE:
            raise Conflict(f"{name.decode(errors='backslashreplace')} is a file")
        below = rewritten(read, there.oid if there else None, inside)
        made += below
        _put(entries, there, _TREE, name, below[-1].oid)
    data = b"".join(b"%b %b\0%b" % (entry.mode, entry.name, bytes.fromhex(entry.oid)) for entry in entries)
    return [*made, NewObject("tree", data)]


def entry_of(tree: bytes, name: bytes) -> tuple[str, str] | None:
    """Mode and id of an entry of a tree; None when it has no such entry."""
    return next(((e[1].decode(), e[3].hex()) for e in _ENTRY.finditer(tree) if e[2] == name), None)


def _by_first(files: Mapping[bytes, str]) -> dict[bytes, dict[bytes, str]]:
    """Grouped by the first part of the path; the rest of a path that ends there is empty."""
    grouped: dict[bytes, dict[bytes, str]] = {}
    for path, oid in files.items():
        first, _, rest = path.partition(b"/")
        grouped.setdefault(first, {})[rest] = oid
    return grouped


def _put(entries: list[_Entry], there: _Entry | None, mode: bytes, name: bytes, oid: str) -> None:
    if there is not None:
        if mode == _FILE and not there.mode.startswith(b"100"):
            raise Conflict(f"{name.decode(errors='backslashreplace')} is not a regular file")
        there.oid = oid
        return
    new = _Entry(mode, name, oid)
    at = next((index for index, entry in enumerate(entries) if entry.order > new.order), len(entries))
    entries.insert(at, new)


def pack(objects: Iterable[NewObject]) -> bytes:
    """A version 2 pack of these objects, undeltified (gitformat-pack(5))."""
    items = {item.oid: item for item in objects}
    parts = [b"PACK", struct.pack(">II", 2, len(items))]
    for item in items.values():
        parts += (_head(_KINDS[item.kind], len(item.data)), zlib.compress(item.data, 1))
    data = b"".join(parts)
    return data + hashlib.sha1(data, usedforsecurity=False).digest()


def _head(kind: int, size: int) -> bytes:
    """Type and size: 4 bits of the size in the first byte, then 7 bits each, the lowest first."""
    byte, size = kind << 4 | size & 15, size >> 4
    head = bytearray()
    while size:
        head.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    head.append(byte)
    return bytes(head)
