"""Looking into a store without opening it for writing: what `ml status` and its like need, fast.

Promises: nothing is written, no lock is waited for (WAL readers never block), and only the standard library is imported
besides the ports. A store that a crashed process left is read as its last commit was. Does not: create or migrate.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from controller.ports.store import Lease, StoreUnusableError
from controller.stores import migrations
from controller.stores.sqlite_errors import explained

_TIMEOUT = 5.0

STATUS = (
    "SELECT uid, kind, namespace, name, generation, place, spec_sha256, status FROM experiments "
    "WHERE NOT deleted AND (? IS NULL OR name = ?) AND (? IS NULL OR namespace = ?) ORDER BY kind, namespace, name"
)
EVENTS = "SELECT at, subject, kind, reason, message FROM events WHERE ? IS NULL OR subject = ? ORDER BY id DESC LIMIT ?"


def status_rows(path: Path, *, name: str | None = None, namespace: str | None = None) -> list[dict[str, Any]]:
    """Experiments by key: uid, kind, namespace, name, generation, place, spec_sha256, status (dict, or None so far).

    Raises:
        FileNotFoundError: there is no store.
        StoreError: it cannot be read.
    """
    rows = _select(path, STATUS, (name, name, namespace, namespace))
    for row in rows:
        row["status"] = None if row["status"] is None else json.loads(row["status"])
    return rows


def counts(path: Path) -> dict[str, int]:
    """Runs by state (active, succeeded, failed, cancelled); a state without runs is left out. Raises as status_rows."""
    rows = _select(path, "SELECT state, count(*) AS runs FROM runs GROUP BY state", ())
    return {row["state"]: row["runs"] for row in rows}


def event_rows(path: Path, *, subject: str | None = None, limit: int = 100) -> list[dict[str, str]]:
    """The newest events, oldest of them first: at (RFC 3339), subject, kind, reason, message. Raises as status_rows."""
    return _select(path, EVENTS, (subject, subject, limit))[::-1]


def lease_row(path: Path, name: str) -> Lease | None:
    """Who holds (or last held) the lease; None when nobody has it. Raises as status_rows."""
    sql = "SELECT name, holder, token, expires_at FROM leases WHERE name = ? AND holder <> ''"
    rows = _select(path, sql, (name,))
    return Lease(**rows[0]) if rows else None


def _select(path: Path, sql: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
    with explained(path, _TIMEOUT), _opened(path) as connection:
        cursor = connection.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    path = path.absolute()
    if not path.exists():
        raise FileNotFoundError(f"there is no store at {path}")
    with closing(connect(path)) as connection:
        yield connection


def connect(path: Path, factory: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
    """A read-only connection; may be closed by another thread.

    Raises:
        sqlite3.Error: see sqlite_errors.
        StoreUnusableError: it has another version.
    """
    connection = sqlite3.connect(_uri(path), uri=True, timeout=_TIMEOUT, check_same_thread=False, factory=factory)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error:
        connection.close()
        raise
    if version != migrations.latest():
        connection.close()
        raise _other_version(path, version)
    return connection


def _uri(path: Path) -> str:
    """Read-only media hold no WAL of a living writer, and SQLite cannot make its shared memory there."""
    frozen = not path.with_name(path.name + "-wal").exists() and not os.access(path.parent, os.W_OK)
    return f"file:{quote(str(path))}?mode=ro" + ("&immutable=1" if frozen else "")


def _other_version(path: Path, version: int) -> StoreUnusableError:
    known = migrations.latest()
    if version > known:
        return StoreUnusableError(
            "StoreTooNew", f"the store {path} has schema version {version}, this program knows {known}: upgrade fetchml"
        )
    return StoreUnusableError(
        "StoreTooOld",
        f"the store {path} has schema version {version}, not {known}: `ml reconcile` brings it up to date",
    )
