"""The lock between whoever uses objects and whoever deletes them.

Promises: users share it, a deleter has it alone; the kernel drops it when its holder dies. Does not: keep out programs
that delete files themselves.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator


class StoreLock:
    """A lock file, made when it is first needed."""

    def __init__(self, path: str) -> None:
        self._path = path

    def share(self) -> int:
        """Hold it with others, until `unlock`; without a block, because this is done for each of many objects.

        -1 where there is no store yet, or one that may only be read: nobody deletes there through us.
        """
        try:
            return self._take(fcntl.LOCK_SH)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            return -1

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """The same for a block."""
        lock = self.share()
        try:
            yield
        finally:
            unlock(lock)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold it alone.

        Raises:
            OSError: there is no such folder, or it may not be written.
        """
        lock = self._take(fcntl.LOCK_EX)
        try:
            yield
        finally:
            unlock(lock)

    def _take(self, how: int) -> int:
        fd = os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, how)
        except BaseException:
            os.close(fd)
            raise
        return fd


def unlock(lock: int) -> None:
    """Give it back."""
    if lock >= 0:
        os.close(lock)
