"""Objects in memory: what the port says, as plainly as possible, for tests of those who use an object store.

`damage(sha256)` is bit rot; `puts` counts what was really kept; `clock` gives the time of use.
"""

import hashlib
import io
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from controller.ports.objectstore import AbsentError, ChangedError, DamagedError, ObjectStore, StoredObject


class MemoryObjects(ObjectStore):
    """A dictionary."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._kept: dict[str, bytes] = {}
        self._used: dict[str, float] = {}
        self.puts = 0

    def has(self, sha256: str) -> bool:
        return sha256 in self._kept

    def missing(self, wanted: Iterable[str]) -> set[str]:
        asked = set(wanted)
        self._used.update({sha256: self._clock() for sha256 in asked & self._kept.keys()})
        return asked - self._kept.keys()

    def put(self, data: bytes) -> str:
        sha256 = "sha256:" + hashlib.sha256(data).hexdigest()
        self.puts += self._kept.get(sha256) != data
        self._kept[sha256] = data
        self._used[sha256] = self._clock()
        return sha256

    def put_file(self, source: Path | int, sha256: str | None = None) -> str:
        if isinstance(source, int):
            data = os.pread(source, os.fstat(source).st_size, 0)
        elif source.is_symlink() or (source.exists() and not source.is_file()):
            raise ChangedError(f"{source} is no regular file")
        else:
            data = source.read_bytes()
        if sha256 not in (None, "sha256:" + hashlib.sha256(data).hexdigest()):
            raise ChangedError(f"{source} was changed")
        return self.put(data)

    def open(self, sha256: str) -> BinaryIO:
        if sha256 not in self._kept:
            raise AbsentError(sha256)
        self._used[sha256] = self._clock()
        if sha256 != "sha256:" + hashlib.sha256(self._kept[sha256]).hexdigest():
            raise DamagedError(sha256, "memory")
        return io.BytesIO(self._kept[sha256])

    def checkout(self, sha256: str, target: Path | int, *, executable: bool = False) -> None:
        data = self.open(sha256).read()
        fd = os.dup(target) if isinstance(target, int) else os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            os.fchmod(fd, 0o755 if executable else 0o644)

    def list(self) -> Iterator[StoredObject]:
        for sha256, data in list(self._kept.items()):
            yield StoredObject(sha256, len(data), self._used[sha256])

    def delete(self, sha256: str, *, unless_used_since: float | None = None) -> bool:
        if unless_used_since is not None and self._used.get(sha256, 0.0) >= unless_used_since:
            return False
        return self._kept.pop(sha256, None) is not None

    @contextmanager
    def batch(self) -> Iterator[None]:
        yield

    def damage(self, sha256: str) -> None:
        """Change a byte (or add one) without changing the digest."""
        data = self._kept[sha256]
        self._kept[sha256] = bytes([data[0] ^ 1]) + data[1:] if data else b"x"
