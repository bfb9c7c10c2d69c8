"""Kernel locks beside the store: who holds a lease lives, or the kernel has freed its lock.

Promises: at most one holder of a name on this host, freed when its process ends however it ends; asking who is there
disturbs nobody; nothing is written while a lock is held. Does not: reach other hosts, unless the file system's locks
do (the store itself works on one host only).
"""

import errno
import fcntl
import os
import struct
import threading
from contextlib import closing
from pathlib import Path

_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of Linux: type, whence, start, length, pid."""
_UNSUPPORTED = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


class LockUnsupportedError(Exception):
    """This file system has no locks: a lease then lasts as long as it is renewed."""


def file_of(store: Path, name: str) -> Path:
    """The file whose lock stands for the lease `name`; its content is nothing."""
    return store.with_name(f"{name}.lock")


class Lock:
    """A lock that is held until `close`, or until the process ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @property
    def current(self) -> bool:
        """Is it still the lock that others would find at its path? (`remove` takes it away.)"""
        try:
            there, ours = self._path.stat(), os.fstat(self._descriptor)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def close(self) -> None:
        """Give it back. Twice is once."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def take(path: Path) -> Lock | None:
    """The lock, or None while another process (or another `Lock` of this one) holds it.

    Raises:
        LockUnsupportedError: nobody can hold one here.
        OSError: the file cannot be made.
    """
    lock = Lock(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644))
    if not _ask(lock, fcntl.F_OFD_SETLK):
        lock.close()
        return None
    if not lock.current:  # taken away between opening and locking
        lock.close()
        return take(path)
    return lock


def held(path: Path) -> bool | None:
    """Does somebody hold the lock? None where nobody can tell."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    with closing(Lock(path, descriptor)) as lock:
        try:
            return not _ask(lock, fcntl.F_OFD_GETLK, fcntl.F_RDLCK)
        except LockUnsupportedError:
            return None


def remove(path: Path) -> None:
    """Let the next one lock another file, although a holder lives: it is fenced by its token."""
    path.unlink(missing_ok=True)


def _ask(lock: Lock, command: int, kind: int = fcntl.F_WRLCK) -> bool:
    """Set the lock, or look whether it could be set."""
    wanted = _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0)
    try:
        answer = fcntl.fcntl(lock._descriptor, command, wanted)  # noqa: SLF001  # of this module
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        lock.close()
        if error.errno in _UNSUPPORTED:
            raise LockUnsupportedError(str(error)) from error
        raise
    return command == fcntl.F_OFD_SETLK or _FLOCK.unpack(answer)[0] == fcntl.F_UNLCK


class Locks:
    """The locks that one store object holds, each for one holder text. Threads may share it."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._held: dict[str, tuple[str, Lock]] = {}
        self._mutex = threading.Lock()

    def hold(self, name: str, holder: str) -> bool:
        """Is the lock `name` now held for this holder, and for nobody else?

        Raises:
            LockUnsupportedError, OSError: see `take`.
        """
        with self._mutex:
            whose, lock = self._held.get(name, ("", None))
            if lock is not None and lock.current:
                return whose == holder
            taken = take(file_of(self._store, name))
            if lock is not None:
                lock.close()
            self._held.pop(name, None)
            if taken is not None:
                self._held[name] = holder, taken
            return taken is not None

    def free(self, name: str, holder: str) -> None:
        """Give the lock back, if it is held for this holder."""
        with self._mutex:
            if self._held.get(name, ("", None))[0] == holder:
                self._held.pop(name)[1].close()

    def close(self) -> None:
        """Give everything back."""
        with self._mutex:
            for _, lock in self._held.values():
                lock.close()
            self._held.clear()
