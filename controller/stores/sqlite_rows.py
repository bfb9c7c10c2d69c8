"""Rows of the database as the port's values, and back.

Promises: the only place that knows which column is which field. Does not: read or write.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from controller.ports.source import Key
from controller.ports.store import AttemptRow, AttemptState, ExperimentRow, RunRow

EXPERIMENT = "SELECT uid, kind, namespace, name, generation, spec_sha256, place, deleted, status FROM experiments"

RUN = (
    "SELECT run_id, runs.uid, kind, namespace, name, plan_sha256, rerun, state, created_at, {documents}, "
    "launch, cancel_requested, ended_at, result FROM runs JOIN experiments USING (uid)"
)
RUN_WHOLE = RUN.format(documents="plan, spec")
RUN_LISTED = RUN.format(documents="x'', x''")

_ATTEMPT_COLUMNS = "run_id, number, state, created_at, started_at, ended_at, exit_code, reason, message, runtime, data"
ATTEMPT = f"SELECT {_ATTEMPT_COLUMNS} FROM attempts"  # noqa: S608  # our own words

EVENTS = "SELECT at, subject, kind, reason, message FROM events WHERE ? IS NULL OR subject = ? ORDER BY id DESC LIMIT ?"

Row = Sequence[Any]

_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def dump(value: Mapping[str, Any]) -> str:
    """JSON text, the same for the same value."""
    return _ENCODER.encode(value) if value else "{}"


def experiment(row: Row) -> ExperimentRow:
    """From EXPERIMENT."""
    uid, kind, namespace, name, generation, spec_sha256, place, deleted, status = row
    key = Key(kind, namespace, name)
    return ExperimentRow(
        uid, key, generation, spec_sha256, place, bool(deleted), None if status is None else json.loads(status)
    )


def run(row: Row) -> RunRow:
    """From RUN_WHOLE or RUN_LISTED."""
    run_id, uid, kind, namespace, name, *middle, launch, cancel_requested, ended_at, result = row
    plan_sha256, rerun, state, created_at, plan, spec = middle
    return RunRow(
        run_id,
        uid,
        Key(kind, namespace, name),
        plan_sha256,
        rerun,
        state,
        created_at,
        plan,
        spec,
        json.loads(launch),
        bool(cancel_requested),
        ended_at,
        json.loads(result),
    )


def attempt(row: Row) -> AttemptRow:
    """From ATTEMPT."""
    run_id, number, state, created_at, started_at, ended_at, exit_code, reason, message, runtime, data = row
    return AttemptRow(
        run_id,
        number,
        AttemptState(state),
        created_at,
        started_at,
        ended_at,
        exit_code,
        reason,
        message,
        runtime,
        json.loads(data),
    )


def event(row: Row) -> dict[str, str]:
    """From EVENTS: at (RFC 3339), subject, kind (Normal or Warning), reason, message."""
    return dict(zip(("at", "subject", "kind", "reason", "message"), row, strict=True))


def insert_run(connection: sqlite3.Connection, run: RunRow) -> bool:
    """False when a run of that id is there already.

    Raises:
        sqlite3.IntegrityError: no experiment has its uid.
    """
    cursor = connection.execute(
        "INSERT INTO runs "
        "(state, cancel_requested, result, run_id, uid, created_at, plan_sha256, rerun, launch, plan, spec) "
        "VALUES ('active', 0, '{}', ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id) DO NOTHING",
        (run.run_id, run.uid, run.created_at, run.plan_sha256, run.rerun, dump(run.launch), run.plan, run.spec),
    )
    return cursor.rowcount == 1


def insert_attempt(connection: sqlite3.Connection, row: AttemptRow) -> None:
    """A new attempt."""
    connection.execute(
        "INSERT INTO attempts (run_id, number, state, created_at, reason, message, runtime, data) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (row.run_id, row.number, row.state, row.created_at, row.reason, row.message, row.runtime, dump(row.data)),
    )


def move_attempt(
    connection: sqlite3.Connection,
    which: tuple[str, int],
    state: str,
    before: Sequence[str],
    values: Mapping[str, Any],
) -> AttemptRow | None:
    """Set `state` and the columns that `values` names where the state is one of `before`; None where it is not.

    One statement: a look beforehand would cost a third of the transition.
    """
    sets, states = "".join(f", {name} = ?" for name in values), ", ".join("?" * len(before))
    where = f"run_id = ? AND number = ? AND state IN ({states})"
    sql = f"UPDATE attempts SET state = ?{sets} WHERE {where} RETURNING {_ATTEMPT_COLUMNS}"  # noqa: S608  # field names
    rows = connection.execute(sql, (state, *values.values(), *which, *before)).fetchall()
    return attempt(rows[0]) if rows else None


def update_attempt(connection: sqlite3.Connection, row: AttemptRow) -> None:
    """All that may change of an attempt."""
    connection.execute(
        "UPDATE attempts SET state = ?, started_at = ?, ended_at = ?, exit_code = ?, reason = ?, message = ?, data = ? "
        "WHERE run_id = ? AND number = ?",
        (
            row.state,
            row.started_at,
            row.ended_at,
            row.exit_code,
            row.reason,
            row.message,
            dump(row.data),
            row.run_id,
            row.number,
        ),
    )
