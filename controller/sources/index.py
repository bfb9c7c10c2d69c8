"""What the source remembers of every spec file, compactly: about 400 bytes a spec.

Promises: says which keys a new look at a file changes; former keys of an invalid file stay; a key that leaves its last
place is withheld, not deleted. Pure: no I/O, no clock. Does not: decide when a withheld key is gone (deletions.py).
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from controller.api.documents import Loaded
from controller.ports.source import Key, key_of
from controller.sources.files import STAT_BYTES

DIGEST_BYTES = 16
MARK_BYTES = 8
_HEAD = struct.Struct(f"<{STAT_BYTES}s?{DIGEST_BYTES}s")
_DOC = struct.Struct(f"<{DIGEST_BYTES}s{MARK_BYTES}s?H")
NOTHING = b"\0" * DIGEST_BYTES
UNMARKED = b"\0" * MARK_BYTES

KeyBytes = bytes


def digest(data: bytes) -> bytes:
    """16 bytes that stand for these bytes inside one process."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def mark(content: bytes) -> bytes:
    """What is remembered of a file that we wrote, from the digest of its content."""
    return content[:MARK_BYTES]


def encode(key: Key) -> KeyBytes:
    """A key as bytes."""
    return "\0".join(key).encode()


def decode(key: KeyBytes) -> Key:
    """The key of `encode`."""
    return Key(*key.decode().split("\0"))


def user_parts(loaded: Loaded) -> dict[KeyBytes, bytes]:
    """Digest of the user part by key; a name that stands twice in one file counts with both bodies."""
    parts: dict[KeyBytes, list[bytes]] = {}
    for document in loaded.documents:
        parts.setdefault(encode(key_of(document)), []).append(document.user_part)
    return {key: digest(b"\0".join(same)) for key, same in parts.items()}


class Doc(NamedTuple):
    """One key in one file."""

    digest: bytes = NOTHING
    """Of the user part."""
    wrote: bytes = UNMARKED
    """`mark` of the file as we last wrote it, or UNMARKED."""
    held: bool = False
    """The file is invalid now and this key was in it before."""


class Entry(NamedTuple):
    """One file as last seen."""

    stat: bytes
    racy: bool
    """The stat key proves nothing: read it again at the next look."""
    content: bytes
    """Digest of the whole file."""
    docs: Mapping[KeyBytes, Doc] = {}

    def pack(self) -> bytes:
        """The form in which it is kept."""
        parts = [_HEAD.pack(self.stat, self.racy, self.content)]
        for key, doc in self.docs.items():
            parts += (_DOC.pack(doc.digest, doc.wrote, doc.held, len(key)), key)
        return b"".join(parts)


def unpack(record: bytes) -> Entry:
    """The entry of `Entry.pack`."""
    stat, racy, content = _HEAD.unpack_from(record)
    return Entry(stat, racy, content, dict(_docs(record)))


def _docs(record: bytes) -> Iterator[tuple[KeyBytes, Doc]]:
    offset = _HEAD.size
    while offset < len(record):
        user, wrote, held, length = _DOC.unpack_from(record, offset)
        offset += _DOC.size + length
        yield record[offset - length : offset], Doc(user, wrote, held)


@dataclass(slots=True)
class Parsed:
    """One parsed file, for `get`."""

    stat: bytes
    racy: bool
    content: bytes
    loaded: Loaded


@dataclass(frozen=True, slots=True)
class Withheld:
    """A key without a place."""

    since: float
    """Monotonic seconds when it was first missed."""
    path: str
    """Its last place; empty for a key that only the store remembers."""
    doc: Doc


class Index:
    """Files by path and places by key."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}
        self.withheld: dict[KeyBytes, Withheld] = {}
        self._places: dict[KeyBytes, str | tuple[str, ...]] = {}

    def __len__(self) -> int:
        """Known keys, withheld ones included."""
        return len(self._places) + len(self.withheld)

    def keys(self) -> Iterator[KeyBytes]:
        """Known keys, withheld ones included."""
        yield from self._places
        yield from self.withheld

    def places(self, key: KeyBytes) -> tuple[str, ...]:
        """The files that hold the key."""
        found = self._places.get(key, ())
        return (found,) if isinstance(found, str) else found

    def unchanged(self, path: str, stat: bytes) -> bool:
        """Does the stat key alone prove that the file is as it was?"""
        record = self.records.get(path)
        return record is not None and record.startswith(stat) and not record[STAT_BYTES]

    def entry(self, path: str) -> Entry | None:
        """The file as last seen."""
        record = self.records.get(path)
        return None if record is None else unpack(record)

    def put(self, path: str, entry: Entry, now: float) -> set[KeyBytes]:
        """Remember a file; returns the keys that are to be reconciled because of it."""
        before = self.entry(path)
        old: Mapping[KeyBytes, Doc] = before.docs if before else {}
        changed = {key for key in entry.docs.keys() & old.keys() if _differs(old[key], entry.docs[key])}
        for key in entry.docs.keys() - old.keys():
            if self._enter(key, path, entry.docs[key]):
                changed.add(key)
        for key in old.keys() - entry.docs.keys():
            if self._leave(key, path, old[key], now):
                changed.add(key)
        self.records[path] = entry.pack()
        return changed

    def drop(self, path: str, now: float) -> set[KeyBytes]:
        """The file is not there; returns keys to be reconciled (a clash that is resolved)."""
        entry = self.entry(path)
        if entry is None:
            return set()
        del self.records[path]
        return {key for key, doc in entry.docs.items() if self._leave(key, path, doc, now)}

    def former_keys(self, path: str) -> dict[KeyBytes, Doc]:
        """The keys that an invalid file holds on to: those it had, and those withheld since it vanished."""
        entry = self.entry(path)
        had = dict(entry.docs) if entry else {}
        had.update((key, missing.doc) for key, missing in self.withheld.items() if missing.path == path)
        return {key: doc._replace(held=True) for key, doc in had.items()}

    def expect(self, keys: Iterable[KeyBytes], now: float) -> None:
        """Keys that the store knows: missing them is a deletion to confirm, not nothing."""
        for key in keys:
            if key not in self._places:
                self.withheld.setdefault(key, Withheld(now, "", Doc()))

    def forget(self, key: KeyBytes) -> None:
        """A withheld key is really gone."""
        del self.withheld[key]

    def _enter(self, key: KeyBytes, path: str, doc: Doc) -> bool:
        missing = self.withheld.pop(key, None)
        if missing is not None:
            self._places[key] = path
            return missing.path != path or _differs(missing.doc, doc)
        self._set_places(key, (*self.places(key), path))
        return True

    def _leave(self, key: KeyBytes, path: str, doc: Doc, now: float) -> bool:
        """True when the key still has another place: a clash may be over, or the file was moved."""
        rest = tuple(place for place in self.places(key) if place != path)
        self._set_places(key, rest)
        if not rest:
            self.withheld[key] = Withheld(now, path, doc)
        return bool(rest)

    def _set_places(self, key: KeyBytes, places: tuple[str, ...]) -> None:
        if not places:
            self._places.pop(key, None)
        else:
            self._places[key] = places[0] if len(places) == 1 else places


def _differs(old: Doc, new: Doc) -> bool:
    return (old.digest, old.held) != (new.digest, new.held)
