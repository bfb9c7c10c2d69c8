"""Opening files beneath an open folder, and nowhere else.

Promises: every component of a path is opened with O_NOFOLLOW relative to its parent's descriptor, so neither a
symlink nor a folder swapped after a check leads outside. Does not: guard against bind mounts (only root makes those).
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from controller.facts.facts import DatasetFacts

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""O_NONBLOCK: opening a FIFO returns at once instead of waiting for a writer."""

Name = str | bytes


class UnsafePathError(Exception):
    """A path that may not be used; `reason` is the stable reason of a fact."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


def parts_of(path: str) -> tuple[str, ...]:
    """Components of a relative path; "" and "." vanish.

    Raises:
        UnsafePathError: it is absolute, or has "..", NUL.
    """
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if path.startswith("/") or ".." in parts or "\0" in path:
        raise UnsafePathError("PathOutsideRoots", f"{path!r} leads outside; write a relative path without '..'")
    return parts


@contextmanager
def folder(path: Name, dir_fd: int | None = None) -> Iterator[int]:
    """A descriptor of an existing folder (not through a symlink in its last component)."""
    fd = os.open(path, FOLDER, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def descend(root_fd: int, parts: Sequence[Name]) -> Iterator[int]:
    """A descriptor of the folder `parts` beneath `root_fd`."""
    fd = os.dup(root_fd)
    try:
        for part in parts:
            inner = os.open(part, FOLDER, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def kind_beneath(root_fd: int, parts: Sequence[str]) -> int:
    """The file type (stat.S_IFREG, S_IFDIR, ...) of the last component, no component being a symlink.

    Raises:
        UnsafePathError: a component is a symlink (reason SymlinkInDataset).
        OSError: it does not exist or may not be read.
    """
    fd = os.dup(root_fd)
    mode = stat.S_IFDIR
    try:
        for part in parts:
            mode = os.stat(part, dir_fd=fd, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                raise UnsafePathError(
                    "SymlinkInDataset", f"{part!r} in {'/'.join(parts)!r} is a symlink; name the real path"
                )
            if part is not parts[-1]:
                inner = os.open(part, FOLDER, dir_fd=fd)
                os.close(fd)
                fd = inner
        return stat.S_IFMT(mode)
    finally:
        os.close(fd)


def read_beneath(root_fd: int, path: str | bytes) -> bytes:
    """The bytes of a regular file beneath `root_fd`, through no symlink.

    Raises:
        OSError: absent, a symlink, not a regular file, or not readable.
    """
    separator = b"/" if isinstance(path, bytes) else "/"
    *parents, name = path.split(separator)  # type: ignore[arg-type]  # both kinds split by their own kind
    with descend(root_fd, parents) as fd, os.fdopen(os.open(name, FILE, dir_fd=fd), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path!r} is not a regular file")
        return file.read()


def refused(name: str, error: UnsafePathError) -> DatasetFacts:
    """Facts of a dataset that may not be read."""
    return DatasetFacts(name=name, found=False, reason=error.reason, message=str(error))
