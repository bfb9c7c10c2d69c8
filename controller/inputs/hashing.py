"""SHA-256 of files and folders, as coreutils computes it.

Promises: a file's digest is the sha256 of its bytes; a folder's is that of ``cd DIR && find . -type f -print0 |
LC_ALL=C sort -z | xargs -0r sha256sum -z`` (names are bytes: newlines, backslashes and invalid UTF-8 included).
Nothing is read through a symlink; symlinks and special files are refused; a file that changes while it is read is
refused. Several threads hash at once (hashlib releases the GIL). Does not: decide which paths may be read.
"""

import hashlib
import os
import stat
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from controller.inputs.beneath import FILE, UnsafePathError, descend, folder
from controller.inputs.statcache import (
    DIGEST_BYTES,
    UNKNOWN,
    StatCache,
    file_clock,
    fingerprint,
    known_digests,
    path_in,
    record,
    size_in,
)

PIECE = 1 << 20
_SMALL = 1 << 16
_BATCH_FILES = 512
_BATCH_BYTES = 16 << 20
_MAX_DEPTH = 128

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """One dataset, hashed."""

    sha256: str
    size: int
    """Bytes in all."""
    files: int
    stamp: str = ""
    """sha256 over path, device, inode, size and times of every file and folder; moves with any write, touch or swap."""


class ChangedError(UnsafePathError):
    """A file changed while it was being hashed."""

    def __init__(self, path: bytes) -> None:
        name = path.decode("utf-8", "backslashreplace")
        super().__init__("UnreadableDataset", f"{name!r} changed while it was hashed; wait until nothing writes to it")


def measure(
    root: int, parts: Sequence[str], cache: StatCache | None, place: bytes, progress: Callable[[int, int], None]
) -> Measured:
    """Hash the file or folder `parts` beneath the open folder `root`.

    `place` names it in the cache; `progress` gets (bytes done, bytes in all) from any thread, one call at a time.

    Raises:
        UnsafePathError: a symlink, a special file, or a file that changes.
        OSError: absent or unreadable.
    """
    began = file_clock()
    with descend(root, parts[:-1]) as parent:
        status = os.stat(parts[-1] if parts else ".", dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            with descend(parent, parts[-1:]) as base:
                folders: list[bytes] = []
                entries = scan(base, folders)
                return _measure(base, entries, cache, b"folder " + place, began, progress, folders)
        name = os.fsencode(parts[-1])
        _must_be_regular(status, name)
        return _measure(parent, [record(name, status)], cache, b"file " + place, began, progress)


def _measure(
    base: int,
    entries: list[bytes],
    cache: StatCache | None,
    place: bytes,
    began: int,
    progress: Callable[[int, int], None],
    folders: Sequence[bytes] = (),
) -> Measured:
    size, seen = sum(map(size_in, entries)), fingerprint(entries)
    stamp = hashlib.sha256(seen + fingerprint(sorted(folders))).hexdigest()
    known = cache.load(place) if cache else None
    if known and known.fingerprint != UNKNOWN and known.fingerprint == seen:
        return Measured("sha256:" + known.digest.hex(), size, len(entries), stamp)
    digests = bytearray(DIGEST_BYTES * len(entries))
    wanted = array("I")  # a list of numbers would take ten times the memory
    for i, found in enumerate(known_digests(known, entries)):
        if found is None:
            wanted.append(i)
        else:
            digests[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES] = found
    _hash_all(base, entries, wanted, digests, progress)
    whole = bytes(digests) if place.startswith(b"file ") else _folder_digest(entries, digests)
    if cache:
        cache.save(place, entries, digests, whole, began)
    return Measured("sha256:" + whole.hex(), size, len(entries), stamp)


def _folder_digest(entries: Sequence[bytes], digests: bytearray) -> bytes:
    lines = ((path_in(entry), bytes(digests[i * 32 : i * 32 + 32])) for i, entry in enumerate(entries))
    return folder_digest(lines)


def folder_digest(files: Iterator[tuple[bytes, bytes]]) -> bytes:
    """The digest of a folder from (path, sha256) of its files, which come sorted by path."""
    hasher = hashlib.sha256()
    for path, digest in files:
        hasher.update(b"%b  ./%b\0" % (digest.hex().encode(), path))
    return hasher.digest()


def scan(base: int, folders: list[bytes] | None = None) -> list[bytes]:
    """Sorted records of every file beneath an open folder; those of the folders are added to `folders`.

    Raises:
        UnsafePathError: a symlink or special file lies there.
    """
    found: list[bytes] = []
    _scan(base, b"", found, [] if folders is None else folders, 0)
    found.sort()
    return found


def _scan(fd: int, prefix: bytes, found: list[bytes], seen: list[bytes], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise UnsafePathError("UnreadableDataset", f"folders are nested deeper than {_MAX_DEPTH}")
    seen.append(record(prefix, os.fstat(fd)))  # before it is listed: what is added afterwards moves its time
    folders = []
    with os.scandir(fd) as listing:
        for entry in listing:
            status = entry.stat(follow_symlinks=False)
            path = prefix + os.fsencode(entry.name)
            if stat.S_ISREG(status.st_mode):
                found.append(record(path, status))
            elif stat.S_ISDIR(status.st_mode):
                folders.append(entry.name)
            else:
                _must_be_regular(status, path)
    for name in folders:
        with folder(name, fd) as inner:
            _scan(inner, prefix + os.fsencode(name) + b"/", found, seen, depth + 1)


def _must_be_regular(status: os.stat_result, path: bytes) -> None:
    name = path.decode("utf-8", "backslashreplace")
    if stat.S_ISLNK(status.st_mode):
        raise UnsafePathError("SymlinkInDataset", f"{name!r} is a symlink; put the file itself there")
    if not stat.S_ISREG(status.st_mode):
        raise UnsafePathError("SpecialFile", f"{name!r} is neither a file nor a folder; remove it")


def _hash_all(
    base: int, entries: Sequence[bytes], wanted: Sequence[int], digests: bytearray, progress: Callable[[int, int], None]
) -> None:
    """Fill in the digests of the wanted entries."""
    meter = _Meter(sum(size_in(entries[i]) for i in wanted), progress)

    def work(batch: Sequence[int]) -> None:
        for i, digest in zip(batch, _hash_batch(base, [entries[i] for i in batch], meter.advance), strict=True):
            digests[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES] = digest

    batches = list(_batches(entries, wanted))
    workers = min(len(os.sched_getaffinity(0)), len(batches))
    if workers < 2:
        for batch in batches:
            work(batch)
        return
    with ThreadPoolExecutor(workers) as pool:
        try:
            for _ in pool.map(work, batches):
                pass
        except BaseException:
            meter.stop()  # Ctrl-C must not wait for the rest of a file of 100 GB
            raise


class _StoppedError(Exception):
    """Another thread failed, or was interrupted; nobody sees this."""


class _Meter:
    def __init__(self, total: int, progress: Callable[[int, int], None]) -> None:
        self._total, self._progress, self._done = total, progress, 0
        self._lock = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        """Whoever advances from now on ends."""
        self._stopped = True

    def advance(self, count: int) -> None:
        if self._stopped:
            raise _StoppedError
        with self._lock:
            self._done += count
            self._progress(self._done, self._total)


def _batches(entries: Sequence[bytes], wanted: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cut the work: enough files to make one hand-over cheap, few enough bytes for the threads to end together."""
    batch = array("I")
    size = 0
    for i in wanted:
        batch.append(i)
        size += size_in(entries[i])
        if len(batch) == _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = array("I"), 0
    if batch:
        yield batch


def _hash_batch(base: int, entries: Sequence[bytes], advance: Advance) -> Iterator[bytes]:
    """Digests of some entries; the folder of one file stays open for the next."""
    at: bytes | None = None
    fd = -1
    small = 0
    try:
        for entry in entries:
            parent, _, name = path_in(entry).rpartition(b"/")
            if parent != at:
                fd = _change(base, fd, parent)
                at = parent
            if size_in(entry) > _SMALL:
                yield _hash_large(fd, name, entry, advance)
            else:
                small += size_in(entry)
                yield _hash_small(fd, name, entry)
    finally:
        if fd >= 0:
            os.close(fd)
    advance(small)


def _change(base: int, fd: int, parent: bytes) -> int:
    with descend(base, parent.split(b"/") if parent else ()) as inner:
        following = os.dup(inner)
    if fd >= 0:
        os.close(fd)
    return following


def _hash_small(fd: int, name: bytes, entry: bytes) -> bytes:
    file = os.open(name, FILE, dir_fd=fd)
    try:
        _check(file, entry)
        data = os.read(file, size_in(entry) + 1)
        _check(file, entry)
    finally:
        os.close(file)
    if len(data) != size_in(entry):
        raise ChangedError(path_in(entry))
    return hashlib.sha256(data).digest()


def _hash_large(fd: int, name: bytes, entry: bytes, advance: Advance) -> bytes:
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(PIECE))
    left = size_in(entry)
    with os.fdopen(os.open(name, FILE, dir_fd=fd), "rb", buffering=0) as file:
        _check(file.fileno(), entry)
        while count := file.readinto(buffer):
            left -= count
            if left < 0:  # a file that grows as fast as it is read would never end
                raise ChangedError(path_in(entry))
            hasher.update(buffer[:count])
            advance(count)
        _check(file.fileno(), entry)
    return hasher.digest()


def _check(file: int, entry: bytes) -> None:
    """The open file is still the one that was listed, unchanged."""
    path = path_in(entry)
    if record(path, os.fstat(file)) != entry:
        raise ChangedError(path)
