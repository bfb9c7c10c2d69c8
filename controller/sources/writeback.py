"""Where a status goes, and writing it there.

Promises: inline at the end of a document that stands alone in a plain file, its user part byte for byte; beside it in
``<name>.status.yaml`` for everything else (several documents, flow style, symlinks, hard links, files of other owners,
files that are invalid now). An identical status is not written. Does not: decide what a status says, or scan for specs.
"""

import errno
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from stat import S_ISREG
from typing import Any

from controller.api.documents import Document, Loaded, load, with_status
from controller.ports.clock import Clock
from controller.ports.source import Key, StatusWriteError, key_of
from controller.sources import exchange, sidecar, writers
from controller.sources.exchange import Held
from controller.sources.files import UnusableFileError, inside, name_problem, opened, read_all, shown, stat_key

_ATTEMPTS = 8
_BUSY_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Written:
    """An inline status that is in place."""

    data: bytes
    """The whole file."""
    stat: bytes
    """Its stat key."""


class _Place(Enum):
    INLINE = "inline"
    SIDECAR = "sidecar"
    MOVED_ON = "moved on"


class StatusWriter:
    """Writes statuses beneath one root."""

    def __init__(self, root: Path, clock: Clock, *, always_sidecar: bool = False) -> None:
        self._root = root
        self._clock = clock
        self._always_sidecar = always_sidecar

    def write(self, document: Document, status: Mapping[str, Any], known: Iterable[Key]) -> Written | bool:
        """Write a status.

        Args:
            document: as the source gave it.
            status: the whole status.
            known: keys of every document whose status belongs into the same sidecar.

        Returns:
            What an inline write left; True when a sidecar holds it; False when the document moved on.

        Raises:
            StatusWriteError: it cannot be written; nothing was changed.
        """
        try:
            with ExitStack() as stack:
                folder = self._folder(stack, document.file)
                return self._write(folder, document, status, known)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except (OSError, UnusableFileError) as error:
            raise StatusWriteError(_sentence(document.file, error)) from error

    def _write(
        self, folder: int, document: Document, status: Mapping[str, Any], known: Iterable[Key]
    ) -> Written | bool:
        for attempt in range(_ATTEMPTS):
            with ExitStack() as stack:
                data, held = self._read(stack, folder, document.file)
                busy = held is not None and held.lease is writers.Hold.BUSY
                if busy and attempt < _ATTEMPTS - 1:  # a save that is under way ends soon
                    self._clock.sleep(_BUSY_SECONDS)
                    continue
                place = self._place(data, None if busy else held, document)
                if place is _Place.MOVED_ON:
                    return False
                if place is _Place.SIDECAR or held is None:
                    sidecar.write(folder, document, status, known)
                    return True
                written = self._inline(stack, folder, document, held, status)
                if written is not None:
                    return written
        return False

    def _inline(
        self, stack: ExitStack, folder: int, document: Document, held: Held, status: Mapping[str, Any]
    ) -> Written | None:
        new = with_status(held.data, status)
        ours: Held | None = held
        if new != held.data:
            ours = exchange.replace(stack, folder, _name(document), held, new, self._clock)
        if ours is None:
            return None
        sidecar.remove(folder, document.file)  # an older status beside the spec would only mislead
        return Written(new, stat_key(os.fstat(ours.descriptor)))

    def _read(self, stack: ExitStack, folder: int, path: str) -> tuple[bytes, Held | None]:
        """The file now; held open where it is a plain file of one name."""
        name = path.rpartition("/")[2]
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if S_ISREG(status.st_mode):
            held = exchange.hold(stack, folder, name)
            return held.data, held
        with opened(self._root, path) as (descriptor, _):  # a symlink, or an error that says what it is
            return read_all(descriptor), None

    def _place(self, data: bytes, held: Held | None, document: Document) -> _Place:
        """Where the status of this document goes, given its file as it is now."""
        found = load(data, document.file)
        mine = [d for d in found.documents if key_of(d) == key_of(document)]
        if not mine and found.problems:
            return _Place.SIDECAR
        if not any(d.user_part == document.user_part for d in mine):
            return _Place.MOVED_ON
        if self._always_sidecar or held is None or not _may_replace(held) or not _holds_status(found):
            return _Place.SIDECAR
        return _Place.INLINE

    def _folder(self, stack: ExitStack, path: str) -> int:
        problem = name_problem(path)
        if problem is not None:
            raise problem
        descriptor = os.open((self._root / path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, descriptor)
        if not inside(self._root, descriptor):
            raise PermissionError(errno.EPERM, "its folder lies outside the specs folder", path)
        return descriptor


def _name(document: Document) -> str:
    return document.file.rpartition("/")[2]


def _holds_status(found: Loaded) -> bool:
    """One valid block-style document."""
    return not found.problems and [(document.of, document.flow) for document in found.documents] == [(1, False)]


def _may_replace(held: Held) -> bool:
    """Replacing it keeps all that it is: it has no second name, and its owner can be kept."""
    if held.stat.st_nlink != 1:
        return False
    return os.geteuid() == 0 or (
        held.stat.st_uid == os.geteuid() and held.stat.st_gid in {os.getegid(), *os.getgroups()}
    )


def _sentence(path: str, error: Exception) -> str:
    if isinstance(error, OSError):
        why = error.strerror or str(error)
        return (
            f"the status of {shown(path)} cannot be written: {why}; the file is as it was and the store has the status"
        )
    return f"the status of {shown(path)} cannot be written: {error}"
