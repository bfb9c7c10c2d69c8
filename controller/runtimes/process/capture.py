"""The log of an attempt: what the program prints, redacted and capped.

Promises: the pipe is always emptied, so that the program never blocks on a full log; no secret's value reaches the
file, even when it is printed in pieces. Does not: follow symbolic links, or stop the run when the disk is full (that is
noted).
Imported by the supervisor: built-in modules only.
"""

import os

from controller.runtimes.redact import Redactor


class Log:
    """The file, and the pipe that fills it."""

    def __init__(self, path: str, cap: int, secrets: list[bytes]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        self._left = cap
        self._cap = cap
        self._redactor = Redactor(secrets)
        self.truncated = False
        self.error = ""
        self.source, self.sink = os.pipe()
        os.set_blocking(self.source, False)

    def pump(self) -> bool:
        """Take what is in the pipe; False when there is nothing (left, or yet)."""
        try:
            data = os.read(self.source, 1 << 16)
        except BlockingIOError:
            return False
        self._write(self._redactor.feed(data))
        return bool(data)

    def close(self) -> None:
        """Take the rest and make it durable."""
        while self.pump():
            pass
        self._write(self._redactor.rest())
        try:
            os.fsync(self._file)
        except OSError as error:
            self.error = self.error or str(error)
        os.close(self._file)

    def _write(self, data: bytes) -> None:
        if self.truncated or not data:
            return
        self._put(data[: self._left])
        self._left -= len(data)
        if self._left < 0:
            self.truncated = True
            self._put(b"\n[fetchml: the log is cut here, at %d bytes; the run goes on]\n" % self._cap)

    def _put(self, data: bytes) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            self.error = str(error)
