"""Who may reconcile when a reconciler died."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from controller.inventory.clock import SystemClock
from controller.stores import sqlite_lock
from controller.stores.sqlite import SqliteStore
from controller.wiring import Place, claim_lease, holder, holder_is_dead


def dead_pid() -> int:
    """The pid of a process that was."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return process.pid


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "state.db", SystemClock())


def test_a_holder_that_died_gives_way_at_once(tmp_path: Path, store: SqliteStore) -> None:
    place = Place(tmp_path, tmp_path)
    old = claim_lease(store, place, "elsewhere pid 1 00000000")
    store._leases.close()  # as the kernel does at the end of a process
    new = claim_lease(SqliteStore(store.path, SystemClock()), place, holder())
    assert old is not None
    assert new is not None
    assert new.token > old.token


def test_a_holder_that_died_here_gives_way_at_once_though_there_are_no_locks(
    tmp_path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> None:
        raise sqlite_lock.LockUnsupportedError

    monkeypatch.setattr(sqlite_lock, "take", refuse)
    place = Place(tmp_path, tmp_path)
    old = claim_lease(store, place, f"{os.uname().nodename} pid {dead_pid()} 00000000 (ml reconcile specs)")
    new = claim_lease(store, place, holder())
    assert old is not None
    assert new is not None
    assert new.token > old.token, "whoever was wrongly thought dead is fenced off"


@pytest.mark.parametrize("who", ["{here} pid {alive} 00000000", "elsewhere pid 1 00000000", "an operator"])
def test_a_holder_that_may_live_keeps_it(tmp_path: Path, store: SqliteStore, who: str) -> None:
    place = Place(tmp_path, tmp_path)
    who = who.format(here=os.uname().nodename, alive=os.getpid())
    assert claim_lease(store, place, who) is not None
    assert claim_lease(store, place, "somebody else") is None
    assert not holder_is_dead(who)
