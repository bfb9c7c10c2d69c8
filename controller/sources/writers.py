"""Is anybody writing this file, or about to? Asked through Linux file leases (fcntl F_SETLEASE).

Promises: while a lease is held and intact, nobody opened the file for writing since it was taken and nobody had it
open; a program that tries meanwhile waits inside open() until the lease is given back. Does not: work on file systems
without leases or on files of other users (`Hold.UNSUPPORTED`): callers then compare bytes instead, which is weaker.
"""

import errno
import fcntl
import os
import signal
from enum import Enum
from pathlib import Path


class Hold(Enum):
    """What came of asking for a lease."""

    HELD = "held"
    BUSY = "busy"
    """Somebody has it open for writing."""
    UNSUPPORTED = "unsupported"


def hold(descriptor: int) -> Hold:
    """Take a read lease on a descriptor that was opened read-only."""
    try:
        # The kernel signals a broken lease with SIGIO, which ends a process; SIGURG is ignored by default.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return Hold.BUSY if error.errno == errno.EAGAIN else Hold.UNSUPPORTED
    return Hold.HELD


def intact(descriptor: int) -> bool:
    """Is the lease still held, with nobody waiting to write?"""
    return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_RDLCK


def release(descriptor: int) -> None:
    """Give the lease back; whoever waited goes on."""
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def probe(descriptor: int) -> Hold:
    """Could a lease be had now? HELD means that nobody has the file open for writing; none is kept."""
    found = hold(descriptor)
    if found is Hold.HELD:
        release(descriptor)
    return found


class FolderLease:
    """The right to write status in a specs folder: one holder on a host, given up when the process ends.

    A lock (flock) on the folder itself, so that no file is needed. It may not reach other hosts of a shared folder.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, root: Path) -> "FolderLease | None":
        """The lease, or None while another process holds it: then be read-only and say so.

        Raises:
            OSError: the folder cannot be opened.
        """
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:  # a file system without locks: nobody else can hold one either
            return cls(descriptor)
        return cls(descriptor)

    @staticmethod
    def holder(root: Path) -> str:
        """Who has it, as far as the kernel says: "pid 123 (command line)"; empty when nobody or unknown."""
        inode = root.stat().st_ino
        try:
            locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
            pid = next(words[4] for words in locks if words[1] == "FLOCK" and words[5].endswith(f":{inode}"))
            words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
        except (OSError, StopIteration, IndexError):
            return ""
        return f"pid {pid} ({words.decode(errors='replace')})"

    def release(self) -> None:
        """Give it back. Twice is once."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "FolderLease":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
