"""A store of any earlier version comes up to date, whole or not at all, with a copy made first."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from controller.ports import durable
from controller.ports.store import AttemptState, StoreError, StoreUnusableError
from controller.stores import migrations, sqlite_read
from controller.stores.sqlite import SqliteStore
from tests.fakes.clock import FakeClock
from tests.fixtures.store import make

FIXTURES = sorted(make.FOLDER.glob("v*.sql"))


def schema(path: Path) -> dict[str, list[object]]:
    """Tables with their columns, foreign keys and indexes, however their SQL is spelt."""
    with closing(sqlite3.connect(path)) as connection:
        names = [
            row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type <> 'view' ORDER BY name")
        ]
        pragmas = ("table_xinfo", "foreign_key_list", "index_list", "index_xinfo")
        return {
            name: [connection.execute(f"PRAGMA {pragma}('{name}')").fetchall() for pragma in pragmas] for name in names
        }


def rows(path: Path, table: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608  # the test names the table


def _note(db: object) -> None:
    """A next version, as it might be."""
    db.table("runs").add_column("note", str, not_null_default="")  # type: ignore[attr-defined]  # sqlite_utils.Database


def _fails(db: object) -> None:
    """A next version that breaks half-way."""
    db.table("runs").add_column("half", str)  # type: ignore[attr-defined]  # sqlite_utils.Database
    db.execute("INSERT INTO nowhere VALUES (1)")  # type: ignore[attr-defined]  # sqlite_utils.Database


def test_every_version_has_its_fixture() -> None:
    assert [file.name for file in FIXTURES] == [f"v{n}.sql" for n in range(1, migrations.latest() + 1)], (
        "run python -m tests.fixtures.store.make"
    )


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda file: file.stem)
def test_a_stored_fixture_comes_up_to_date(fixture: Path, tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    make.restore(fixture.read_text(encoding="utf-8"), path)
    store = SqliteStore(path, FakeClock(), boot_id="a-boot")
    digits, going, done = store.experiment(make.DIGITS), store.run("going"), store.run("done")
    assert digits is not None
    assert going is not None
    assert done is not None
    assert (digits.generation, digits.status) == (2, {"phase": "Running", "observedGeneration": 2})
    assert (going.state, going.cancel_requested, going.plan, going.launch) == ("active", True, b"plan", {"a": 1})
    assert (done.state, done.ended_at, done.result) == ("succeeded", "2026-01-01T13:00:00.000Z", {"trustLevel": "L1"})
    assert [row.reason for row in store.attempts("done")] == ["NodeLost", ""]
    assert store.attempts("going")[0].state is AttemptState.STARTED
    assert store.approvals(digits.uid) == ("sha256:p",)
    lease = store.acquire("reconciler", "two", 30)
    assert lease is not None, "nobody lives who held it"
    assert lease.token == 2
    assert store.events()[0]["reason"] == "Launched"
    store.close()

    fresh = SqliteStore(tmp_path / "fresh.db", FakeClock())
    fresh.close()
    assert schema(path) == schema(tmp_path / "fresh.db")


def test_a_migration_copies_first_and_keeps_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.db"
    make.restore(FIXTURES[-1].read_text(encoding="utf-8"), path)
    before = rows(path, "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "STEPS", (*migrations.STEPS, ("next", _note)))
        with pytest.raises(StoreUnusableError, match="ml reconcile") as caught:
            sqlite_read.status_rows(path)
        assert caught.value.reason == "StoreTooOld"
        store = SqliteStore(path, FakeClock())
        assert [row.run_id for row in store.runs()] == ["going", "done"]
        assert len(sqlite_read.status_rows(path)) == 1
        store.close()
    assert rows(path, "runs") == [(*row, "") for row in before]
    (copy,) = (tmp_path / "backups").iterdir()
    assert copy.name == f"state-v{migrations.latest()}-20260101T120000000000Z.db"
    assert rows(copy, "runs") == before
    with pytest.raises(StoreUnusableError, match="upgrade fetchml"):
        SqliteStore(path, FakeClock())
    with pytest.raises(StoreUnusableError, match="upgrade fetchml"):
        sqlite_read.counts(path)


def test_two_who_migrate_at_once_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.db"
    make.restore(FIXTURES[-1].read_text(encoding="utf-8"), path)
    steps: list[str] = []
    second = threading.Thread(target=lambda: SqliteStore(path, FakeClock()).close())

    def hook(when: str, name: str) -> None:
        if when == "before":
            steps.append(name)
        if (when, name) == ("before", "store.migrate") and second.ident is None:
            second.start()
            second.join(0.5)  # without the lock it would be through by then

    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, ("next", _note)))
    durable.install_hook(hook)
    try:
        SqliteStore(path, FakeClock()).close()
    finally:
        durable.install_hook(None)
        second.join()
    assert steps == ["store.backup", "store.migrate"]


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.db"
    make.restore(FIXTURES[-1].read_text(encoding="utf-8"), path)
    before = (schema(path), rows(path, "runs"), rows(path, "_sqlite_migrations"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "STEPS", (*migrations.STEPS, ("next", _note), ("after", _fails)))
        with pytest.raises(StoreError, match="nowhere"):
            SqliteStore(path, FakeClock())
    assert (schema(path), rows(path, "runs"), rows(path, "_sqlite_migrations")) == before
    SqliteStore(path, FakeClock()).close()
