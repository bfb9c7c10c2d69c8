"""Showing a growing log.

Promises: bytes of an untrusted log never steer a terminal. Does not: know runs.
"""

import sys
import threading
from pathlib import Path

from controller.entrypoints.cli.output import is_plain


class LogTail:
    """Copies a growing log file to stdout."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._at = 0
        self._lock = threading.Lock()

    def follow(self, path: Path) -> None:
        """From now on this file (a new attempt's log starts afresh)."""
        with self._lock:
            if path != self._path:
                self._path, self._at = path, 0

    def show(self) -> None:
        """What came since."""
        with self._lock:
            if self._path is None or not self._path.exists():
                return
            if self._path.stat().st_size < self._at:
                self._at = 0
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
            self._at += len(data)
        if data:
            self._write(data)

    @staticmethod
    def _write(data: bytes) -> None:
        sys.stdout.write(_harmless(data.decode(errors="replace")) if not is_plain() else data.decode(errors="replace"))
        sys.stdout.flush()


def _harmless(text: str) -> str:
    """Control sequences of an untrusted log do not reach a terminal, line breaks and tabs excepted."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )
