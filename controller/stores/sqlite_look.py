"""The store for commands that only look: `ml explain` and its like, on a repository that nobody may write.

Promises: makes, locks and changes nothing; where there is no store, everything is as if nothing had ever run; a write
is refused (StoreReadOnly). Does not: migrate an old store.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from controller.ports.clock import Clock
from controller.ports.store import StoreUnusableError
from controller.stores import sqlite_open, sqlite_read, sqlite_rows
from controller.stores.sqlite import SqliteStore

T = TypeVar("T")


class LookingStore(SqliteStore):
    """What is remembered, read-only."""

    def _prepare(self, _clock: Clock) -> sqlite_open.Identity | None:
        return sqlite_open.identity(self.path)

    def _connect(self) -> sqlite3.Connection:
        return sqlite_read.connect(self.path, sqlite_open.Connection)

    def _read(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite_rows.Row]:
        return super()._read(sql, parameters) if self._identity is not None else []

    def approvals_given(self) -> int:
        """See the port."""
        return super().approvals_given() if self._identity is not None else 0

    def count(self, state: str) -> int:
        """See the port."""
        return super().count(state) if self._identity is not None else 0

    def flush_events(self) -> None:
        """Nothing waits: whoever looks has nothing to tell."""

    def emit_event(self, subject: str, kind: str, reason: str, message: str) -> None:
        """Not kept."""

    def _write(self, step: str, work: Callable[[sqlite3.Connection], T], *, fenced: bool = True) -> T:  # noqa: ARG002  # as in the parent
        raise StoreUnusableError("StoreReadOnly", f"the store {self.path} was opened to look at it only")
