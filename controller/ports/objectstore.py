"""Content-addressed objects: bytes by their sha256.

Promises: what the contract suite (tests/contract/test_objectstore.py) checks of every store. Does not: know what an
object means, or who needs it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple


class AbsentError(LookupError):
    """No object has that digest."""


class DamagedError(ValueError):
    """An object's bytes do not have its digest (bit rot, or a reply cut short)."""

    def __init__(self, sha256: str, where: str) -> None:
        self.sha256 = sha256
        super().__init__(f"object {sha256} in {where} is damaged: its bytes have another digest; put it again")


class ChangedError(ValueError):
    """A file is not what it should be: it changed while it was read, has another digest, or is no regular file."""


class UnreachableError(OSError):
    """The store did not answer, answered nonsense, or refused us; the text says what to look at."""


class StoredObject(NamedTuple):
    """One object as a listing shows it."""

    sha256: str
    size: int
    """Bytes."""
    used: float
    """When it was last put, read or asked for by `missing` (seconds since the epoch)."""


class ObjectStore(ABC):
    """Writing what is there already is nothing; whatever is read or checked out has its digest.

    All methods may be called from several threads and processes at once. Any of them may raise OSError: the disk is
    full or not writable, or UnreachableError.
    """

    @abstractmethod
    def has(self, sha256: str) -> bool:
        """Is it there? False for text that is no digest. (Its integrity is checked when it is read.)"""

    @abstractmethod
    def missing(self, wanted: Iterable[str]) -> set[str]:
        """Those of the digests that are not there. Those that are there count as used now: no prune takes them soon."""

    @abstractmethod
    def put(self, data: bytes) -> str:
        """Keep the bytes durably (within `batch`: once it ends); returns their digest. Heals a damaged object."""

    @abstractmethod
    def put_file(self, source: Path | int, sha256: str | None = None) -> str:
        """Keep a file's bytes durably, as `put` does; returns their digest.

        `source` is a path (its last component no symlink) or an open descriptor, read from its start; `sha256` what
        its digest must be.

        Raises:
            ChangedError: it changed while it was read, has another digest than `sha256`, or is no regular file.
        """

    @abstractmethod
    def open(self, sha256: str) -> BinaryIO:
        """Read it, verified before the first byte is handed out.

        Raises:
            AbsentError: it is not there.
            DamagedError: its bytes do not have that digest.
        """

    @abstractmethod
    def checkout(self, sha256: str, target: Path | int, *, executable: bool = False) -> None:
        """Write its verified bytes to a new file of mode 644 or 755 that shares nothing writable with the store.

        `target` is a path where nothing is yet (its parent exists), or an open, empty, writable descriptor. The file is
        not synced: check out into a folder that appears when it is whole. A path is removed again on an error.

        Raises:
            AbsentError, DamagedError: as `open`.
            FileExistsError: something is at the path.
        """

    @abstractmethod
    def list(self) -> Iterator[StoredObject]:
        """Every object, in no particular order; what comes or goes meanwhile may be missed."""

    @abstractmethod
    def delete(self, sha256: str, *, unless_used_since: float | None = None) -> bool:
        """Remove it durably; False when it was not there, or has been used at or after `unless_used_since`."""

    @abstractmethod
    def batch(self) -> AbstractContextManager[None]:
        """Many puts (from any thread) made durable together, at the latest when the block ends; much faster.

        Until then `has` may not see them. A block that ends with an exception keeps what was put before it.
        """
