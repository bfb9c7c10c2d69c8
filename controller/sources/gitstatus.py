"""Statuses on their way into the repository: many in one commit, on top of whatever was pushed meanwhile.

Promises: only status blocks (or status files, for documents that cannot hold a block and on a branch of their own)
differ in our commits; each is put on the newest version of its file, and only while the user part is the one that it
speaks of: a spec that was edited, moved or deleted keeps what its author made of it. Nothing is forced; a push that
came second is made again on the new tip after a random pause. At most one commit in `PERIOD` seconds.
Does not: lose a status that is not pushed yet: it waits, and the newest of each spec counts.
"""

import logging
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from controller.api.documents import Document, load, with_status
from controller.ports.clock import Clock
from controller.ports.repository import FileTooLarge, PushRejectedError, Repository
from controller.ports.source import Key, key_of
from controller.sources import sidecar
from controller.sources.files import MAX_FILE_BYTES

log = logging.getLogger(__name__)

QUIET = 0.3
"""Seconds without a new status after which a commit is made."""
LONGEST = 2.0
"""Seconds that a status waits for others at most."""
PERIOD = 2.0
"""Seconds between two commits."""
TRIES = 60
_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
_NAMED = 20


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """One status that is to be written."""

    document: Document
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Made:
    """One commit of ours that is on the branch now."""

    parent: str | None
    commit: str
    files: Mapping[str, bytes]
    """Every file that differs, by path."""
    pending: tuple[Pending, ...]


def due_after(first: float, last: float, committed: float, now: float) -> float:
    """Seconds until a commit is due: when it is quiet, or the first has waited long enough; never too often.

    Args:
        first: when the oldest waiting status came (monotonic seconds, as all).
        last: when the newest came.
        committed: when the last commit was made.
        now: the time.
    """
    return max(min(last + QUIET, first + LONGEST), committed + PERIOD) - now


@dataclass(slots=True)
class StatusCommits:
    """The statuses that wait for one branch. Threads may share it."""

    repository: Repository
    branch: str
    clock: Clock
    beside: bool = False
    """Write status files only: a branch of their own."""
    made: Callable[[Made], None] = lambda _made: None
    """Called after each push."""
    news: threading.Event = field(default_factory=threading.Event)
    """Set whenever a status comes."""
    _waiting: dict[Key, Pending] = field(default_factory=dict)
    _first: float = 0.0
    _last: float = 0.0
    _committed: float = float("-inf")
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _flushing: threading.Lock = field(default_factory=threading.Lock)

    def add(self, document: Document, status: Mapping[str, Any]) -> None:
        """Remember a status; it replaces an older one of the same spec."""
        with self._lock:
            now = self.clock.monotonic()
            had = self._waiting.get(key_of(document))
            if had and had.status == status and had.document.user_part == document.user_part:
                return
            if not self._waiting:
                self._first = now
            self._last = now
            self._waiting[key_of(document)] = Pending(document, status)
        self.news.set()

    def forget(self, key: Key) -> None:
        """What waits for this spec is not news any more."""
        with self._lock:
            self._waiting.pop(key, None)

    def due(self) -> float | None:
        """Seconds until `flush` should be called; None while nothing waits."""
        with self._lock:
            if not self._waiting:
                return None
            return due_after(self._first, self._last, self._committed, self.clock.monotonic())

    def flush(self) -> int:
        """Commit and push everything that waits; how many statuses were written.

        Raises:
            RepositoryTroubleError: not now; everything still waits.
        """
        with self._flushing:
            for attempt in range(TRIES):
                with self._lock:
                    pending = tuple(self._waiting.values())
                try:
                    return self._write(pending) if pending else 0
                except PushRejectedError:
                    longest = min(_PAUSE * 2 ** min(attempt, 8), _LONGEST_PAUSE)
                    self.clock.sleep(random.uniform(0, longest))  # noqa: S311  # it spreads writers, it guards nothing
                    self.repository.refresh(self.branch)
            return 0

    def _write(self, pending: tuple[Pending, ...]) -> int:
        parent = self.repository.tip(self.branch)
        files = self._files(parent, pending)
        if files:
            commit = self.repository.commit(parent, files, message(pending))
            self.repository.push(self.branch, commit, parent)
            self.made(Made(parent, commit, files, pending))
        with self._lock:
            if files:
                self._committed = self.clock.monotonic()
            for done in pending:
                if self._waiting.get(key_of(done.document)) is done:
                    del self._waiting[key_of(done.document)]
            self._first = self._last
        return len(pending) if files else 0

    def _files(self, parent: str | None, pending: tuple[Pending, ...]) -> dict[str, bytes]:
        """What differs once these statuses are in the tree of `parent`."""
        now: dict[str, bytes | None] = {}
        before: dict[str, bytes | None] = {}

        def current(path: str) -> bytes | None:
            if path not in now:
                found = self.repository.file(parent, path, MAX_FILE_BYTES) if parent else None
                before[path] = now[path] = None if isinstance(found, FileTooLarge) else found
            return now[path]

        for each in pending:
            written = self._placed(current, each)
            if written is not None:
                now[written[0]] = written[1]
        return {path: data for path, data in now.items() if data is not None and data != before[path]}

    def _placed(self, current: Callable[[str], bytes | None], pending: Pending) -> tuple[str, bytes] | None:
        """The file that holds this status, and its bytes with it; None when the spec moved on."""
        document = pending.document
        if self.beside:
            return _beside(current, pending)
        data = current(document.file)
        if data is None or not same_document(load(data, document.file).documents, document):
            return None
        if document.of == 1 and not document.flow:
            with suppress(ValueError):  # an anchor, say, that a block at the end would change
                return document.file, with_status(data, pending.status)
        return _beside(current, pending)


def _beside(current: Callable[[str], bytes | None], pending: Pending) -> tuple[str, bytes] | None:
    folder = pending.document.file.rpartition("/")[0]
    name = sidecar.file_name(pending.document.file)
    path = f"{folder}/{name}" if folder else name
    before = current(path) or b""
    if not sidecar.is_ours(before):
        log.warning("%s is in the way of a status and was not written by the reconciler", path)
        return None
    return path, sidecar.merged(before, pending.document, pending.status)


def same_document(found: Iterable[Document], document: Document) -> Document | None:
    """The document in another version of its file, if its user part is as it was."""
    mine = (other for other in found if key_of(other) == key_of(document))
    return next((other for other in mine if other.user_part == document.user_part), None)


def message(pending: tuple[Pending, ...]) -> str:
    """What our commit says: how many, which, and that no pipeline needs to run for it."""
    names = [f"{key_of(each.document)}: {each.status.get('phase', '')}" for each in pending]
    what = f"status of {names[0]}" if len(names) == 1 else f"status of {len(names)} experiments"
    more = [f"and {len(names) - _NAMED} more"] if len(names) > _NAMED else []
    body = "\n".join([*names[:_NAMED], *more])
    return f"{what} [skip ci]\n\n{body}\n" if len(names) > 1 else f"{what} [skip ci]\n"
