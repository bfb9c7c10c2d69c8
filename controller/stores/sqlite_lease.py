"""Leases in the database: who may act, with a token that only grows.

Promises: at most one holder at a time; a new holder always has a larger token; a row is written only when the lease
changes hands, as long as the kernel can say whether its holder lives (sqlite_lock.py). Where it cannot, a lease
lasts as long as it is renewed, and one of another boot of this machine has expired, whatever its clock says.
Does not: tell apart two processes with one holder text: put a random part in it.
"""

import sqlite3

from controller.ports.store import FencedError, Lease


def take(connection: sqlite3.Connection, wanted: Lease, boot_id: str, now: float, *, alone: bool) -> Lease | None:
    """The lease `wanted` (its token is ignored) from `now` on; None while somebody else has it.

    `alone`: no other holder lives, whatever the row says.
    """
    row = connection.execute(
        "SELECT holder, boot_id, token, expires_at FROM leases WHERE name = ?", (wanted.name,)
    ).fetchone()
    holder, boot, token, expires_at = row or ("", "", 0, 0.0)
    if not alone and holder not in {"", wanted.holder} and boot == boot_id and expires_at > now:
        return None
    if (holder, boot) != (wanted.holder, boot_id):
        token += 1
    connection.execute(
        "INSERT OR REPLACE INTO leases (name, holder, boot_id, token, expires_at) VALUES (?, ?, ?, ?, ?)",
        (wanted.name, wanted.holder, boot_id, token, wanted.expires_at),
    )
    return Lease(wanted.name, wanted.holder, token, wanted.expires_at)


def own(connection: sqlite3.Connection, name: str, holder: str, boot_id: str) -> int | None:
    """The token of the row, if it is this holder's; None otherwise."""
    row = connection.execute("SELECT holder, boot_id, token FROM leases WHERE name = ?", (name,)).fetchone()
    return row[2] if row and row[:2] == (holder, boot_id) else None


def give_back(connection: sqlite3.Connection, lease: Lease) -> None:
    """Free for the next; the row stays, so that tokens go on growing."""
    connection.execute(
        "UPDATE leases SET holder = '', expires_at = 0 WHERE name = ? AND token = ? AND holder = ?",
        (lease.name, lease.token, lease.holder),
    )


def require(connection: sqlite3.Connection, lease: Lease | None) -> None:
    """Check, within the transaction that writes, that nobody took over.

    Raises:
        FencedError: another holder has (or had) the lease since, or it was given back.
    """
    if lease is None:
        return
    row = connection.execute("SELECT holder, token FROM leases WHERE name = ?", (lease.name,)).fetchone()
    if row != (lease.holder, lease.token):
        by = f" by {row[0]}" if row and row[0] else ""
        raise FencedError(
            f"the lease {lease.name!r} of {lease.holder} was taken over{by}; this reconciler stops writing"
        )
