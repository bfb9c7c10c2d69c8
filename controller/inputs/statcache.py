"""The stat cache: digests of files that have not changed since they were hashed.

Promises: an entry is used only when path, device, inode, size, mtime and ctime (ns) are all the same, and when both
times lie before the moment hashing began (git's racy rule, made stricter: a file written while or after it was hashed
can never match). Deleting the cache, truncating it or filling it with rubbish only costs time. One file per dataset;
a record is one bytes object (path, NUL, 40 bytes), about 110 bytes in memory. Does not: notice a change that keeps
all five numbers (only root can make one).
"""

import contextlib
import hashlib
import os
import struct
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MAGIC = b"fetchml-stat-1\n\0"
_FIELDS = struct.Struct("<32s32s32sQ")
_HEADER = len(_MAGIC) + 32 + _FIELDS.size
_STAT = struct.Struct(">QQQqq")
_LENGTH = struct.Struct("<I")
_COARSE = getattr(time, "CLOCK_REALTIME_COARSE", 5)  # Linux; the clock that file systems stamp with
STAT_BYTES = _STAT.size
DIGEST_BYTES = 32
UNKNOWN = bytes(32)


@dataclass(frozen=True, slots=True)
class Known:
    """The head of one dataset's cache file."""

    fingerprint: bytes
    """sha256 over all records; UNKNOWN unless every record was settled."""
    digest: bytes
    """sha256 of the whole dataset."""
    body_check: bytes
    file: Path

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """(record, sha256 of that file) in order; nothing when the body is damaged."""
        try:
            with self.file.open("rb") as stream:
                stream.seek(_HEADER)
                if hashlib.file_digest(stream, "sha256").digest() == self.body_check:
                    stream.seek(_HEADER)
                    yield from _records(stream)
        except OSError:
            return


def _records(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while head := stream.read(_LENGTH.size):
        (length,) = _LENGTH.unpack(head)
        yield stream.read(length), stream.read(DIGEST_BYTES)


def file_clock() -> int:
    """Now in ns, by the clock that stamps files: what is written from now on has no earlier stamp."""
    return time.clock_gettime_ns(_COARSE)


def record(path: bytes, status: os.stat_result) -> bytes:
    """The record of one file. Records sort as their paths do."""
    numbers = _STAT.pack(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return path + b"\0" + numbers


def path_in(entry: bytes) -> bytes:
    """The path of a record."""
    return entry[: -STAT_BYTES - 1]


def size_in(entry: bytes) -> int:
    """The file's size in bytes."""
    return int.from_bytes(entry[-STAT_BYTES + 16 : -STAT_BYTES + 24], "big")


def settled(entry: bytes, began: int) -> bool:
    """Were both times of the record before `began`?"""
    _, _, _, mtime, ctime = _STAT.unpack_from(entry, len(entry) - STAT_BYTES)
    return bool(max(mtime, ctime) < began)


def fingerprint(entries: Sequence[bytes]) -> bytes:
    """sha256 over sorted records."""
    hasher = hashlib.sha256()
    for start in range(0, len(entries), 4096):
        hasher.update(b"".join(entries[start : start + 4096]))
    return hasher.digest()


class StatCache:
    """Cache files in one folder, by the place (kind and real path) of the dataset."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, place: bytes) -> Known | None:
        """What is known of the dataset at `place`; None for an absent or damaged file."""
        file = self._file(place)
        try:
            with file.open("rb") as stream:
                head = stream.read(_HEADER)
        except OSError:
            return None
        fields = head[len(_MAGIC) + 32 :]
        if not head.startswith(_MAGIC) or hashlib.sha256(fields).digest() != head[len(_MAGIC) : len(_MAGIC) + 32]:
            return None
        whole, digest, body_check, _ = _FIELDS.unpack(fields)
        return Known(whole, digest, body_check, file)

    def save(
        self, place: bytes, entries: Sequence[bytes], digests: bytes | bytearray, digest: bytes, began: int
    ) -> None:
        """Keep what was hashed since `began` (32 bytes of `digests` an entry), but records that are not settled."""
        with contextlib.suppress(OSError):  # a cache that cannot be written is no failure
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._folder, prefix=".tmp-")
            try:
                with os.fdopen(handle, "wb") as file:
                    _write(file, entries, digests, digest, began)
                Path(name).replace(self._file(place))
            except BaseException:  # Ctrl-C too
                Path(name).unlink(missing_ok=True)
                raise

    def _file(self, place: bytes) -> Path:
        return self._folder / f"{hashlib.sha256(place).hexdigest()[:32]}.stat"


def _write(file: BinaryIO, entries: Sequence[bytes], digests: bytes | bytearray, digest: bytes, began: int) -> None:
    file.write(bytes(_HEADER))
    hasher = hashlib.sha256()
    kept = 0
    for i, entry in enumerate(entries):
        if settled(entry, began):
            line = _LENGTH.pack(len(entry)) + entry + digests[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES]
            hasher.update(line)
            file.write(line)
            kept += 1
    whole = fingerprint(entries) if kept == len(entries) else UNKNOWN
    fields = _FIELDS.pack(whole, digest, hasher.digest(), kept)
    file.seek(0)
    file.write(_MAGIC + hashlib.sha256(fields).digest() + fields)


def known_digests(known: Known | None, entries: Sequence[bytes]) -> Iterator[bytes | None]:
    """For each of the sorted records the digest that the cache has for exactly it, or None."""
    pairs = known.pairs() if known else iter(())
    pair = next(pairs, None)
    for entry in entries:
        while pair is not None and pair[0] < entry:
            pair = next(pairs, None)
        yield pair[1] if pair is not None and pair[0] == entry else None
