"""Content-addressed objects on a file system: ``objects/<2 hex>/<62 hex>``.

Promises: an object is there whole or not at all (temporary file in ``objects/tmp``, sync, rename, sync of the folder);
what is read or checked out has its digest; an object's modification time says when it was last used, and no object
that is used is deleted by somebody who asked for unused ones (a lock decides between them). Does not: decide what to
delete, or remove the temporary files of a process that was killed before `sweep` is called.
"""

import contextlib
import errno
import hashlib
import io
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import BinaryIO

from controller.api.canonical import hex_of
from controller.ports import durable
from controller.ports.objectstore import AbsentError, ChangedError, DamagedError, ObjectStore, StoredObject
from controller.stores import objects_copy as copying
from controller.stores.objects_lock import StoreLock, unlock

PUT = durable.register("objects.put", "an object appears in the object store")
PUT_MANY = durable.register("objects.put_many", "the objects of a batch appear in the object store")
DELETE = durable.register("objects.delete", "an object leaves the object store")

_TMP = "tmp"
_HEX = frozenset("0123456789abcdef")
BATCH_FILES = 4096
BATCH_BYTES = 1 << 30


class _Batch:
    """Objects that are written and wait to be synced and named together."""

    def __init__(self) -> None:
        self.waiting: dict[str, str] = {}
        """Hex digest to temporary file."""
        self.bytes = 0
        self.deleted_from: set[Path] = set()
        """Folders whose deletions are not synced yet."""

    def is_full(self) -> bool:
        return len(self.waiting) >= BATCH_FILES or self.bytes >= BATCH_BYTES


class FileObjects(ObjectStore):
    """Objects beneath one folder, which is made when the first is put."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._text = os.fspath(folder)
        self._temporary = folder / _TMP
        self._lock = StoreLock(self._text + "/lock")
        self._names = count()
        self._token = secrets.token_hex(8)
        self._guard = threading.Lock()
        self._batch: _Batch | None = None

    def has(self, sha256: str) -> bool:
        """See ObjectStore.has."""
        try:
            return _exists(self._where(hex_of(sha256)))
        except ValueError:
            return False

    def missing(self, wanted: Iterable[str]) -> set[str]:
        """See ObjectStore.missing."""
        asked = set(wanted)
        with self._lock.shared():
            return {sha256 for sha256 in asked if not self._touch(sha256)}

    def _touch(self, sha256: str) -> bool:
        try:
            return _touch(self._where(hex_of(sha256)))
        except ValueError:
            return False

    def put(self, data: bytes) -> str:
        """See ObjectStore.put.

        Raises:
            OSError: the disk is full or not writable; nothing was changed.
        """
        digits = hashlib.sha256(data).hexdigest()
        self._put(digits, data)
        return "sha256:" + digits

    def put_file(self, source: Path | int, sha256: str | None = None) -> str:
        """See ObjectStore.put_file."""
        with copying.opened(source) as fd:
            before = os.fstat(fd)
            if before.st_size > copying.SMALL:
                return self._put_large(fd, source, before.st_size, sha256)
            data = copying.read_all(fd, before.st_size)
            copying.must_be_unchanged(fd, before, source)
        digits = hashlib.sha256(data).hexdigest()
        _must_be("sha256:" + digits, sha256, source)
        self._put(digits, data)
        return "sha256:" + digits

    def _put(self, digits: str, data: bytes) -> None:
        if self._holds(digits, data):
            return
        temporary, fd = self._create()
        with _closing(fd):
            try:
                copying.write_all(fd, data)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
            self._keep(digits, temporary, fd, len(data))

    def _put_large(self, fd: int, source: Path | int, size: int, sha256: str | None) -> str:
        temporary, out = self._create()
        with _closing(out):
            with _removed_on_error(temporary):
                with copying.unchanged(fd, source):
                    digits = copying.copy(fd, out, size)
                _must_be("sha256:" + digits, sha256, source)
            self._keep(digits, temporary, out, size)
        return "sha256:" + digits

    def open(self, sha256: str) -> BinaryIO:
        """See ObjectStore.open."""
        fd = self._open(sha256)
        try:
            size = os.fstat(fd).st_size
            if size > copying.SMALL:
                self._verify(copying.digest_of(fd), sha256)
                os.lseek(fd, 0, os.SEEK_SET)
                return os.fdopen(os.dup(fd), "rb")
            return io.BytesIO(self._verified(fd, size, sha256))
        finally:
            os.close(fd)

    def checkout(self, sha256: str, target: Path | int, *, executable: bool = False) -> None:
        """See ObjectStore.checkout."""
        with _closing(self._open(sha256)) as fd:
            if isinstance(target, int):
                self._fill(fd, target, sha256, executable)
                return
            with _closing(os.open(target, copying.CREATE, 0o600)) as out, _removed_on_error(target):
                self._fill(fd, out, sha256, executable)

    def _fill(self, fd: int, out: int, sha256: str, executable: bool) -> None:
        size = os.fstat(fd).st_size
        if size <= copying.SMALL:
            copying.write_all(out, self._verified(fd, size, sha256))
        else:
            self._verify(copying.copy(fd, out, size), sha256)
        os.fchmod(out, 0o755 if executable else 0o644)

    def list(self) -> Iterator[StoredObject]:
        """See ObjectStore.list."""
        for shard in _entries(self._folder):
            if len(shard.name) == 2 and _HEX.issuperset(shard.name) and shard.is_dir(follow_symlinks=False):
                yield from _objects_in(shard)

    def delete(self, sha256: str, *, unless_used_since: float | None = None) -> bool:
        """See ObjectStore.delete."""
        path = self._path(hex_of(sha256))
        try:
            with self._lock.exclusive():
                if unless_used_since is not None and path.stat().st_mtime >= unless_used_since:
                    return False
                with durable.step(DELETE):
                    path.unlink()
                    self._sync_deletion(path.parent)
        except FileNotFoundError:
            return False
        return True

    def _sync_deletion(self, folder: Path) -> None:
        with self._guard:
            if self._batch is not None:
                self._batch.deleted_from.add(folder)
                return
        copying.sync_folder(folder)

    def first(self, sha256: str, count: int) -> bytes:
        """The first bytes of an object, not verified: to see of what kind it is, without reading it all.

        Raises:
            AbsentError: it is not there.
        """
        with _closing(self._open(sha256)) as fd:
            return os.pread(fd, count, 0)

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """See ObjectStore.batch. A batch within a batch is part of it."""
        if self._batch is not None:
            yield
            return
        self._batch = _Batch()
        try:
            yield
        finally:
            with self._guard:
                batch, self._batch = self._batch, None
                self._flush(batch)

    def sweep(self, before: float) -> int:
        """Remove temporary files that nobody wrote to since `before` (seconds since the epoch); returns how many."""
        removed = 0
        for entry in _entries(self._temporary):
            with contextlib.suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_mtime < before:
                    Path(entry.path).unlink()
                    removed += 1
        return removed

    def _path(self, digits: str) -> Path:
        return Path(self._where(digits))

    def _where(self, digits: str) -> str:
        """The same as text: paths are made for each of many objects."""
        return f"{self._text}/{digits[:2]}/{digits[2:]}"

    def _open(self, sha256: str) -> int:
        """A descriptor of an object, which counts as used now."""
        try:
            path = self._where(hex_of(sha256))
            lock = self._lock.share()
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                _used_now(fd)
            finally:
                unlock(lock)
        except (FileNotFoundError, ValueError) as error:
            raise AbsentError(f"{sha256} is not in the object store {self._folder}") from error
        return fd

    def _verified(self, fd: int, size: int, sha256: str) -> bytes:
        data = copying.read_all(fd, size)
        self._verify(hashlib.sha256(data).hexdigest(), sha256)
        return data

    def _verify(self, digits: str, sha256: str) -> None:
        if digits != hex_of(sha256):
            raise DamagedError(sha256, str(self._folder))

    def _holds(self, digits: str, data: bytes) -> bool:
        """Is the object there, or about to be, whole? Then it counts as used now."""
        with self._guard:
            if self._batch is not None and digits in self._batch.waiting:
                return True
        path = self._where(digits)
        if not _exists(path):
            return False
        try:
            with self._lock.shared(), open(path, "rb") as file:  # noqa: PTH123  # no Path for each of many
                return file.read() == data and _touch(path)
        except OSError:
            return False

    def _create(self) -> tuple[str, int]:
        name = f"{self._temporary}/{self._token}-{next(self._names)}"
        try:
            return name, os.open(name, copying.CREATE, 0o444)
        except FileNotFoundError:
            self._temporary.mkdir(parents=True, exist_ok=True)
            return name, os.open(name, copying.CREATE, 0o444)

    def _keep(self, digits: str, temporary: str, fd: int, size: int) -> None:
        """Give a temporary file its name: now, or when the batch is full or ends."""
        with self._guard:
            batch = self._batch
            if batch is not None:
                if digits in batch.waiting:
                    Path(temporary).unlink()
                    return
                batch.waiting[digits] = temporary
                batch.bytes += size
                if batch.is_full():
                    self._batch = _Batch()
                    self._flush(batch)
                return
        with _removed_on_error(temporary), durable.step(PUT):
            os.fsync(fd)
            for folder in self._name({digits: temporary}):
                copying.sync_folder(folder)

    def _flush(self, batch: _Batch) -> None:
        for folder in batch.deleted_from:
            copying.sync_folder(folder)
        if not batch.waiting:
            return
        try:
            with durable.step(PUT_MANY):
                copying.sync_file_system(self._folder)
                self._name(batch.waiting)
                copying.sync_file_system(self._folder)  # one, where each of 256 folders would want its own
        except BaseException:
            for temporary in batch.waiting.values():
                Path(temporary).unlink(missing_ok=True)
            raise

    def _name(self, waiting: dict[str, str]) -> set[Path]:
        """Rename synced files to their objects; returns the folders whose names are to be synced."""
        shards = set()
        with self._lock.shared():  # or a deleter that looked at an old object would remove the new one
            for digits, temporary in waiting.items():
                if digits[:2] not in shards:
                    self._path(digits).parent.mkdir(exist_ok=True)
                    shards.add(digits[:2])
                os.rename(temporary, self._where(digits))  # noqa: PTH104  # no Path for each of many
        return {self._folder, *(self._folder / shard for shard in shards)}


def _touch(path: str) -> bool:
    """Mark an object as used now; is it there?"""
    try:
        _used_now(path)
    except FileNotFoundError:
        return False
    return _exists(path)


def _exists(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110  # no Path for each of many


def _used_now(file: str | int) -> None:
    try:
        os.utime(file)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.EROFS):  # another user's store, or mounted read-only
            raise


def _must_be(found: str, sha256: str | None, source: Path | int) -> None:
    if sha256 is not None and found != sha256:
        raise ChangedError(f"{copying.named(source)} has digest {found}, not {sha256}; it was changed")


def _entries(folder: str | Path | os.DirEntry[str]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            yield from listing
    except FileNotFoundError:
        return


def _objects_in(shard: os.DirEntry[str]) -> Iterator[StoredObject]:
    for entry in _entries(shard):
        if len(entry.name) == 62 and _HEX.issuperset(entry.name):
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                yield StoredObject(f"sha256:{shard.name}{entry.name}", status.st_size, status.st_mtime)


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _removed_on_error(path: str | Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise
