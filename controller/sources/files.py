"""Looking at one spec file: its stat key, its bytes, or the reason why it may not be used.

Promises: never blocks (FIFO, socket, device), never reads outside the root (checked on the open descriptor, so a
swapped symlink gains nothing), never returns a torn or half-written file. Does not: parse, remember or write anything.
"""

import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from controller.api.problems import Position, Problem
from controller.sources import writers

MAX_FILE_BYTES = 4 * 2**20
SETTLE_SECONDS = 2.0
"""A file that a program has open for writing is left alone until nothing was written for this long."""
QUIET_SECONDS = 0.2
"""The same where writers cannot be seen (no leases on this file system, or another user's file)."""
GRANULARITY_NS = 20_000_000
"""The kernel stamps files with a clock that ticks every 4 to 10 ms."""
COARSE_NS = 2_000_000_000
"""File systems that stamp whole seconds (FAT: every two)."""

_STAT = struct.Struct("<QQQqq")
STAT_BYTES = _STAT.size
_CHUNK = 2**20
_ATTEMPTS = 5


class UnusableFileError(Exception):
    """The file can never be a spec as it is; `problem` says why and what to do."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


class UnsettledFileError(Exception):
    """Somebody is writing it; look again soon."""


@dataclass(frozen=True, slots=True)
class FileBytes:
    """A whole file at one instant."""

    data: bytes
    key: bytes
    """Its stat key."""
    stat: os.stat_result


def stat_key(status: os.stat_result) -> bytes:
    """Device, inode, size, mtime and ctime in nanoseconds, as 40 bytes."""
    device, inode = status.st_dev & (2**64 - 1), status.st_ino & (2**64 - 1)
    return _STAT.pack(device, inode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def is_racy(key: bytes, now_ns: int) -> bool:
    """Git's rule: a file stamped no earlier than it was read may change again without changing its stamps."""
    *_, mtime, ctime = _STAT.unpack(key)
    step = COARSE_NS if mtime % 10**9 == 0 and ctime % 10**9 == 0 else GRANULARITY_NS
    return bool(max(mtime, ctime) + step >= now_ns)


def shown(path: str) -> str:
    """A path that is safe to print: control characters, directional marks and undecodable bytes are escaped."""
    if path.isprintable():
        return path
    return "".join(c if c.isprintable() else _escape(c) for c in path)


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte that is not UTF-8, as os.fsdecode carries it
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape", "backslashreplace").decode()


def refuse(path: str, reason: str, message: str, fix: str) -> UnusableFileError:
    """The error that carries one problem of a file as a whole."""
    return UnusableFileError(Problem(shown(path), Position(), "", message, fix, reason, "file"))


def name_problem(path: str) -> UnusableFileError | None:
    """Why a path may not name a spec, judged by its name alone."""
    if path.isprintable():
        return None
    return refuse(path, "BadFileName", "the name holds bytes that are not printable UTF-8", "rename it")


def current_key(root: Path, path: str) -> bytes:
    """Stat key of the file now; of the target where the path is a symlink, of the link where that dangles.

    Raises:
        OSError: it is not there (ENOENT, ENOTDIR) or cannot be looked at.
    """
    full = root / path
    status = full.lstat()
    if stat.S_ISLNK(status.st_mode):
        try:
            status = full.stat()
        except OSError:
            return stat_key(status)
    return stat_key(status)


def read_spec(root: Path, path: str, now_ns: int) -> FileBytes:
    """The bytes of a spec.

    Raises:
        FileNotFoundError, NotADirectoryError: it is gone.
        UnusableFileError: it cannot be a spec (not a regular file, too large, unreadable, outside the root).
        UnsettledFileError: it is being written.
    """
    for _ in range(_ATTEMPTS):
        with opened(root, path) as (descriptor, before):
            if _being_written(descriptor, before, now_ns):
                raise UnsettledFileError(path)
            data = read_all(descriptor)
            after = os.fstat(descriptor)
        if stat_key(before) == stat_key(after) and len(data) == after.st_size:
            return FileBytes(data, stat_key(after), after)
    raise UnsettledFileError(path)


@contextmanager
def opened(root: Path, path: str) -> Iterator[tuple[int, os.stat_result]]:
    """A descriptor of a regular file of acceptable size inside the root, and its status.

    Raises: as `read_spec`.
    """
    full = root / path
    link = _check_kind(path, full)
    try:
        descriptor = os.open(full, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if link else os.O_NOFOLLOW))
    except (FileNotFoundError, NotADirectoryError):
        if link:
            raise refuse(path, "DanglingSymlink", "the symlink leads nowhere", "remove it or mend its target") from None
        raise
    except OSError as error:
        raise _unopened(path, error) from error
    try:
        status = os.fstat(descriptor)
        _check_open(root, path, descriptor, status)
        yield descriptor, status
    finally:
        os.close(descriptor)


def _check_kind(path: str, full: Path) -> bool:
    mode = full.lstat().st_mode
    if stat.S_ISLNK(mode):
        return True
    if not stat.S_ISREG(mode):
        raise _not_a_file(path, mode)
    return False


def _check_open(root: Path, path: str, descriptor: int, status: os.stat_result) -> None:
    if not inside(root, descriptor):
        raise refuse(
            path, "SymlinkOutsideRoot", "the path leads out of the specs folder", "copy the file into the folder"
        )
    if not stat.S_ISREG(status.st_mode):
        raise _not_a_file(path, status.st_mode)
    if status.st_size > MAX_FILE_BYTES:
        message = f"the file has {status.st_size} bytes, at most {MAX_FILE_BYTES} are read"
        raise refuse(path, "FileTooLarge", message, "split it, or move what is not a spec out of the specs folder")


def inside(root: Path, descriptor: int) -> bool:
    """Does the open file really lie beneath the root? Asked of the kernel, not of the path."""
    real = Path(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115  # Path.readlink would normalise nothing less
    return real.is_relative_to(root.resolve())


def _not_a_file(path: str, mode: int) -> UnusableFileError:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    kind = kinds.get(stat.S_IFMT(mode), "not a regular file")
    return refuse(path, "NotAFile", f"this is {kind}, not a file", "rename or remove it: only regular files are specs")


def _unopened(path: str, error: OSError) -> UnusableFileError:
    if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENODEV}:
        return refuse(path, "NotAFile", f"it cannot be opened: {error.strerror}", "replace it by a regular file")
    return refuse(path, "UnreadableFile", f"it cannot be read: {error.strerror}", "give the reconciler read permission")


def _being_written(descriptor: int, status: os.stat_result, now_ns: int) -> bool:
    age = abs(now_ns - status.st_mtime_ns) / 1e9
    if age >= SETTLE_SECONDS:
        return False
    found = writers.probe(descriptor)
    return found is writers.Hold.BUSY or (found is writers.Hold.UNSUPPORTED and age < QUIET_SECONDS)


def read_all(descriptor: int) -> bytes:
    """Everything from the start, one byte more than allowed at most."""
    parts: list[bytes] = []
    offset = 0
    while offset <= MAX_FILE_BYTES and (part := os.pread(descriptor, _CHUNK, offset)):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
