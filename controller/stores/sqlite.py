"""The store in one SQLite file.

Promises: what the port says. Every change is one transaction, on disk (WAL, synchronous=FULL) before its method
returns; writers of several threads share commits; a fence is checked inside the transaction that writes.
Does not: work on a network file system, nor delete history.
"""

import sqlite3
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from controller.ports import durable
from controller.ports.clock import Clock
from controller.ports.source import Key
from controller.ports.store import ORDER, AttemptRow, AttemptState, ExperimentRow, Lease, RunRow, Store, StoreError
from controller.stores import sqlite_lease, sqlite_lock, sqlite_open, sqlite_rows
from controller.stores import sqlite_transitions as transitions
from controller.stores.sqlite_commit import GroupCommit
from controller.stores.sqlite_errors import explain, explained

OBSERVE = durable.register("store.observe", "uid, generation and place of an experiment")
DELETE = durable.register("store.delete", "that a spec is gone")
SAVE_STATUS = durable.register("store.save_status", "the last status of an experiment")
INTEND = durable.register("store.intend", "the intent to run: a run and its attempt 1")
INTEND_AGAIN = durable.register("store.intend_again", "the intent of one more attempt")
ADVANCE = {
    state: durable.register(f"store.advance.{state}", f"that an attempt is {state}")
    for state in ORDER[ORDER.index(AttemptState.CREATED) :]
}
WITHDRAW = durable.register("store.withdraw", "that a run which never began is forgotten")
FINISH = durable.register("store.finish", "the end of a run and of its attempts")
CANCEL = durable.register("store.cancel", "that somebody wants a run stopped")
APPROVE = durable.register("store.approve", "an approved plan")
LEASE = durable.register("store.lease", "who holds a lease and until when")
RELEASE = durable.register("store.release", "that a lease is free")

OVER = frozenset({"succeeded", "failed", "cancelled"})
CHANGEABLE = frozenset({"started_at", "ended_at", "exit_code", "reason", "message", "data"})

T = TypeVar("T")


class SqliteStore(Store):
    """One database file; safe to use from any number of threads and processes of one machine."""

    def __init__(self, path: Path, clock: Clock, *, busy_timeout: float = 5.0, boot_id: str | None = None) -> None:
        """Open `path`, making or migrating it.

        Raises:
            StoreError: it cannot be used (damaged, newer, foreign, locked, full, read-only); its text says what to do.
        """
        self.path = path.absolute()
        self._clock = clock
        self._busy_timeout = busy_timeout
        self._boot_id = _boot_id() if boot_id is None else boot_id
        self._fence: Lease | None = None
        self._leases = sqlite_lock.Locks(self.path)
        self._closed = False
        self._local = threading.local()
        self._connections: weakref.WeakSet[sqlite3.Connection] = weakref.WeakSet()
        self._commits = GroupCommit(self._connection)
        self._identity = self._prepare(clock)
        named = self._read("SELECT value FROM meta WHERE key = 'store_id'")
        self.store_id = named[0][0] if named else ""

    def _prepare(self, clock: Clock) -> sqlite_open.Identity | None:
        return sqlite_open.prepare(self.path, clock, self._busy_timeout)

    def observe(self, key: Key, spec_sha256: str, place: str) -> ExperimentRow:
        """See the port. Reads first, so that an unchanged experiment costs no transaction."""
        row = self.experiment(key)
        if row is not None and (row.spec_sha256, row.place, row.deleted) == (spec_sha256, place, False):
            return row
        return self._write(OBSERVE, partial(transitions.observe, key, spec_sha256, place))

    def experiment(self, key: Key) -> ExperimentRow | None:
        """See the port."""
        rows = self._read(f"{sqlite_rows.EXPERIMENT} WHERE kind = ? AND namespace = ? AND name = ?", key)
        return sqlite_rows.experiment(rows[0]) if rows else None

    def experiments(self) -> Sequence[ExperimentRow]:
        """See the port."""
        rows = self._read(f"{sqlite_rows.EXPERIMENT} WHERE NOT deleted ORDER BY kind, namespace, name")
        return [sqlite_rows.experiment(row) for row in rows]

    def mark_deleted(self, key: Key) -> None:
        """See the port."""
        self._write(DELETE, partial(transitions.mark_deleted, key))

    def save_status(self, key: Key, status: Mapping[str, Any]) -> None:
        """See the port. Reads first, so that an unchanged status costs no transaction."""
        text = sqlite_rows.dump(status)
        rows = self._read("SELECT uid, status FROM experiments WHERE kind = ? AND namespace = ? AND name = ?", key)
        if not rows:
            raise LookupError(f"no experiment {key} was ever observed")
        uid, before = rows[0]
        if text != before:
            self._write(SAVE_STATUS, partial(transitions.save_status, uid, text))

    def begin_run(self, run: RunRow, runtime: str) -> AttemptRow:
        """See the port."""
        return self._write(INTEND, partial(transitions.begin_run, run, runtime))

    def begin_attempt(self, run_id: str, runtime: str) -> AttemptRow:
        """See the port."""
        return self._write(INTEND_AGAIN, partial(transitions.begin_attempt, run_id, runtime, self._now()))

    def advance(self, run_id: str, number: int, state: AttemptState, **values: Any) -> AttemptRow:
        """See the port."""
        if unknown := values.keys() - CHANGEABLE:
            raise TypeError(f"an attempt has no {', '.join(sorted(unknown))}")
        if state is AttemptState.INTENDED:
            return self._attempt(run_id, number)
        return self._write(ADVANCE[state], partial(transitions.advance, run_id, number, state, values))

    def finish_run(self, run_id: str, state: str, ended_at: str, result: Mapping[str, Any]) -> None:
        """See the port."""
        if state not in OVER:
            raise ValueError(f"a run ends as one of {', '.join(sorted(OVER))}, not as {state!r}")
        self._write(FINISH, partial(transitions.finish_run, run_id, state, ended_at, sqlite_rows.dump(result)))

    def withdraw(self, run_id: str) -> bool:
        """See the port."""
        return self._write(WITHDRAW, partial(transitions.withdraw, run_id))

    def run(self, run_id: str) -> RunRow | None:
        """See the port."""
        rows = self._read(f"{sqlite_rows.RUN_WHOLE} WHERE run_id = ?", (run_id,))
        return sqlite_rows.run(rows[0]) if rows else None

    def runs(self, *, uid: str | None = None, active: bool | None = None, limit: int | None = None) -> Sequence[RunRow]:
        """See the port."""
        wanted = {"runs.uid = ?": uid, "state = 'active'": active or None, "state <> 'active'": active is False or None}
        clauses = [clause for clause, value in wanted.items() if value is not None]
        where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
        order = " ORDER BY created_at DESC, runs.rowid DESC LIMIT ?"
        parameters = ([] if uid is None else [uid]) + [-1 if limit is None else limit]
        return [sqlite_rows.run(row) for row in self._read(sqlite_rows.RUN_LISTED + where + order, parameters)]

    def attempts(self, run_id: str) -> Sequence[AttemptRow]:
        """See the port."""
        rows = self._read(f"{sqlite_rows.ATTEMPT} WHERE run_id = ? ORDER BY number", (run_id,))
        return [sqlite_rows.attempt(row) for row in rows]

    def request_cancel(self, run_id: str) -> bool:
        """See the port."""
        return self._write(CANCEL, partial(transitions.request_cancel, run_id))

    def approve(self, uid: str, plan_sha256: str, by: str) -> None:
        """See the port."""
        self._write(APPROVE, partial(transitions.approve, uid, plan_sha256, by, self._now()))

    def approvals(self, uid: str) -> tuple[str, ...] | None:
        """See the port. In the order they were given."""
        rows = self._read("SELECT plan_sha256 FROM approvals WHERE uid = ? ORDER BY rowid", (uid,))
        return tuple(row[0] for row in rows) or None

    def approvals_given(self) -> int:
        """See the port."""
        return int(self._read("SELECT count(*) FROM approvals")[0][0])

    def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        """See the port. `holder` must be this process's own (pid and a random part)."""
        now = self._clock.monotonic()
        wanted = Lease(name, holder, 0, now + ttl)
        try:
            alone = self._leases.hold(name, holder)
        except sqlite_lock.LockUnsupportedError:
            return self._take(wanted, now, alone=False)
        with explained(self.path, self._busy_timeout):
            token = sqlite_lease.own(self._connection(), name, holder, self._boot_id)
        if token is not None and alone:
            return replace(wanted, token=token)
        return self._take(wanted, now, alone=True) if alone else None

    def _take(self, wanted: Lease, now: float, *, alone: bool) -> Lease | None:
        take = partial(sqlite_lease.take, wanted=wanted, boot_id=self._boot_id, now=now, alone=alone)
        return self._write(LEASE, take, fenced=False)

    def release(self, lease: Lease) -> None:
        """See the port."""
        self._write(RELEASE, partial(sqlite_lease.give_back, lease=lease), fenced=False)
        self._leases.free(lease.name, lease.holder)

    def set_fence(self, lease: Lease | None) -> None:
        """See the port. Holds for every thread that uses this object."""
        self._fence = lease

    def count(self, state: str) -> int:
        """See the port."""
        return int(self._read("SELECT count(*) FROM runs WHERE state = ?", (state,))[0][0])

    def emit_event(self, subject: str, kind: str, reason: str, message: str) -> None:
        """Note an event. It goes along with the next commit, so that it costs none; until then it may be lost."""
        row = (self._now(), subject, kind, reason, message)
        self._commits.later(partial(transitions.insert_event, row))

    def events(self, subject: str | None = None, limit: int = 100) -> list[dict[str, str]]:
        """The newest events, oldest of them first: at (RFC 3339), subject, kind, reason, message."""
        self.flush_events()
        rows = self._read(sqlite_rows.EVENTS, (subject, subject, limit))
        return [sqlite_rows.event(row) for row in reversed(rows)]

    def flush_events(self) -> None:
        """Commit the events that wait, if any."""
        with explained(self.path, self._busy_timeout):
            self._commits.flush()

    def check(self) -> None:
        """Read every page once, however large the store is.

        Raises:
            StoreUnusableError: StoreCorrupt.
        """
        with explained(self.path, self._busy_timeout):
            sqlite_open.check(self._connection(), self.path)

    def backup(self, target: Path) -> None:
        """A whole, consistent copy of the store, replaced atomically at `target`.

        Raises:
            StoreError, OSError: there is no copy; what stood at `target` before is still there.
        """
        with explained(target, self._busy_timeout):
            sqlite_open.backup(self._connection(), target)

    def close(self) -> None:
        """Close every thread's connection. Twice is once."""
        if self._closed:
            return
        with suppress(StoreError):  # events may be lost, and all else was committed when its method returned
            self.flush_events()
        self._closed = True
        self._leases.close()
        for connection in list(self._connections):
            connection.close()

    def _connection(self) -> sqlite3.Connection:
        """This thread's own connection."""
        if self._closed:
            raise StoreError(f"the store {self.path} was closed")
        if sqlite_open.identity(self.path) != self._identity:
            raise sqlite_open.replaced(self.path)
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = self._connect()
            self._connections.add(found)
        return found

    def _connect(self) -> sqlite3.Connection:
        try:
            return sqlite_open.connect(self.path, self._busy_timeout)
        except sqlite3.Error:
            if sqlite_open.identity(self.path) != self._identity:  # taken away since we looked
                raise sqlite_open.replaced(self.path) from None
            raise

    def _attempt(self, run_id: str, number: int) -> AttemptRow:
        with explained(self.path, self._busy_timeout):
            return transitions.attempt(run_id, number, self._connection())

    def _read(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite_rows.Row]:
        try:
            return self._connection().execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise explain(error, self.path, self._busy_timeout) from error

    def _write(self, step: str, work: Callable[[sqlite3.Connection], T], *, fenced: bool = True) -> T:
        fence = self._fence if fenced else None

        def checked(connection: sqlite3.Connection) -> T:
            sqlite_lease.require(connection, fence)
            return work(connection)

        try:
            with durable.step(step):
                return self._commits.submit(checked)
        except sqlite3.Error as error:
            raise explain(error, self.path, self._busy_timeout) from error

    def _now(self) -> str:
        return self._clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _boot_id() -> str:
    """This boot of the machine; empty where the kernel does not say (a lease then ends by its seconds alone)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
