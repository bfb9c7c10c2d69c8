"""The versions of the store's schema, in order, and how to get from each to the next.

Promises: `STEPS` only ever grows at its end; a step that was released is never edited (tests/fixtures/store holds a
dump of every version, and the schemas are compared). `apply` leaves the last version or, once the caller rolls back,
nothing. Importing this does not import sqlite_utils (110 ms).
Does not: open files, take locks or make copies (sqlite_open does).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

APPLICATION_ID = 0x66746D6C
"""Marks a database file as ours ("ftml"), see https://www.sqlite.org/fileformat.html#application_id."""


def _v1(db: Database) -> None:
    """Experiments, runs with their attempts, approvals, leases, events."""
    db.table("meta").create({"key": str, "value": str}, pk="key", not_null={"value"}, strict=True)
    _experiments(db)
    _runs(db)
    _attempts(db)
    _coordination(db)


def _experiments(db: Database) -> None:
    experiments = db.table("experiments").create(
        {
            "uid": str,
            "kind": str,
            "namespace": str,
            "name": str,
            "generation": int,
            "spec_sha256": str,
            "place": str,
            "deleted": int,
            "status": str,
        },
        pk="uid",
        not_null={"kind", "namespace", "name", "generation", "spec_sha256", "place", "deleted"},
        strict=True,
    )
    experiments.create_index(["kind", "namespace", "name"], unique=True)


def _runs(db: Database) -> None:
    # The bytes come last: SQLite reads a row's overflow pages only as far as the columns that were asked for.
    runs = db.table("runs").create(
        {
            "run_id": str,
            "uid": str,
            "state": str,
            "cancel_requested": int,
            "created_at": str,
            "ended_at": str,
            "plan_sha256": str,
            "rerun": str,
            "result": str,
            "launch": str,
            "plan": bytes,
            "spec": bytes,
        },
        pk="run_id",
        foreign_keys=[("uid", "experiments", "uid")],
        not_null={"uid", "state", "cancel_requested", "created_at", "plan_sha256", "rerun", "result", "launch"},
        strict=True,
    )
    runs.create_index(["state", "created_at"])
    runs.create_index(["uid", "created_at"])


def _attempts(db: Database) -> None:
    db.table("attempts").create(
        {
            "run_id": str,
            "number": int,
            "state": str,
            "created_at": str,
            "started_at": str,
            "ended_at": str,
            "exit_code": int,
            "reason": str,
            "message": str,
            "runtime": str,
            "data": str,
        },
        pk=("run_id", "number"),
        foreign_keys=[("run_id", "runs", "run_id")],
        not_null={"state", "created_at", "reason", "message", "runtime", "data"},
        strict=True,
    )


def _coordination(db: Database) -> None:
    db.table("approvals").create(
        {"uid": str, "plan_sha256": str, "by": str, "at": str},
        pk=("uid", "plan_sha256"),
        not_null={"by", "at"},
        strict=True,
    )
    db.table("leases").create(
        {"name": str, "holder": str, "boot_id": str, "token": int, "expires_at": float},
        pk="name",
        not_null={"holder", "boot_id", "token", "expires_at"},
        strict=True,
    )
    events = db.table("events").create(
        {"id": int, "at": str, "subject": str, "kind": str, "reason": str, "message": str},
        pk="id",
        not_null={"at", "subject", "kind", "reason", "message"},
        strict=True,
    )
    events.create_index(["subject", "id"])


STEPS: tuple[tuple[str, Callable[[Database], None]], ...] = (("v1", _v1),)
"""Name and step; version n is the state after the first n."""


def latest() -> int:
    """The version this program writes."""
    return len(STEPS)


def apply(connection: sqlite3.Connection) -> None:
    """Bring the schema to the latest version, within the transaction that is open on `connection`.

    Raises:
        sqlite3.Error: a step failed; the caller rolls back.
    """
    from sqlite_utils import Database, Migrations

    migrations = Migrations("fetchml")
    for name, migrate in STEPS:
        migrations(name=name)(migrate)
    migrations.apply(Database(connection, execute_plugins=False))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {latest()}")
