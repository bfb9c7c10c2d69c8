"""What SQLite says, in sentences for people.

Promises: every sqlite3.Error becomes one StoreError that names the file, what is wrong and what to do. Does not: retry.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.ports.store import StoreBusyError, StoreError, StoreUnusableError

_NEARLY_FULL = 64 * 1024
"""Bytes; SQLite extends its shared memory by 32 KiB at a time."""


def corrupt(path: Path, why: str) -> StoreUnusableError:
    """The database is damaged: how to put it aside and what to put in its place."""
    return StoreUnusableError(
        "StoreCorrupt",
        f"the store {path} is damaged ({why}); nothing was changed. Move it away together with its -wal and -shm files "
        f"(mv {path} {path}.damaged), then restore the newest copy from {path.parent / 'backups'} (ml restore), "
        "or start without it: runs that finished are then known only from their files",
    )


def busy(path: Path, waited: float) -> StoreBusyError:
    """Somebody else has the write lock."""
    return StoreBusyError(
        f"the store {path} stayed locked by another process for {waited:g} s; nothing was changed. "
        "Try again; if it stays locked, see who has it open (fuser -v): a backup or migration may be running"
    )


def _disk_full(path: Path) -> StoreUnusableError:
    return StoreUnusableError(
        "DiskFull",
        f"no space is left for the store {path}; nothing was changed. "
        "Free some space on that disk; work goes on by itself",
    )


def _read_only(path: Path) -> StoreUnusableError:
    return StoreUnusableError(
        "StoreReadOnly",
        f"the store {path} cannot be written (read-only file, folder or disk); nothing was changed. "
        "Give the reconciler's user write access to it and its folder, or choose another base_path",
    )


def _unreadable(path: Path, error: Exception) -> StoreUnusableError:
    return StoreUnusableError(
        "StoreUnreadable", f"the store {path} cannot be opened, read or written ({error}); check its folder and disk"
    )


def _no_space(path: Path) -> bool:
    """Does an I/O error come from a full disk? SQLite reports some (shared memory, fsync) as plain I/O errors."""
    try:
        found = os.statvfs(path.parent)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _NEARLY_FULL


def explain(error: sqlite3.Error, path: Path, waited: float) -> StoreError:
    """The StoreError for what SQLite raised (result codes: https://www.sqlite.org/rescode.html)."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return busy(path, waited)
    if primary in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return corrupt(path, str(error))
    if primary == sqlite3.SQLITE_READONLY:
        return _read_only(path)
    if primary == sqlite3.SQLITE_FULL:
        return _disk_full(path)
    if primary in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}:
        return _explain_by_looking(error, path)
    return StoreError(f"the store {path} failed: {error}")


def explain_os(error: OSError, path: Path) -> StoreError:
    """The StoreError for what the system says while a store is made."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return _disk_full(path)
    if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        return _read_only(path)
    return _unreadable(path, error)


def _explain_by_looking(error: sqlite3.Error, path: Path) -> StoreError:
    """SQLite's words for it are the same whether its files cannot be made, written or found."""
    if not all(os.access(name, os.W_OK) for name in (path, path.parent) if name.exists()):
        return _read_only(path)
    return _disk_full(path) if _no_space(path) else _unreadable(path, error)


@contextmanager
def explained(path: Path, waited: float) -> Iterator[None]:
    """Raise StoreError instead of sqlite3.Error."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(error, path, waited) from error
