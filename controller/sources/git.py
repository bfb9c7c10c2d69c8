"""Specs in the commits of one branch of a git repository.

Promises: specs are read from commits, never from a work tree; only what changed between the commit that was looked at
last and the newest is read and parsed; invalid is not deleted; deletions are confirmed by a second look, and many at
once are withheld. Whatever keeps the branch from being read (an unreachable remote, no access, a branch that is gone, a
rewritten history) is told as a reason with a message, and what runs goes on. Our own status commits are no news.
Threads may share it. While `watch` runs, one thread asks the remote and another pushes statuses, so that `poll` and
`get` never wait for a network; without it `poll` asks.
Does not: act on a document.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controller.api.documents import Document, load
from controller.api.problems import InvalidDocumentError, Problem
from controller.ports.clock import Clock
from controller.ports.repository import FileTooLarge, Repository, RepositoryTroubleError
from controller.ports.source import Change, Key, Source, StatusWriteError, key_of
from controller.sources import deletions
from controller.sources.files import MAX_FILE_BYTES, shown
from controller.sources.gitindex import CommitIndex, OwnWrite
from controller.sources.gitstatus import Made, StatusCommits, same_document
from controller.sources.gitwatch import BranchWatch
from controller.sources.index import KeyBytes, decode, encode

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Branches:
    """Where specs come from and statuses go."""

    branch: str
    below: str = "."
    """Folder of the specs, from the root of the repository."""
    status: str = ""
    """Branch for statuses; empty: the same, in the specs."""
    poll_seconds: float = 15.0

    def covers(self, place: str) -> bool:
        """Does a path of the repository lie beneath the folder of the specs?"""
        return self.below == "." or place.startswith(self.below + "/")


class BranchSource(Source):
    """The specs of one branch.

    Args:
        repository: the local copy.
        branches: what to look at.
        clock: for confirmations and pauses.
        known: keys that the store remembers; those that are missing now are deletions to confirm.
    """

    def __init__(self, repository: Repository, branches: Branches, clock: Clock, *, known: Iterable[Key] = ()) -> None:
        self._repository = repository
        self.branches = branches
        self._clock = clock
        self._lock = threading.RLock()
        self._commits = CommitIndex(branches.below)
        self._commits.index.expect(map(encode, known), clock.monotonic())
        self._seen: str | None = None
        self._trouble: tuple[str, str] = ("", "")
        self._push_trouble: tuple[str, str] = ("", "")
        self._notice = ""
        self._pruned: set[KeyBytes] = set()
        self._stalled_at: int | None = None
        self.statuses = StatusCommits(
            repository,
            branches.status or branches.branch,
            clock,
            beside=bool(branches.status) and branches.status != branches.branch,
            made=self._pushed,
        )
        self._watching = False
        self._asked = False
        self._stuck = False
        self._bell = threading.Event()

    # --- looking ---

    def ring(self) -> None:
        """Somebody says that there may be something new: ask the remote now."""
        self._bell.set()

    def refresh(self) -> bool:
        """Ask the remote and fetch; True when there is something to poll for."""
        branch, before = self.branches.branch, (self._trouble, self._repository_tip())
        try:
            found = self._repository.refresh(branch)
            gone = f"branch {branch!r} is not there; specs stay as they were; push it again, or stop this reconciler"
            trouble = ("", "") if found else ("BranchNotFound", gone)
        except RepositoryTroubleError as error:
            trouble = (error.reason, self._since(error.reason, str(error)))
        with self._lock:
            self._asked, self._trouble = True, trouble
        return (trouble, self._repository_tip()) != before

    def _repository_tip(self) -> str | None:
        try:
            return self._repository.tip(self.branches.branch)
        except RepositoryTroubleError:
            return None

    def _since(self, reason: str, message: str) -> str:
        """The message of a trouble that lasts stays the one with which it began."""
        if self._trouble[0] == reason:
            return self._trouble[1]
        return f"{message} (since {self._clock.now():%H:%M:%S} UTC)"

    def poll(self, hints: frozenset[str] | None = None) -> Change:  # noqa: ARG002  # a look at a commit is always whole
        """Compare the newest commit with the one that was looked at last."""
        if not (self._watching and self._asked):
            self.refresh()
        with self._lock:
            before, now = self._commits.parsed, self._clock.monotonic()
            keys: set[KeyBytes] = set()
            try:
                keys = self._advance(now)
            except RepositoryTroubleError as error:
                self._trouble = (error.reason, self._since(error.reason, str(error)))
                self._bell.set()
            return self._change(keys, now, before)

    def _advance(self, now: float) -> set[KeyBytes]:
        tip = self._repository.tip(self.branches.branch)
        self._notice = ""
        if tip is None or tip == self._seen:
            return set()
        seen = self._seen
        known = seen is not None and self._repository.contains(tip, seen)
        if seen is not None and not known:
            self._notice = (
                f"the history of {self.branches.branch} was rewritten: {seen[:12]} is not in {tip[:12]} any more; "
                "the specs are now those of the new history"
            )
        if known and seen is not None:
            keys = self._commits.absorb(self._repository.changes(seen, tip), self._read, now)
        else:
            files = self._repository.files(tip, "." if seen else self.branches.below)
            keys = self._commits.replace_all(files, self._read, now)
        self._repository.mark(tip)
        self._seen = tip
        return keys

    def _read(self, oid: str) -> bytes | FileTooLarge:
        return self._repository.blob(oid, MAX_FILE_BYTES)

    def _change(self, keys: set[KeyBytes], now: float, parsed: int) -> Change:
        index = self._commits.index
        missing = {key: withheld.since for key, withheld in index.withheld.items()}
        known = len(index)
        whole = not self._trouble[0] and self._seen is not None
        verdict = deletions.judge(missing, min(known, self._stalled_at or known), now, scanned=whole)
        self._stalled_at = (self._stalled_at or known) if verdict.stalled else None
        for key in self._pruned.intersection(missing).union(verdict.gone):
            index.forget(key)
            keys.add(key)
        if self._pruned:
            self._pruned = set()
            return self._change(keys, now, parsed)
        reason, message = self._stall(len(missing), verdict.stalled)
        return Change(
            keys=frozenset(map(decode, keys - index.withheld.keys())),
            invalid={shown(path): problems for path, problems in self._commits.problems.items()},
            stalled=reason,
            message=message,
            parsed=self._commits.parsed - parsed,
            recheck_after=verdict.recheck_after,
        )

    def _stall(self, missing: int, mass: bool) -> tuple[str, str]:
        if self._trouble[0]:
            return self._trouble
        if mass:
            message = f"{missing} of {self._stalled_at} specs are gone at once; nothing is cancelled"
            return "MassDeletion", message + ": restore them, or confirm with `ml reconcile --prune`"
        return ("HistoryRewritten", self._notice) if self._notice else self._push_trouble

    # --- documents ---

    def get(self, key: Key) -> tuple[Document, ...]:
        """See Source.get."""
        with self._lock:
            found: list[Document] = []
            problems: list[Problem] = []
            for path in self._commits.index.places(encode(key)):
                loaded = self._commits.loaded(path, self._read)
                mine = [document for document in loaded.documents if key_of(document) == key]
                found += mine
                problems += () if mine else loaded.problems
            if problems and not found:
                raise InvalidDocumentError(problems)
            return tuple(found)

    def keys(self) -> frozenset[Key]:
        """Every known key, invalid and withheld ones included."""
        with self._lock:
            return frozenset(map(decode, self._commits.index.keys()))

    def covers(self, place: str) -> bool:
        """Does the place lie beneath the folder of the specs?"""
        return self.branches.covers(place)

    def confirm_deletions(self) -> None:
        """The next poll reports everything that is withheld now as gone."""
        with self._lock:
            self._pruned = set(self._commits.index.withheld)

    # --- statuses ---

    def write_status(self, document: Document, status: Mapping[str, Any]) -> bool:
        """Put the status into the next commit; False when the document moved on.

        Raises:
            StatusWriteError: the repository cannot be read now.
        """
        try:
            current = self._current(document)
        except RepositoryTroubleError as error:
            raise StatusWriteError(str(error)) from error
        if current is None:
            self.statuses.forget(key_of(document))
            return False
        if current.model.status == status and not self.statuses.beside:
            self.statuses.forget(key_of(document))
        else:
            self.statuses.add(document, status)
        return True

    def flush(self) -> int:
        """Commit and push every status that waits, now; how many were written.

        Raises:
            RepositoryTroubleError: not now; they still wait.
        """
        return self.statuses.flush()

    def _current(self, document: Document) -> Document | None:
        """The document in the newest commit, while its user part is the same; None when it moved on."""
        with self._lock:
            tip = self._repository.tip(self.branches.branch)
            if tip is not None and tip == self._seen:
                loaded = self._commits.loaded(document.file, self._read)
                return same_document(loaded.documents, document)
        data = self._repository.file(tip, document.file, MAX_FILE_BYTES) if tip else None
        return same_document(load(data, document.file).documents, document) if isinstance(data, bytes) else None

    def _pushed(self, made: Made) -> None:
        """Our own commit, when nothing lies between it and what we know, is what we looked at last."""
        with self._lock:
            if self.statuses.beside or made.parent is None or made.parent != self._seen:
                return
            changes = {change.path: change.oid for change in self._repository.changes(made.parent, made.commit)}
            for each in made.pending:
                path = each.document.file
                if path in changes:
                    self._commits.note_own(OwnWrite(each.document, changes[path], made.files[path]))
            self._repository.mark(made.commit)
            self._seen = made.commit

    # --- threads ---

    def watch(self, notify: Callable[[frozenset[str]], None]) -> Callable[[], None]:
        """Ask the remote and push statuses from two threads until stopped; `notify` when there is something to poll."""
        self._watching = True
        watch = BranchWatch(self, self._repository, self._bell, notify)
        watch.start()

        def stop() -> None:
            self._stuck = not watch.stop()
            self._watching = False

        return stop

    def close(self) -> None:
        """Push what still waits. What cannot be pushed is said; the store has it, and the next start writes it."""
        if self._stuck:
            log.warning("the remote does not answer: statuses that wait are written by the next start")
            return
        try:
            self.flush()
        except RepositoryTroubleError as error:
            log.warning("statuses were not pushed: %s; the next start writes them", error)

    def push_trouble(self, trouble: tuple[str, str]) -> bool:
        """Note why statuses cannot be pushed (reason and message, empty when they can); True when that is news."""
        with self._lock:
            before, self._push_trouble = self._push_trouble, trouble
        return before[0] != trouble[0]

    @property
    def in_trouble(self) -> bool:
        """Did the last question to the remote fail?"""
        return bool(self._trouble[0])
