"""Content-addressed objects in S3: ``s3://bucket/prefix/<2 hex>/<62 hex>``, as a folder of objects is laid out.

Promises: an object appears whole or not at all, and its name is only given to bytes of that digest (small ones by a
conditional PUT, so that the second of two writers changes nothing; large ones by a multipart upload that is completed
after the digest was checked); the server checks every part's sha256; what is read has its digest; every failure says
what to look at. Does not: mark objects as used (S3 cannot: `used` is the time of upload, so nothing here is pruned by
`ml prune`), or clear away the parts of an upload that was cut off (a lifecycle rule of the bucket does).
"""

import contextlib
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, BinaryIO, TypeVar

import obstore
from obstore import exceptions as failures

from controller.api.canonical import digest_bytes, hex_of
from controller.ports import durable
from controller.ports.objectstore import (
    AbsentError,
    ChangedError,
    DamagedError,
    ObjectStore,
    StoredObject,
    UnreachableError,
)
from controller.stores import objects_copy as copying
from controller.stores.objects_s3_place import S3Place, open_store

UPLOAD = durable.register("objects.upload", "an object appears in S3")
REMOVE = durable.register("objects.remove", "an object leaves S3")

PART = 8 << 20
"""Bytes of one part; what is larger is uploaded in parts and not held in memory."""
THREADS = 16
TRIES = 3
_ROOM = 4 * THREADS
"""How many uploads of at most 1 MiB may wait in memory."""
_FEW = 512
"""As many objects are asked for one by one; for more, listing is cheaper."""
_SHARDS = [f"{i:02x}" for i in range(256)]
_HEX = frozenset("0123456789abcdef")
Result = TypeVar("Result")


class S3Objects(ObjectStore):
    """Objects beneath a prefix of a bucket. Needs the extra `s3` (obstore)."""

    def __init__(self, place: S3Place) -> None:
        """Opens no connection.

        Raises:
            UnreachableError: there are no credentials.
        """
        self._place = place
        self._store = open_store(place)
        self._guard = threading.Lock()
        self._batch: _Uploads | None = None

    def has(self, sha256: str) -> bool:
        """See ObjectStore.has."""
        try:
            self._call(lambda: obstore.head(self._store, _key(sha256)))
        except (FileNotFoundError, ValueError):
            return False
        return True

    def missing(self, wanted: Iterable[str]) -> set[str]:
        """See ObjectStore.missing; nothing is marked."""
        asked = set(wanted)
        with ThreadPoolExecutor(THREADS) as pool:
            if len(asked) <= _FEW:
                names = sorted(asked)
                return {name for name, there in zip(names, pool.map(self.has, names), strict=True) if not there}
            shards = pool.map(lambda shard: {item.sha256 for item in self._list(shard)}, _SHARDS)
            return asked.difference(*shards)

    def put(self, data: bytes) -> str:
        """See ObjectStore.put."""
        sha256 = digest_bytes(data)
        with self._guard:
            batch = self._batch
        if batch is None:
            self._upload(sha256, data)
        else:
            batch.add(lambda: self._upload(sha256, data), len(data))
        return sha256

    def put_file(self, source: Path | int, sha256: str | None = None) -> str:
        """See ObjectStore.put_file. A large file whose digest is not given is read twice."""
        with copying.opened(source) as fd:
            size = os.fstat(fd).st_size
            with copying.unchanged(fd, source):
                if size > PART:
                    return self._put_parts(fd, source, sha256)
                data = copying.read_all(fd, size)
        if sha256 not in (None, digest_bytes(data)):
            raise ChangedError(f"{copying.named(source)} has not the digest {sha256}; it was changed")
        return self.put(data)

    def _put_parts(self, fd: int, source: Path | int, sha256: str | None) -> str:
        sha256 = sha256 or "sha256:" + copying.digest_of(fd)
        parts = _Parts(fd, source, sha256)
        with durable.step(UPLOAD):
            self._call(lambda: obstore.put(self._store, _key(sha256), iter(parts), chunk_size=PART))
        return sha256

    def _upload(self, sha256: str, data: bytes) -> None:
        """A conditional PUT; where something is there already, it must be the same bytes."""
        key = _key(sha256)
        with durable.step(UPLOAD):
            try:
                self._call(lambda: obstore.put(self._store, key, data, mode="create", use_multipart=False))
            except failures.AlreadyExistsError:
                if not self._holds(key, data):
                    self._call(lambda: obstore.put(self._store, key, data, use_multipart=False))

    def _holds(self, key: str, data: bytes) -> bool:
        try:
            found = self._call(lambda: obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return False
        return bytes(found) == data

    def open(self, sha256: str) -> BinaryIO:
        """See ObjectStore.open. What is larger than a part lies in a nameless temporary file meanwhile."""
        file: IO[bytes] = tempfile.SpooledTemporaryFile(PART)  # noqa: SIM115  # handed to the caller
        try:
            self._fetch(sha256, file)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file  # type: ignore[return-value]  # it has all that a BinaryIO has

    def checkout(self, sha256: str, target: Path | int, *, executable: bool = False) -> None:
        """See ObjectStore.checkout."""
        fd = os.dup(target) if isinstance(target, int) else os.open(target, copying.CREATE, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                self._fetch(sha256, file)
                file.flush()
                os.fchmod(fd, 0o755 if executable else 0o644)
        except BaseException:
            if not isinstance(target, int):
                Path(target).unlink(missing_ok=True)
            raise

    def list(self) -> Iterator[StoredObject]:
        """See ObjectStore.list; `used` is when it was uploaded."""
        return self._list(None)

    def _list(self, shard: str | None) -> Iterator[StoredObject]:
        pages = iter(obstore.list(self._store, shard, chunk_size=1000))
        while page := self._call(lambda: next(pages, ())):
            for item in page:
                digits = str(item["path"]).replace("/", "")
                if len(digits) == 64 and _HEX.issuperset(digits):
                    yield StoredObject("sha256:" + digits, item["size"], item["last_modified"].timestamp())

    def delete(self, sha256: str, *, unless_used_since: float | None = None) -> bool:
        """See ObjectStore.delete; S3 has no lock: an upload between the look and the deletion is lost."""
        key = _key(sha256)
        try:
            found = self._call(lambda: obstore.head(self._store, key))
        except FileNotFoundError:
            return False
        if unless_used_since is not None and found["last_modified"].timestamp() >= unless_used_since:
            return False
        with durable.step(REMOVE):
            self._call(lambda: obstore.delete(self._store, key))
        return True

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """See ObjectStore.batch: many uploads at a time. The block ends when the last has ended, or failed."""
        with self._guard:
            inner = self._batch is not None
            if not inner:
                self._batch = _Uploads()
        if inner or self._batch is None:
            yield
            return
        batch = self._batch
        try:
            yield
        finally:
            with self._guard:
                self._batch = None
            batch.finish()

    def _fetch(self, sha256: str, file: IO[bytes]) -> None:
        """Write an object's bytes to an empty file, verified; a reply that was cut short is asked for again."""
        for left in reversed(range(TRIES)):
            file.seek(0)
            file.truncate()
            try:
                found = self._call(lambda: self._download(sha256, file))
            except (FileNotFoundError, ValueError) as error:
                raise AbsentError(f"{sha256} is not in {self._place.address}") from error
            except UnreachableError:
                if not left:
                    raise
                continue
            if found != hex_of(sha256):
                raise DamagedError(sha256, self._place.address)
            return

    def _download(self, sha256: str, file: IO[bytes]) -> str:
        reply = obstore.get(self._store, _key(sha256))
        hasher = hashlib.sha256()
        count = 0
        for piece in reply.stream(min_chunk_size=copying.PIECE):
            hasher.update(piece)
            file.write(piece)
            count += len(piece)
        if count != reply.meta["size"]:
            raise UnreachableError(f"{self._place.address} sent {count} of {reply.meta['size']} bytes of {sha256}")
        return hasher.hexdigest()

    def _call(self, ask: Callable[[], Result]) -> Result:
        """One request (obstore tries it again by itself where the server answers 5xx), with errors of ours.

        Raises:
            FileNotFoundError, failures.AlreadyExistsError: as obstore says it.
            UnreachableError: anything else that went wrong there.
        """
        try:
            return ask()
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise UnreachableError(f"{self._place.address}: there is no such bucket; make it first") from error
            raise
        except (failures.PermissionDeniedError, failures.UnauthenticatedError) as error:
            raise UnreachableError(
                f"{self._place.address} refuses these credentials ({_short(error)}); "
                "check the access key, its rights on the bucket and this host's clock"
            ) from error
        except failures.AlreadyExistsError:
            raise
        except failures.BaseError as error:
            raise UnreachableError(
                f"{self._place.address} at {self._place.endpoint or 'AWS'} did not do as S3 does ({_short(error)}); "
                "check endpoint and network, then try again"
            ) from error


class _Uploads:
    """Uploads in the background, few enough bytes of them in memory."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS)
        self._room = threading.Semaphore(_ROOM)
        self._door = threading.Lock()
        self._failed: BaseException | None = None

    def add(self, upload: Callable[[], None], size: int) -> None:
        """Begin an upload when there is room; raises what an earlier one failed with.

        One of n MiB takes the room of n.
        """
        if self._failed is not None:
            raise self._failed
        share = min(1 + (size >> 20), _ROOM)
        with self._door:  # two who each wait for the rest of their share would wait for ever
            for _ in range(share):
                self._room.acquire()

        def run() -> None:
            try:
                if self._failed is None:
                    upload()
            except BaseException as error:  # noqa: BLE001  # raised by the next add, or at the end
                self._failed = error
            finally:
                self._room.release(share)

        self._pool.submit(run)

    def finish(self) -> None:
        """Wait for all; raise the first failure."""
        self._pool.shutdown()
        if self._failed is not None:
            raise self._failed


class _Parts:
    """A file in parts, from its start each time; the last is handed out only when the digest is right."""

    def __init__(self, fd: int, source: Path | int, sha256: str) -> None:
        self._fd, self._source, self._sha256 = fd, source, sha256

    def __iter__(self) -> Iterator[bytes]:
        hasher = hashlib.sha256()
        offset, held = 0, b""
        with copying.unchanged(self._fd, self._source):
            while piece := os.pread(self._fd, PART, offset):
                hasher.update(piece)
                offset += len(piece)
                if held:
                    yield held
                held = piece
        if hasher.hexdigest() != hex_of(self._sha256):
            raise ChangedError(f"{copying.named(self._source)} has not the digest {self._sha256}; it was changed")
        yield held


def _key(sha256: str) -> str:
    digits = hex_of(sha256)
    return f"{digits[:2]}/{digits[2:]}"


def _short(error: Exception) -> str:
    """The part of a long error that a person can use."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + "..."
