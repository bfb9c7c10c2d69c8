"""Moving bytes between descriptors: hashed on the way, by reflink where the file system can.

Promises: the digest is of the bytes that were written; a file that changes while it is read is refused; holes stay
holes. Does not: know where objects lie.
"""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from controller.ports.objectstore import ChangedError

PIECE = 1 << 20
SMALL = 1 << 20
"""Files up to this size are held in memory: one read, no second look."""
_ZEROS = bytes(PIECE)
_FICLONE = 0x40049409
"""ioctl_ficlone(2): the target shares the source's blocks, copied when either is written."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def opened(source: Path | int) -> Iterator[int]:
    """A descriptor of a regular file, at its start.

    Raises:
        ChangedError: it is a symlink, or no regular file.
        OSError: absent or unreadable.
    """
    try:
        fd = os.dup(source) if isinstance(source, int) else os.open(source, _READ)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ChangedError(f"{named(source)} is a symlink; put the file itself there") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ChangedError(f"{named(source)} is no regular file; remove it")
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


def named(source: Path | int) -> str:
    """How an error names the source."""
    return "the open file" if isinstance(source, int) else repr(os.fsencode(source).decode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def unchanged(fd: int, source: Path | int) -> Iterator[None]:
    """The file must be the same after the block as before it.

    Raises:
        ChangedError: it is not.
    """
    before = os.fstat(fd)
    yield
    must_be_unchanged(fd, before, source)


def must_be_unchanged(fd: int, before: os.stat_result, source: Path | int) -> None:
    """The same without a block.

    Raises:
        ChangedError: it is not as `before` says.
    """
    if _state(os.fstat(fd)) != _state(before):
        raise ChangedError(f"{named(source)} changed while it was read; wait until nothing writes to it")


def _state(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read_all(fd: int, size: int) -> bytes:
    """As much of a small file as `size` says, or less where it ends before."""
    data = os.read(fd, size)
    if len(data) == size:
        return data
    pieces = [data]
    while piece := os.read(fd, size - sum(map(len, pieces))):
        pieces.append(piece)
    return b"".join(pieces)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write every byte."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def copy(source: int, target: int, size: int) -> str:
    """Copy at most `size` bytes into an empty file; returns the hex sha256 of what the target now holds.

    Never more than `size`: a file that grows as fast as it is read would not end.
    """
    if _clone(source, target):
        os.lseek(target, 0, os.SEEK_SET)
        return digest_of(target)
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(PIECE))
    left = size
    while left and (count := os.readv(source, [buffer[: min(left, PIECE)]])):
        hasher.update(buffer[:count])
        _write_piece(target, buffer[:count])
        left -= count
    os.ftruncate(target, size - left)  # a hole at the end
    return hasher.hexdigest()


def _write_piece(target: int, piece: memoryview) -> None:
    if piece == _ZEROS[: len(piece)]:
        os.lseek(target, len(piece), os.SEEK_CUR)
    else:
        write_all(target, piece)


def _clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False  # this file system cannot, or these are two of them
    return True


def digest_of(fd: int) -> str:
    """Hex sha256 from here to the end."""
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(PIECE))
    while count := os.readv(fd, [buffer]):
        hasher.update(buffer[:count])
    return hasher.hexdigest()


def sync_folder(folder: Path) -> None:
    """fsync a folder: the names in it are durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file_system(folder: Path) -> None:
    """syncfs(2): everything written to the file system that holds the folder is durable.

    Raises:
        OSError: something could not be written back (Linux 5.8 and newer report it).
    """
    library = ctypes.CDLL(None, use_errno=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if library.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(fd)
