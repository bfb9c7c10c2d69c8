"""What many finished specs cost when nothing happens, and when one of them changes: counted, not timed."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from controller.api.documents import load
from controller.inventory.clock import SystemClock
from controller.ports.store import Lease
from controller.reconcile.loop import LEASE_NAME, Loop
from controller.sources.folder import FolderSource
from controller.stores.sqlite import SqliteStore
from tests.unit.reconcile.bench import Bench, LawfulReconciler, experiment, key

SIZE = 1_000
"""The counts are the same for 10,000, which takes two minutes to fill."""


def fill(bench: Bench, folder: Path) -> SqliteStore:
    """A store in which every spec of the folder has a finished run: one really ran, the others are its copies."""
    store = SqliteStore(bench.base / "state.db", SystemClock())
    source = FolderSource(folder, SystemClock())
    bench.runtime.outcome = 0
    (folder / "e00000.yaml").write_text(experiment("e00000"))
    time.sleep(0.02)  # a file that was written this instant may still grow, and is not read yet
    source.poll(None)
    first = LawfulReconciler(replace(bench.ports, store=store, source=source))
    first.reconcile(key("e00000"))
    assert store.count("succeeded") == 1
    row = store.experiment(key("e00000"))
    assert row is not None
    text = (folder / "e00000.yaml").read_text()
    connection = sqlite3.connect(store.path)
    for number in range(1, SIZE):
        name = f"e{number:05d}"
        data = text.replace("e00000", name)
        digest = load(data.encode(), "x").documents[0].spec_sha256
        (folder / f"{name}.yaml").write_text(data.replace(row.spec_sha256, digest))
        copy_rows(connection, row.uid, name, row.spec_sha256, digest)
    connection.commit()
    connection.close()
    return store


def copy_rows(connection: sqlite3.Connection, uid: str, name: str, old: str, new: str) -> None:
    """The rows of e00000 once more, for another name."""
    for table in ("experiments", "runs", "attempts"):
        where = "uid = ?" if table != "attempts" else "run_id = (SELECT run_id FROM runs WHERE uid = ?)"
        cursor = connection.execute(f"SELECT * FROM {table} WHERE {where}", (uid,))  # noqa: S608  # our own names
        values = [
            value.replace("e00000", name).replace(old, new).replace(uid, uid[:-5] + name[1:])
            if isinstance(value, str)
            else value
            for value in cursor.fetchone()
        ]
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO {table} VALUES ({marks})", values)  # noqa: S608  # our own names


@contextmanager
def running(loop: Loop, store: SqliteStore) -> Iterator[None]:
    """The loop in a thread, until the block ends."""
    lease = store.acquire(LEASE_NAME, "test", 3600)
    assert lease is not None
    thread = threading.Thread(target=loop.run, args=(lease,))
    thread.start()
    try:
        yield
    finally:
        loop.stop()
        thread.join(timeout=60)


def quiet(loop: Loop) -> None:
    """Wait until nothing is ready or worked on."""
    loop._looked.wait()
    while loop.queue.busy():
        time.sleep(0.01)


def test_idle_costs_nothing_and_one_change_costs_one(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.reconcile.loop.LEASE_SECONDS", 0.03)  # it asks for its lease many times meanwhile
    folder = tmp_path / "specs"
    folder.mkdir()
    store = fill(bench, folder)
    source = FolderSource(folder, SystemClock(), known=[row.key for row in store.experiments()])
    bench.runtime.wait = lambda timeout: time.sleep(0.05)  # type: ignore[method-assign]  # as the real one, but sooner
    loop = Loop(LawfulReconciler(replace(bench.ports, store=store, source=source, clock=SystemClock())), "test")
    watching = sqlite3.connect(store.path)

    def commits() -> int:
        return int(watching.execute("PRAGMA data_version").fetchone()[0])

    wanted: list[object] = []
    real = store.acquire

    def acquire(name: str, holder: str, ttl: float) -> Lease | None:
        wanted.append(holder)
        return real(name, holder, ttl)

    def asked() -> int:
        return len(wanted)

    monkeypatch.setattr(store, "acquire", acquire)
    with running(loop, store):
        loop._looked.wait()
        before = commits()
        quiet(loop)
        parsed = loop.counters.parsed
        assert (parsed, loop.counters.reconciled, commits()) == (SIZE, SIZE, before), "a restart writes nothing either"
        for _ in range(2):
            loop._notify(frozenset({""}))
            quiet(loop)
        time.sleep(0.3)
        assert asked() > 2
        assert (loop.counters.parsed, loop.counters.reconciled, commits()) == (parsed, SIZE, before)
        changed = folder / "e00432.yaml"
        changed.write_text(changed.read_text().replace("- hi", "- ho"))
        loop._notify(frozenset({"e00432.yaml"}))
        while store.count("succeeded") == SIZE:
            time.sleep(0.01)
        quiet(loop)
        assert loop.counters.parsed == parsed + 1
    print(f"{SIZE} finished specs: restart {SIZE} looks; idle 0 parsed, 0 commits; one change: 1 parsed")
    store.close()
