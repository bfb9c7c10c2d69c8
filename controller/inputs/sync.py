"""Putting a folder into an object store: as a snapshot (`ml sync`), or as the data of a catalogue entry.

Promises: only objects that the store lacks travel, and the manifest last, so that a manifest which is there names
files that were there; interrupted anywhere, the next call goes on with what is still missing. A file that changes
while it is read is refused by name, and nothing that was read then is kept under a wrong digest. Unchanged folders
cost their walk: what was hashed and sent is remembered in the stat cache, by store; that it is still in the store is
believed for `BELIEVED` (less than what prune spares), and asked again after that. About 130 bytes of
memory a file, and its path. Does not: decide what is in a folder (sync_walk.py), or follow changes.
"""

import errno
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from controller.inputs.beneath import FILE, UnsafePathError, descend, folder
from controller.inputs.hashing import ChangedError
from controller.inputs.snapshots import write_manifest
from controller.inputs.statcache import (
    DIGEST_BYTES,
    UNKNOWN,
    Known,
    StatCache,
    file_clock,
    fingerprint,
    known_digests,
    path_in,
    record,
    size_in,
)
from controller.inputs.sync_walk import Tree, walk
from controller.inputs.trees import is_lfs_pointer
from controller.ports.inputs import Progress, no_progress
from controller.ports.objectstore import ChangedError as UnsteadyError
from controller.ports.objectstore import ObjectStore

LFS_FIX = "fetch it with `git lfs pull` first"
BELIEVED = 6 * 3600
"""Seconds for which what was sent is taken to be there still."""
_SMALL = 1 << 20
_PIECE = 1 << 20
_BATCH_FILES = 256
_BATCH_BYTES = 8 << 20
_ASKED = 4096
_WORKERS = 4
_FEW = 4


@dataclass(frozen=True, slots=True)
class Upload:
    """What one call found and did."""

    sha256: str
    """Of the manifest, which is the digest of the snapshot or dataset."""
    files: int
    size: int
    """Bytes of all files."""
    read: int = 0
    """Files that were read and hashed."""
    sent: int = 0
    """Objects that travelled, the manifest not counted."""
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """Where to, and what is remembered of it."""

    objects: ObjectStore
    store: str
    """The store's name: what was sent to another one does not count here."""
    cache: StatCache | None
    """None: hash every file, ask for every object."""
    scratch: Path
    """A folder for the manifest while it is written."""


def put_snapshot(root: Path, target: Target, progress: Progress = no_progress) -> Upload:
    """Put a folder into the store as a snapshot, without what its ignore files leave out.

    Raises:
        UnsafePathError: a symlink, a special file, or a file that changes while it is read.
        OSError: unreadable, or the store cannot be written.
    """
    return _put(root, target, progress, snapshot=True)


def put_file(file: Path, target: Target) -> Upload:
    """Put one file into the store.

    Raises:
        UnsafePathError: a symlink, no regular file, a Git LFS pointer, or a file that changes while it is read.
        OSError: unreadable, or the store cannot be written.
    """
    with file.open("rb") as stream:
        if is_lfs_pointer(stream.read(2048)):
            raise UnsafePathError("GitLfsPointer", f"{file} is a Git LFS pointer, not the data; {LFS_FIX}")
        size = os.fstat(stream.fileno()).st_size
    try:
        sha256 = target.objects.put_file(file)
    except UnsteadyError as error:
        raise UnsafePathError("UnreadableDataset", str(error)) from error
    return Upload(sha256, 1, size, 1, 1, size)


def put_folder(root: Path, target: Target, progress: Progress = no_progress) -> Upload:
    """Put all of a folder into the store; the digest is the dataset's (errors as for `put_snapshot`)."""
    return _put(root, target, progress, snapshot=False)


def _put(root: Path, target: Target, progress: Progress, *, snapshot: bool) -> Upload:
    began = file_clock()
    place = b"%b %b\0%b" % (
        b"snapshot" if snapshot else b"dataset",
        os.fsencode(target.store),
        os.fsencode(os.path.realpath(root)),
    )
    tree = walk(root, ignore=snapshot)
    size = sum(map(size_in, tree.entries))
    known = target.cache.load(place) if target.cache else None
    believed = known is not None and _is_believed(known, target, began)
    if known and believed and UNKNOWN != known.fingerprint == fingerprint(tree.entries):
        return Upload("sha256:" + known.digest.hex(), len(tree.entries), size)
    digests = bytearray(DIGEST_BYTES * len(tree.entries))  # all UNKNOWN
    for i, found in enumerate(known_digests(known, tree.entries) if known else ()):
        digests[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES] = found or UNKNOWN
    if known and not believed:
        _forget_missing(digests, target.objects)
    with folder(os.fspath(root)) as base:
        sender = _Sender(base, tree.entries, digests, target.objects, progress)
        sender.send()
    whole = _put_manifest(tree, digests, target, snapshot=snapshot)
    if target.cache:
        target.cache.save(place, tree.entries, digests, whole, began)
    return Upload("sha256:" + whole.hex(), len(tree.entries), size, sender.wanted, sender.sent, sender.sent_bytes)


def _is_believed(known: Known, target: Target, now: int) -> bool:
    """Was it sent a short time ago, and is its manifest there still?"""
    try:
        saved = known.file.stat().st_mtime_ns
    except OSError:
        return False
    recent = abs(now - saved) < BELIEVED * 10**9
    return recent and not target.objects.missing(["sha256:" + known.digest.hex()])


def _forget_missing(digests: bytearray, objects: ObjectStore) -> None:
    """Make those digests unknown whose objects are not in the store."""
    for start in range(0, len(digests), _ASKED * DIGEST_BYTES):
        piece = digests[start : start + _ASKED * DIGEST_BYTES]
        parts = [bytes(piece[i : i + DIGEST_BYTES]) for i in range(0, len(piece), DIGEST_BYTES)]
        missing = objects.missing("sha256:" + part.hex() for part in set(parts) if part != UNKNOWN)
        for i, part in enumerate(parts):
            if missing and "sha256:" + part.hex() in missing:
                at = start + i * DIGEST_BYTES
                digests[at : at + DIGEST_BYTES] = UNKNOWN


def _put_manifest(tree: Tree, digests: bytearray, target: Target, *, snapshot: bool) -> bytes:
    """Write the manifest to a file, and put that: it may be large."""
    lines = (
        (path_in(entry), bytes(digests[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES]))
        for i, entry in enumerate(tree.entries)
    )
    target.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=target.scratch) as file:
        whole = write_manifest(file.write, lines, map(path_in, tree.executable) if snapshot else None)
        file.flush()
        target.objects.put_file(file.fileno(), "sha256:" + whole.hex())
    return whole


class _Sender:
    """Reads the files whose digest is not known, and puts those objects that the store lacks."""

    def __init__(
        self, base: int, entries: Sequence[bytes], digests: bytearray, objects: ObjectStore, progress: Progress
    ) -> None:
        self._base, self._entries, self._digests, self._objects = base, entries, digests, objects
        self.wanted = sum(1 for _ in self._unknown())
        self.sent = 0
        self.sent_bytes = 0
        self._lock = threading.Lock()
        self._batches = self._cut()
        self._stopped = False
        self._progress = progress
        self._done, self._total = 0, sum(size_in(entries[i]) for i in self._unknown())

    def send(self) -> None:
        """Do it, by a few threads."""
        workers = min(_WORKERS, 1 + self.wanted // _FEW)
        with self._objects.batch() if self.wanted > _FEW else nullcontext():
            if workers == 1:
                self._work()
                return
            with ThreadPoolExecutor(workers) as pool:
                try:
                    for each in [pool.submit(self._work) for _ in range(workers)]:
                        each.result()
                finally:
                    self._stopped = True  # Ctrl-C, or an error of one: the others end after their batch

    def _work(self) -> None:
        try:
            while batch := self._next():
                self._send_batch(batch)
        except BaseException:
            self._stopped = True
            raise

    def _next(self) -> list[int]:
        with self._lock:
            return [] if self._stopped else next(self._batches, [])

    def _unknown(self) -> Iterator[int]:
        """The files to read, found on the way: a list of them would cost memory for each."""
        return (i for i in range(len(self._entries)) if _at(self._digests, i) == UNKNOWN)

    def _cut(self) -> Iterator[list[int]]:
        batch: list[int] = []
        size = 0
        for i in self._unknown():
            batch.append(i)
            size += size_in(self._entries[i])
            if len(batch) == _BATCH_FILES or size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _send_batch(self, batch: Sequence[int]) -> None:
        """Hash some files, ask for all of them at once, and put what is missing. Small ones are read only once."""
        held: dict[str, tuple[int, bytes | None]] = {}
        for i in batch:
            digest, data = self._read(self._entries[i])
            self._digests[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES] = digest
            held["sha256:" + digest.hex()] = (i, data)
        for sha256 in self._objects.missing(held):
            i, data = held[sha256]
            if data is None:
                with _opened(self._base, self._entries[i]) as file:
                    self._objects.put_file(file.fileno(), sha256)
            else:
                self._objects.put(data)
            self._count(size_in(self._entries[i]))

    def _count(self, size: int) -> None:
        with self._lock:
            self.sent += 1
            self.sent_bytes += size

    def _advance(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._progress("reading and sending", self._done, self._total)

    def _read(self, entry: bytes) -> tuple[bytes, bytes | None]:
        """The digest of a file, and its bytes if they are few."""
        with _opened(self._base, entry) as file:
            if size_in(entry) > _SMALL:
                data, digest = None, _digest(file, entry, self._advance)
            else:
                data = file.read(size_in(entry) + 1)
                digest = hashlib.sha256(data).digest()
                self._advance(len(data))
            _unchanged(file.fileno(), entry)
        if data is not None and is_lfs_pointer(data):
            name = path_in(entry).decode("utf-8", "backslashreplace")
            raise UnsafePathError("GitLfsPointer", f"{name!r} is a Git LFS pointer, not the data; {LFS_FIX}")
        return digest, data


@contextmanager
def _opened(base: int, entry: bytes) -> Iterator[FileIO]:
    """A file beneath the folder, reached through no symlink; it is the one that was listed.

    Raises:
        ChangedError: it is not.
    """
    *parents, name = path_in(entry).split(b"/")
    try:
        with descend(base, parents) as fd:
            file = FileIO(os.open(name, FILE, dir_fd=fd), "rb")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise ChangedError(path_in(entry)) from error
        raise
    with file:
        _unchanged(file.fileno(), entry)
        yield file


def _unchanged(fd: int, entry: bytes) -> None:
    if record(path_in(entry), os.fstat(fd)) != entry:
        raise ChangedError(path_in(entry))


def _digest(file: FileIO, entry: bytes, advance: Callable[[int], None]) -> bytes:
    """sha256 of a large file; one that grows as fast as it is read does not go on for ever."""
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(_PIECE))
    left = size_in(entry)
    while count := file.readinto(buffer):
        left -= count
        if left < 0:
            raise ChangedError(path_in(entry))
        hasher.update(buffer[:count])
        advance(count)
    return hasher.digest()


def _at(digests: bytearray, i: int) -> bytearray:
    return digests[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES]
