"""The standalone reconciler as a process: lease, loop, signals.

Promises: one reconciler per folder and store; a second one says who holds it. SIGINT and SIGTERM end it cleanly; runs
go on without it, and the next start adopts them. Does not: parse a command line.
"""

import logging
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from controller.inventory.clock import SystemClock
from controller.ports.inputs import no_progress
from controller.ports.source import Change
from controller.ports.store import Lease, Store
from controller.reconcile.loop import LEASE_NAME, Listener, Loop
from controller.reconcile.reconciler import Reconciler
from controller.settings import Settings
from controller.sources.writers import FolderLease
from controller.wiring import (
    FolderHeldError,
    Place,
    build_ports,
    claim_lease,
    hold_folder,
    holder,
    open_signer,
    open_source,
    open_store,
)

log = logging.getLogger(__name__)

CLOCK = SystemClock()
_LEASE_POLL = 0.25
"""Seconds."""


class HeldElsewhereError(Exception):
    """Another reconciler holds the lease; the message says who."""


def acquire(store: Store, place: Place, who: str) -> Lease:
    """The lease of this store; what a killed reconciler of another host left is waited out, because nobody renews it.

    Raises:
        HeldElsewhereError: somebody else has it, and renews it.
    """
    from controller.stores.sqlite_read import lease_row

    before = None
    while (lease := claim_lease(store, place, who)) is None:
        row = lease_row(place.store, LEASE_NAME)
        if before is not None and row is not None and row != before:
            raise HeldElsewhereError(
                f"another reconciler is at work on {place.base}: {row.holder}. "
                "See what it does with `ml status`; stop it first to start another"
            )
        if before is None and row is not None:
            log.warning("the lease is held by %s; waiting until it is renewed or runs out", row.holder)
        before = row
        CLOCK.sleep(_LEASE_POLL)
    return lease


def watch_folder(
    place: Place,
    settings: Settings,
    folder: Path,
    *,
    prune: bool = False,
    listener: Listener = lambda _key, _outcome, _status: None,
    on_change: Callable[[Change], None] = lambda _change: None,
    ready: Callable[[Loop], None] = lambda _loop: None,
) -> None:
    """Reconcile a folder until a signal comes.

    Raises:
        HeldElsewhereError: another reconciler is at work here.
        FencedError: another reconciler took over.
    """
    store = open_store(place)
    try:
        who = f"{holder()} (ml reconcile {folder})"
        lease = acquire(store, place, who)
        held = _hold(folder, store, lease)
        source = open_source(place, folder, rows=store.experiments())
        if prune:
            source.poll(None)
            source.confirm_deletions()
        ports = build_ports(
            place, settings, source, store=store, signer=open_signer(place, settings), progress=no_progress
        )
        loop = Loop(
            Reconciler(ports),
            who,
            workers=settings.workers,
            rescan_seconds=settings.rescan_seconds,
            listener=listener,
            on_change=on_change,
        )
        _stop_on_signals(loop)
        ready(loop)
        try:
            loop.run(lease)
        finally:
            store.set_fence(None)
            held.release()  # before the store, or the next on this store would find the folder taken
            store.release(lease)
    finally:
        store.close()


def _hold(folder: Path, store: Store, lease: Lease) -> FolderLease:
    """The folder too; without it the store is given back.

    Raises:
        HeldElsewhereError: a reconciler with another store has it.
    """
    try:
        return hold_folder(folder)
    except FolderHeldError as error:
        store.release(lease)
        raise HeldElsewhereError(str(error)) from error


def _stop_on_signals(loop: Loop) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        loop.stop()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
