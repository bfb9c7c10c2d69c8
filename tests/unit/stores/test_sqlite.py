"""What only the SQLite store promises: no needless writes, leases across boots, threads, events."""

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.ports import durable
from controller.ports.source import Key
from controller.ports.store import AttemptState, RunRow
from controller.stores import sqlite_lock, sqlite_transitions
from controller.stores.events import StoreEvents
from controller.stores.sqlite import SqliteStore
from tests.fakes.clock import FakeClock

KEY = Key("Experiment", "default", "digits")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "state.db", FakeClock(), boot_id="first-boot")
    yield store
    store.close()


@pytest.fixture
def steps() -> Iterator[list[str]]:
    """The durable steps taken."""
    seen: list[str] = []
    durable.install_hook(lambda when, name: seen.append(name) if when == "before" else None)
    yield seen
    durable.install_hook(None)


def changes(store: SqliteStore) -> int:
    """Grows with every transaction that changed something, by whatever connection."""
    wal = store.path.with_name(store.path.name + "-wal")
    return wal.stat().st_size if wal.exists() else 0


def test_nothing_is_written_when_nothing_changed(store: SqliteStore, steps: list[str]) -> None:
    store.observe(KEY, "sha256:1", "a.yaml")
    store.save_status(KEY, {"phase": "Pending", "run": {"id": "x"}})
    uid = store.observe(KEY, "sha256:1", "a.yaml").uid
    run = RunRow("r", uid, KEY, "p", "", "active", "2026")
    store.begin_run(run, "process")
    store.advance("r", 1, AttemptState.CREATED)
    before = changes(store)
    store.begin_run(run, "process")
    store.advance("r", 1, AttemptState.CREATED)
    store.begin_run(replace(run, plan=b"x"), "process")
    assert changes(store) == before
    steps.clear()
    store.observe(KEY, "sha256:1", "a.yaml")
    store.save_status(KEY, {"run": {"id": "x"}, "phase": "Pending"})
    assert steps == []


def test_each_change_is_one_commit(store: SqliteStore, steps: list[str]) -> None:
    uid = store.observe(KEY, "sha256:1", "a.yaml").uid
    store.begin_run(RunRow("r", uid, KEY, "p", "", "active", "2026"), "process")
    for state in list(AttemptState)[1:5]:
        store.advance("r", 1, state)
    store.finish_run("r", "succeeded", "2027", {})
    ours = [name for name in steps if name != "store.commit"]
    assert steps == [name for pair in zip(ours, ["store.commit"] * 7, strict=True) for name in pair]
    assert ours == [
        "store.observe",
        "store.intend",
        "store.advance.created",
        "store.advance.started",
        "store.advance.exited",
        "store.advance.collected",
        "store.finish",
    ]


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks."""

    def refuse(_path: Path) -> None:
        raise sqlite_lock.LockUnsupportedError

    monkeypatch.setattr(sqlite_lock, "take", refuse)


@pytest.mark.usefixtures("no_locks")
def test_without_kernel_locks_a_lease_lasts_as_long_as_it_is_renewed(store: SqliteStore) -> None:
    clock = FakeClock()
    first, second = (SqliteStore(store.path, clock, boot_id="this-boot") for _ in range(2))
    lease = first.acquire("reconciler", "one", 30)
    assert lease is not None
    assert second.acquire("reconciler", "two", 30) is None
    clock.advance(29)
    renewed = first.acquire("reconciler", "one", 30)
    assert renewed is not None
    assert (renewed.token, renewed.expires_at) == (lease.token, lease.expires_at + 29)
    clock.advance(29.9)
    assert second.acquire("reconciler", "two", 30) is None
    clock.advance(0.1)
    taken = second.acquire("reconciler", "two", 30)
    assert taken is not None
    assert taken.token > lease.token
    assert first.acquire("reconciler", "one", 30) is None
    first.close()
    second.close()


def test_asking_for_a_lease_again_writes_nothing(store: SqliteStore) -> None:
    assert store.acquire("reconciler", "one", 30) is not None
    watching = sqlite3.connect(store.path)
    before = watching.execute("PRAGMA data_version").fetchone()
    for _ in range(3):
        assert store.acquire("reconciler", "one", 30) is not None
    assert watching.execute("PRAGMA data_version").fetchone() == before
    watching.close()


def test_who_lives_is_known_without_disturbing_anybody(store: SqliteStore) -> None:
    path = sqlite_lock.file_of(store.path, "reconciler")
    assert sqlite_lock.held(path) is None, "nobody ever was"
    lease = store.acquire("reconciler", "one", 30)
    assert lease is not None
    assert sqlite_lock.held(path)
    store.release(lease)
    assert sqlite_lock.held(path) is False


@pytest.mark.usefixtures("no_locks")
def test_a_lease_of_another_boot_has_expired(store: SqliteStore) -> None:
    lease = store.acquire("reconciler", "one", 1e9)
    assert lease is not None
    rebooted = SqliteStore(store.path, FakeClock(monotonic=1.0), boot_id="second-boot")
    taken = rebooted.acquire("reconciler", "two", 30)
    assert taken is not None
    assert taken.token == lease.token + 1
    rebooted.close()


def test_the_same_holder_after_a_reboot_is_a_new_one(store: SqliteStore) -> None:
    lease = store.acquire("reconciler", "one", 30)
    assert lease is not None
    store.close()
    rebooted = SqliteStore(store.path, FakeClock(monotonic=1.0), boot_id="second-boot")
    again = rebooted.acquire("reconciler", "one", 30)
    assert again is not None
    assert again.token == lease.token + 1
    rebooted.close()


def test_every_thread_may_use_it_and_each_hears_of_its_own(store: SqliteStore) -> None:
    generations: dict[int, int] = {}

    def work(number: int) -> None:
        key = Key("Experiment", "default", f"e{number}")
        for turn in range(10):
            generations[number] = store.observe(key, f"sha256:{turn}", "x").generation

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert generations == dict.fromkeys(range(8), 10)
    assert len({row.uid for row in store.experiments()}) == 8


def test_an_event_costs_no_commit_of_its_own(store: SqliteStore, steps: list[str]) -> None:
    events = StoreEvents(store)
    events.emit("default/digits", "Normal", "Launched", "attempt 1")
    events.emit("default/other", "Warning", "Stalled", "läuft nicht")
    assert steps == []
    store.observe(KEY, "sha256:1", "x")
    assert steps == ["store.observe", "store.commit"]
    assert [event["reason"] for event in store.events()] == ["Launched", "Stalled"]
    assert steps == ["store.observe", "store.commit"]
    assert store.events("default/other") == [
        {
            "at": "2026-01-01T12:00:00.000Z",
            "subject": "default/other",
            "kind": "Warning",
            "reason": "Stalled",
            "message": "läuft nicht",
        }
    ]


def test_events_are_there_after_a_clean_end(store: SqliteStore) -> None:
    store.emit_event("a", "Normal", "R", "m")
    store.close()
    assert len(SqliteStore(store.path, FakeClock()).events()) == 1


def test_only_the_newest_events_are_kept(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_transitions, "KEEP_EVENTS", 5)
    for number in range(12):
        store.emit_event("a", "Normal", f"R{number}", "")
    assert [event["reason"] for event in store.events()] == ["R7", "R8", "R9", "R10", "R11"]
    assert [event["reason"] for event in store.events(limit=2)] == ["R10", "R11"]


def test_a_fenced_writer_may_still_leave_events(store: SqliteStore) -> None:
    store.set_fence(store.acquire("reconciler", "one", 30))
    store.emit_event("a", "Normal", "R", "m")
    assert len(store.events()) == 1
