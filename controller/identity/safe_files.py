"""Small files that matter: read without following links, written whole or not at all.

Promises: `read_regular` reads one regular file of bounded size, and with ``private`` only one of ours that nobody else
may read; the checks are on the open file, so it cannot be exchanged in between. `write_new` never overwrites,
`replace_file` replaces; both are durable when they return.
Does not: know what the bytes mean, or register durable steps (the caller does).
"""

import os
import stat
from pathlib import Path

from controller.ports.signer import KeyFacts


class UnsafeFileError(ValueError):
    """A key, or a file in its place, that must not be believed; the text says which and why."""


def read_regular(path: Path, limit: int, *, private: bool = False) -> bytes:
    """The bytes of a regular file.

    Raises:
        UnsafeFileError: a symlink, not a regular file, or larger than `limit` bytes.
        PermissionError: `private`, and others may read it or it belongs to another user; says how to repair it.
        OSError: it cannot be read.
    """
    if path.is_symlink():
        raise UnsafeFileError(f"{path} is a symbolic link; links are refused here")
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            raise UnsafeFileError(f"{path} is not a regular file")
        if private:
            _check_private(path, info)
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    finally:
        os.close(handle)
    if len(data) > limit:
        raise UnsafeFileError(f"{path} has more than {limit} bytes")
    return data


def _check_private(path: Path, info: os.stat_result) -> None:
    if info.st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to user id {info.st_uid}, not to you ({os.geteuid()})")
    if info.st_mode & 0o077:
        raise PermissionError(f"others may read {path}; run: chmod 600 {path}")


def key_facts(path: Path) -> KeyFacts | None:
    """Who can read a private key file; None when it cannot be looked at."""
    try:
        file, folder = path.lstat(), path.parent.lstat()
    except OSError:
        return None
    private = stat.S_ISREG(file.st_mode) and not file.st_mode & 0o077 and not folder.st_mode & 0o077
    return KeyFacts(file.st_uid, private and stat.S_ISDIR(folder.st_mode) and file.st_uid == folder.st_uid)


def write_new(path: Path, data: bytes, *, mode: int) -> None:
    """Create a file that did not exist, durably: a reader sees all of it or nothing.

    Raises:
        FileExistsError: it exists; it was left as it is.
        OSError: it cannot be written; nothing is left behind.
    """
    temporary = _write_temporary(path, data, mode)
    try:
        os.link(temporary, path)  # unlike a rename, fails when the name is taken
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def replace_file(path: Path, data: bytes, *, mode: int) -> None:
    """Replace (or create) a file durably.

    Raises:
        OSError: it cannot be written; the old file is untouched.
    """
    temporary = _write_temporary(path, data, mode)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _write_temporary(path: Path, data: bytes, mode: int) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask is
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
