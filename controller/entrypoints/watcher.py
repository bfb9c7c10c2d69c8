"""The standalone reconciler as a process: lease, loop, signals.

Promises: one reconciler per folder (or repository on this host) and store; a second one says who holds it. SIGINT and
SIGTERM end it cleanly; runs go on without it, and the next start adopts them. Does not: parse a command line.
"""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from controller.inventory.clock import SystemClock
from controller.ports.inputs import no_progress
from controller.ports.source import Change, Source
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
    open_branch,
    open_clone,
    open_signer,
    open_source,
    open_store,
)

if TYPE_CHECKING:
    from controller.sources.git import Branches
    from controller.stores.sqlite import SqliteStore

log = logging.getLogger(__name__)

CLOCK = SystemClock()
_LEASE_POLL = 0.25
"""Seconds."""


class HeldElsewhereError(Exception):
    """Another reconciler holds the lease; the message says who."""


def acquire(store: Store, place: Place, who: str) -> Lease:
    """The lease of this store. Where the kernel has no locks, what nobody renews is waited out.

    Raises:
        HeldElsewhereError: somebody else has it, and lives or renews it.
    """
    from controller.stores.sqlite_lock import file_of, held
    from controller.stores.sqlite_read import lease_row

    before = None
    while (lease := claim_lease(store, place, who)) is None:
        row = lease_row(place.store, LEASE_NAME)
        if held(file_of(place.store, LEASE_NAME)) or (before is not None and row is not None and row != before):
            raise HeldElsewhereError(
                f"another reconciler is at work on {place.base}: {row.holder if row else 'it has just begun'}. "
                "See what it does with `ml status`; stop it first to start another"
            )
        if before is None and row is not None:
            log.warning("the lease is held by %s; waiting until it is renewed or runs out", row.holder)
        before = row
        CLOCK.sleep(_LEASE_POLL)
    return lease


@dataclass(frozen=True, slots=True)
class Telling:
    """Who is told what happens, and what is done once everything is opened."""

    listener: Listener = lambda _key, _outcome, _status: None
    on_change: Callable[[Change], None] = lambda _change: None
    ready: Callable[[Loop], None] = lambda _loop: None


def watch_folder(place: Place, settings: Settings, folder: Path, *, prune: bool = False, telling: Telling) -> None:
    """Reconcile a folder until a signal comes.

    Raises:
        HeldElsewhereError: another reconciler is at work here.
        FencedError: another reconciler took over.
    """
    with _held_store(place, f"{holder()} (ml reconcile {folder})", folder) as (store, lease, who):
        source = open_source(place, folder, rows=store.experiments())
        _work(_Wired(place, settings, store, lease, who), source, prune, telling)


def watch_branch(
    place: Place,
    settings: Settings,
    address: str,
    branches: "Branches",
    *,
    prune: bool = False,
    telling: Telling,
    serve: Callable[[Callable[[], None]], AbstractContextManager[object]] = lambda _ring: nullcontext(),
) -> None:
    """Reconcile a branch of a git repository until a signal comes.

    Args:
        place: where our records lie.
        settings: of the operator.
        address: the repository.
        branches: where specs come from and statuses go.
        prune: specs that are gone are meant to be.
        telling: who is told what.
        serve: opens what may ring for a new look (a webhook), given how to ring.

    Raises:
        HeldElsewhereError, FencedError: as for `watch_folder`.
        RepositoryTroubleError: the address may not be used, or the clone cannot be made.
    """
    upstream = Path(address) if Path(address).is_dir() else None
    with _held_store(place, f"{holder()} (ml reconcile {address})", upstream) as (store, lease, who):
        clone = open_clone(place, settings, address)
        try:
            source = open_branch(clone, branches, rows=store.experiments())
            with serve(source.ring):
                _work(_Wired(replace(place, clone=clone.folder), settings, store, lease, who), source, prune, telling)
            source.close()
        finally:
            clone.close()


@dataclass(frozen=True, slots=True)
class _Wired:
    place: Place
    settings: Settings
    store: "SqliteStore"
    lease: Lease
    who: str


@contextmanager
def _held_store(place: Place, who: str, folder: Path | None) -> Iterator[tuple["SqliteStore", Lease, str]]:
    """The store with its lease, and the right to act on the folder (or repository on this host)."""
    store = open_store(place)
    try:
        lease = acquire(store, place, who)
        held = _hold(folder, store, lease) if folder else None
        try:
            yield store, lease, who
        finally:
            store.set_fence(None)
            if held:
                held.release()  # before the store, or the next on this store would find the folder taken
            store.release(lease)
    finally:
        store.close()


def _work(wired: _Wired, source: Source, prune: bool, telling: Telling) -> None:
    place, settings = wired.place, wired.settings
    if prune:
        source.poll(None)
        source.confirm_deletions()
    signer = open_signer(place, settings)
    ports = build_ports(place, settings, source, store=wired.store, signer=signer, progress=no_progress)
    loop = Loop(
        Reconciler(ports),
        wired.who,
        workers=settings.workers,
        rescan_seconds=settings.rescan_seconds,
        listener=telling.listener,
        on_change=telling.on_change,
    )
    _stop_on_signals(loop)
    telling.ready(loop)
    loop.run(wired.lease)


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
