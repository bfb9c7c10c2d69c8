"""What is remembered: experiments, runs, attempts, statuses, leases, approvals.

Promises: every method that changes something is one committed transaction when it returns (SQLite WAL,
synchronous=FULL); intent is stored before anything is created; a fencing token older than the newest is refused.
Every method may raise StoreError.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from controller.ports.source import Key


class AttemptState(StrEnum):
    """The six durable states of an attempt, in order."""

    INTENDED = "intended"
    CREATED = "created"
    STARTED = "started"
    EXITED = "exited"
    COLLECTED = "collected"
    RECORDED = "recorded"


ORDER = tuple(AttemptState)


@dataclass(frozen=True, slots=True)
class ExperimentRow:
    """What the store knows of one experiment."""

    uid: str
    key: Key
    generation: int
    spec_sha256: str
    place: str
    """File (relative to the root) or other origin, for people."""
    deleted: bool = False
    status: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run: (uid, plan_sha256, rerun token)."""

    run_id: str
    uid: str
    key: Key
    plan_sha256: str
    rerun: str
    state: str
    """active, succeeded, failed, cancelled."""
    created_at: str
    plan: bytes = b""
    spec: bytes = b""
    """Canonical spec bytes at launch."""
    launch: Mapping[str, Any] = field(default_factory=dict)
    """Everything needed to resume without the spec: resolved references, host paths, resources, caps at launch."""
    cancel_requested: bool = False
    ended_at: str | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    """Trust level, outputs, metrics, provenance once recorded."""


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt of a run."""

    run_id: str
    number: int
    state: AttemptState
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None
    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    runtime: str = "process"
    data: Mapping[str, Any] = field(default_factory=dict)
    """Sandbox facts, usage, and what else was seen."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to act, for a while; `token` grows with every new holder (fencing)."""

    name: str
    holder: str
    token: int
    expires_at: float
    """Monotonic seconds of the host's clock (CLOCK_BOOTTIME); counts only where the store cannot tell whether the
    holder lives."""


class Store(ABC):
    """Durable memory of one reconciler (or several that share it under a lease)."""

    store_id: str
    """Random id made with the store; labels of everything we create."""

    @abstractmethod
    def observe(self, key: Key, spec_sha256: str, place: str) -> ExperimentRow:
        """The row of this experiment; made with a new uid if unknown, generation + 1 if spec_sha256 is new.

        No write if nothing changed.
        """

    @abstractmethod
    def experiment(self, key: Key) -> ExperimentRow | None:
        """The row, or None."""

    @abstractmethod
    def experiments(self) -> Sequence[ExperimentRow]:
        """Every row that is not deleted, by key."""

    @abstractmethod
    def mark_deleted(self, key: Key) -> None:
        """The spec is gone; history stays."""

    @abstractmethod
    def save_status(self, key: Key, status: Mapping[str, Any]) -> None:
        """Remember the last status. No write if it is the same.

        Raises:
            LookupError: the experiment was never observed.
        """

    @abstractmethod
    def begin_run(self, run: RunRow, runtime: str) -> AttemptRow:
        """Commit the intent: the run (active) and its attempt 1 (intended).

        Of a run that exists already the newest attempt is returned as it is.

        Raises:
            LookupError: no experiment has `run.uid`.
        """

    @abstractmethod
    def begin_attempt(self, run_id: str, runtime: str) -> AttemptRow:
        """Commit the intent of one more attempt of an active run; one that is only intended yet is returned as it is.

        Raises:
            LookupError: no such run.
            ValueError: the run is over, or its newest attempt was created and has not exited (it could run twice).
        """

    @abstractmethod
    def advance(self, run_id: str, number: int, state: AttemptState, **values: Any) -> AttemptRow:
        """Move an attempt forward (never back; the same state again is nothing).

        With started_at, ended_at, exit_code, reason, message, data; `data` is merged into what is there, key by key.
        An attempt of a finished run is returned as it is.

        Raises:
            LookupError: no such attempt.
            TypeError: a value that an attempt does not have.
        """

    @abstractmethod
    def finish_run(self, run_id: str, state: str, ended_at: str, result: Mapping[str, Any]) -> None:
        """The run is over: its attempts recorded and its state set in one transaction.

        A finished run is never changed again.

        Raises:
            LookupError: no such run.
            ValueError: `state` is none of succeeded, failed, cancelled.
        """

    @abstractmethod
    def withdraw(self, run_id: str) -> bool:
        """Forget an active run of which nothing was ever created: its only attempt is still intended.

        False, and nothing changed, when there is no such run or more of it than that.
        """

    @abstractmethod
    def run(self, run_id: str) -> RunRow | None:
        """By exact id."""

    @abstractmethod
    def runs(self, *, uid: str | None = None, active: bool | None = None, limit: int | None = None) -> Sequence[RunRow]:
        """Newest first; plan and spec bytes are left empty."""

    @abstractmethod
    def attempts(self, run_id: str) -> Sequence[AttemptRow]:
        """In order."""

    @abstractmethod
    def request_cancel(self, run_id: str) -> bool:
        """Ask the reconciler to stop it; False when it is over or unknown."""

    @abstractmethod
    def approve(self, uid: str, plan_sha256: str, by: str) -> None:
        """Remember an approval."""

    @abstractmethod
    def approvals(self, uid: str) -> tuple[str, ...] | None:
        """Approved plan digests, or None when nothing was ever approved."""

    @abstractmethod
    def approvals_given(self) -> int:
        """How many approvals there are in all; one that is given moves it."""

    @abstractmethod
    def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        """The lease, or None while somebody else holds it. Asking for one's own again keeps its token.

        It is held until it is released or its holder's process ends (or the store object is closed). Only a store
        that cannot tell whether a holder lives lets go of it after `ttl` seconds without being asked again.
        """

    @abstractmethod
    def release(self, lease: Lease) -> None:
        """Give it back; a lease that was taken over is left alone."""

    @abstractmethod
    def set_fence(self, lease: Lease | None) -> None:
        """From now on every write checks that this lease is still the newest.

        Raises (from the writes): FencedError.
        """

    @abstractmethod
    def count(self, state: str) -> int:
        """Runs in a state."""

    @abstractmethod
    def close(self) -> None:
        """Close connections."""


class StoreError(Exception):
    """The store did not do it. `reason` is a stable CamelCase word; the text is a whole sentence for people."""

    reason = "StoreError"


class FencedError(StoreError):
    """Another reconciler took over; this one must stop writing."""

    reason = "Fenced"


class StoreBusyError(StoreError):
    """The database stayed locked for too long; try again."""

    reason = "StoreLocked"


class StoreUnusableError(StoreError):
    """Nothing can be written (or read) until somebody acts; nothing half was kept.

    `reason`: DiskFull, StoreReadOnly, StoreCorrupt, StoreTooNew, StoreTooOld,
    NotAStore, StoreUnreadable; StoreReplaced is StoreReplacedError.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class StoreReplacedError(StoreUnusableError):
    """The file of the store was removed or replaced: what is written through it nobody would find."""

    def __init__(self, message: str) -> None:
        super().__init__("StoreReplaced", message)


FINAL = (FencedError, StoreReplacedError)
"""Trying again never helps: the process must stop."""
