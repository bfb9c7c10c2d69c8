"""Group commit: writers that come at the same time share one transaction and one fsync.

Promises: `submit` returns (or raises) only after the commit that holds its work; work is applied whole or not at all,
and the failure of one does not undo another's.
Does not: start a thread. Whoever finds no commit in progress leads the next one and takes along everybody who waits (as
MySQL and PostgreSQL do), so a lone writer pays nothing.
"""

import sqlite3
from collections.abc import Callable
from threading import Condition
from typing import Any, TypeVar

from controller.ports import durable

COMMIT = durable.register("store.commit", "the transaction that holds one or several writers' changes")
MAX_WAITING = 1000

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class _Job:
    """One writer's work and what became of it."""

    __slots__ = ("done", "error", "result", "work")

    def __init__(self, work: Work[Any]) -> None:
        self.work = work
        self.done = False
        self.error: BaseException | None = None
        self.result: Any = None


class GroupCommit:
    """Runs work in transactions on the connection of the thread that leads."""

    def __init__(self, connection: Callable[[], sqlite3.Connection]) -> None:
        self._connection = connection
        self._condition = Condition()
        self._waiting: list[_Job] = []
        self._batch: list[_Job] = []
        self._leader: _Job | None = None

    def submit(self, work: Work[T]) -> T:
        """Commit `work(connection)` and give back what it returned.

        Raises:
            sqlite3.Error: the transaction failed; nothing of this work was kept.
            BaseException: whatever `work` raised; nothing of it was kept.
        """
        job = _Job(work)
        failure: BaseException | None = None
        try:
            self._join(job)
            if self._leader is job:
                _transaction(self._connection(), self._batch)
        except BaseException as error:  # noqa: BLE001  # raised again below, once nobody waits for this leader any more
            failure = job.error = job.error or error
        if self._leader is job:
            self._finish(failure)
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def later(self, work: Work[object]) -> None:
        """Let `work` go along with the next commit; it may be lost, and nobody hears of its failure."""
        with self._condition:
            if len(self._waiting) < MAX_WAITING:
                self._waiting.append(_Job(work))

    def flush(self) -> None:
        """Commit what `later` left waiting, if anything."""
        if self._waiting:
            self.submit(lambda _connection: None)

    def _join(self, job: _Job) -> None:
        """Return when `job` was done by another leader, or is the leader itself."""
        with self._condition:
            self._waiting.append(job)
            while self._leader is not None and not job.done:
                self._condition.wait()
            if not job.done:
                self._leader = job
                self._batch, self._waiting = self._waiting, []

    def _finish(self, failure: BaseException | None) -> None:
        """Tell the batch how it went and let the next leader begin."""
        if failure is not None and not isinstance(failure, Exception):  # Ctrl-C is for the thread it interrupted only
            failure = sqlite3.OperationalError("the thread that committed was interrupted")
        with self._condition:
            for job in self._batch:
                job.error = job.error or failure
                job.done = True
            self._batch, self._leader = [], None
            self._condition.notify_all()


def _transaction(connection: sqlite3.Connection, batch: list[_Job]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if len(batch) == 1:  # no savepoint: what this one leaves half done goes with the transaction
            batch[0].result = batch[0].work(connection)
        else:
            for job in batch:
                _apply(connection, job)
        with durable.step(COMMIT):
            connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _apply(connection: sqlite3.Connection, job: _Job) -> None:
    connection.execute("SAVEPOINT job")
    try:
        job.result = job.work(connection)
    except Exception as error:
        job.error = error
        if not connection.in_transaction:  # a full disk or an I/O error ended the whole transaction
            raise
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")
