"""What each change of the store does inside its transaction.

Promises: every function reads, decides and writes on the one connection that holds the transaction, and is idempotent
where the port says so. Does not: begin, commit or roll back.
"""

import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from controller.ports.source import Key
from controller.ports.store import ORDER, AttemptRow, AttemptState, ExperimentRow, RunRow
from controller.stores import sqlite_rows

KEEP_EVENTS = 10_000
_RANK = {state: rank for rank, state in enumerate(ORDER)}


def observe(key: Key, spec_sha256: str, place: str, connection: sqlite3.Connection) -> ExperimentRow:
    """The row of `key`: new, or with the next generation, or just seen again."""
    connection.execute(
        "INSERT INTO experiments (uid, kind, namespace, name, generation, spec_sha256, place, deleted) "
        "VALUES (?, ?, ?, ?, 1, ?, ?, 0) ON CONFLICT (kind, namespace, name) DO UPDATE SET "
        "generation = generation + (spec_sha256 <> excluded.spec_sha256), "
        "spec_sha256 = excluded.spec_sha256, place = excluded.place, deleted = 0",
        (uuid.uuid4().hex, *key, spec_sha256, place),
    )
    sql = f"{sqlite_rows.EXPERIMENT} WHERE kind = ? AND namespace = ? AND name = ?"
    return sqlite_rows.experiment(connection.execute(sql, key).fetchone())


def save_status(uid: str, text: str, connection: sqlite3.Connection) -> None:
    """The last status as JSON text."""
    connection.execute("UPDATE experiments SET status = ? WHERE uid = ?", (text, uid))


def mark_deleted(key: Key, connection: sqlite3.Connection) -> None:
    """The spec is gone."""
    connection.execute(
        "UPDATE experiments SET deleted = 1 WHERE kind = ? AND namespace = ? AND name = ? AND NOT deleted", key
    )


def begin_run(run: RunRow, runtime: str, connection: sqlite3.Connection) -> AttemptRow:
    """The run and its attempt 1, or the newest attempt of the run that is there already."""
    try:
        new = sqlite_rows.insert_run(connection, run)
    except sqlite3.IntegrityError as error:
        raise LookupError(f"no experiment has the uid {run.uid!r} of run {run.run_id}") from error
    if not new:
        return _newest(connection, run.run_id)
    row = AttemptRow(run.run_id, 1, AttemptState.INTENDED, run.created_at, runtime=runtime)
    sqlite_rows.insert_attempt(connection, row)
    return row


def begin_attempt(run_id: str, runtime: str, now: str, connection: sqlite3.Connection) -> AttemptRow:
    """One more attempt, unless the newest is only intended; never beside one that may still run."""
    newest = _newest(connection, run_id)
    if _run_state(connection, run_id) != "active":
        raise ValueError(f"run {run_id} is over; a new attempt needs a new run (annotation fetchml.dev/rerun)")
    if newest.state is AttemptState.INTENDED:
        return newest
    if _RANK[newest.state] < _RANK[AttemptState.EXITED]:
        raise ValueError(f"attempt {newest.number} of run {run_id} is {newest.state} and may still run")
    row = AttemptRow(run_id, newest.number + 1, AttemptState.INTENDED, now, runtime=runtime)
    sqlite_rows.insert_attempt(connection, row)
    return row


def attempt(run_id: str, number: int, connection: sqlite3.Connection) -> AttemptRow:
    """One attempt as it is."""
    row = connection.execute(f"{sqlite_rows.ATTEMPT} WHERE run_id = ? AND number = ?", (run_id, number)).fetchone()
    if row is None:
        raise LookupError(f"run {run_id} has no attempt {number}")
    return sqlite_rows.attempt(row)


def advance(
    run_id: str, number: int, state: AttemptState, values: Mapping[str, Any], connection: sqlite3.Connection
) -> AttemptRow:
    """Forward only; otherwise the attempt as it is. (All attempts of a finished run are recorded, the last state.)"""
    if "data" not in values:
        moved = sqlite_rows.move_attempt(connection, (run_id, number), state, ORDER[: _RANK[state]], values)
        return moved or attempt(run_id, number, connection)
    row = attempt(run_id, number, connection)
    if _RANK[state] <= _RANK[row.state]:
        return row
    row = replace(row, state=state, **{**values, "data": {**row.data, **values["data"]}})
    sqlite_rows.update_attempt(connection, row)
    return row


def finish_run(run_id: str, state: str, ended_at: str, result: str, connection: sqlite3.Connection) -> None:
    """The run's end and its attempts recorded; nothing when it is over already."""
    sql = "UPDATE runs SET state = ?, ended_at = ?, result = ? WHERE run_id = ? AND state = 'active'"
    if connection.execute(sql, (state, ended_at, result, run_id)).rowcount == 0:
        _run_state(connection, run_id)  # over already, or LookupError
        return
    connection.execute("UPDATE attempts SET state = ? WHERE run_id = ?", (AttemptState.RECORDED, run_id))


def withdraw(run_id: str, connection: sqlite3.Connection) -> bool:
    """Delete a run and its attempt 1, as long as that is all there is and it is only intended."""
    sql = (
        "SELECT 1 FROM runs WHERE run_id = ? AND state = 'active' AND NOT EXISTS "
        "(SELECT 1 FROM attempts WHERE attempts.run_id = runs.run_id AND (number > 1 OR state <> ?))"
    )
    if connection.execute(sql, (run_id, AttemptState.INTENDED)).fetchone() is None:
        return False
    connection.execute("DELETE FROM attempts WHERE run_id = ?", (run_id,))
    connection.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))
    return True


def request_cancel(run_id: str, connection: sqlite3.Connection) -> bool:
    """True when an active run is (or was already) asked to stop."""
    sql = "UPDATE runs SET cancel_requested = 1 WHERE run_id = ? AND state = 'active'"
    return connection.execute(sql, (run_id,)).rowcount == 1


def approve(uid: str, plan_sha256: str, by: str, now: str, connection: sqlite3.Connection) -> None:
    """The first approval of a plan is the one that stays."""
    connection.execute("INSERT OR IGNORE INTO approvals VALUES (?, ?, ?, ?)", (uid, plan_sha256, by, now))


def insert_event(row: tuple[str, str, str, str, str], connection: sqlite3.Connection) -> None:
    """One more event, and at most the newest KEEP_EVENTS in all."""
    cursor = connection.execute("INSERT INTO events (at, subject, kind, reason, message) VALUES (?, ?, ?, ?, ?)", row)
    connection.execute("DELETE FROM events WHERE id <= ?", ((cursor.lastrowid or 0) - KEEP_EVENTS,))


def _newest(connection: sqlite3.Connection, run_id: str) -> AttemptRow:
    sql = f"{sqlite_rows.ATTEMPT} WHERE run_id = ? ORDER BY number DESC LIMIT 1"
    row = connection.execute(sql, (run_id,)).fetchone()
    if row is None:
        raise LookupError(f"no run {run_id}")
    return sqlite_rows.attempt(row)


def _run_state(connection: sqlite3.Connection, run_id: str) -> str:
    row = connection.execute("SELECT state FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        raise LookupError(f"no run {run_id}")
    return str(row[0])
