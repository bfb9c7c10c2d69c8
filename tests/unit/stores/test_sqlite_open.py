"""What happens when a store is opened: made once, refused when it must be, so that a person knows what to do."""

import multiprocessing
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from controller.ports.source import Key
from controller.ports.store import StoreBusyError, StoreUnusableError
from controller.stores import sqlite_open
from controller.stores.sqlite import SqliteStore
from tests.fakes.clock import FakeClock

KEY = Key("Experiment", "default", "digits")


def opened(path: Path, busy_timeout: float = 5.0) -> SqliteStore:
    return SqliteStore(path, FakeClock(), busy_timeout=busy_timeout)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with one experiment in it, and a file name that must be quoted in a URI."""
    path = tmp_path / "a folder?" / "100% #1.db"
    store = opened(path)
    store.observe(KEY, "sha256:1", "a.yaml")
    store.close()
    return path


def test_it_is_made_with_its_folders_and_found_again(tmp_path: Path) -> None:
    first = opened(tmp_path / "deep" / "er" / "state.db")
    store_id = first.store_id
    first.close()
    second = opened(tmp_path / "deep" / "er" / "state.db")
    assert second.store_id == store_id
    second.close()
    assert opened(tmp_path / "state.db").store_id != store_id


def test_it_is_opened_durably(path: Path) -> None:
    store = opened(path)
    connection = store._connection()
    pragmas = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys")
    }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def _open_together(path: Path, barrier: object, results: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]  # multiprocessing's proxies have no public types
    try:
        results.put(SqliteStore(path, FakeClock()).store_id)  # type: ignore[attr-defined]  # likewise
    except Exception as error:  # noqa: BLE001  # the parent asserts on it
        results.put(repr(error))  # type: ignore[attr-defined]  # likewise


def test_processes_that_make_it_at_once_make_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_open_together, args=(tmp_path / "s.db", barrier, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    ids = {results.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert ids == {opened(tmp_path / "s.db").store_id}


def test_a_creation_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "state.db").touch()
    with closing(sqlite3.connect(tmp_path / "wal.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    for name in ("state.db", "wal.db"):
        store = opened(tmp_path / name)
        assert store.observe(KEY, "sha256:1", "x").generation == 1


def test_a_newer_store_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    before = path.read_bytes()
    with pytest.raises(StoreUnusableError, match=r"version 999.*upgrade fetchml") as caught:
        opened(path)
    assert caught.value.reason == "StoreTooNew"
    assert path.read_bytes() == before


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "photos.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE photos (id)")
    before = path.read_bytes()
    with pytest.raises(StoreUnusableError, match="another program") as caught:
        opened(path)
    assert caught.value.reason == "NotAStore"
    assert path.read_bytes() == before


def _garbage(data: bytes) -> bytes:
    return b"this is no database " * 1000


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _middle_overwritten(data: bytes) -> bytes:
    return data[:8192] + b"\xff" * 4096 + data[12288:]


def _header_overwritten(data: bytes) -> bytes:
    return b"\0" * 100 + data[100:]


@pytest.mark.parametrize("damage", [_garbage, _cut, _middle_overwritten, _header_overwritten])
def test_a_damaged_store_is_refused_with_the_way_out(path: Path, damage: Callable[[bytes], bytes]) -> None:
    path.write_bytes(damage(path.read_bytes()))
    damaged = path.read_bytes()
    with pytest.raises(StoreUnusableError) as caught:
        opened(path)
    assert caught.value.reason == "StoreCorrupt"
    assert str(path) in str(caught.value)
    assert "backups" in str(caught.value)
    assert path.read_bytes() == damaged


def test_damage_in_a_large_store_is_refused_when_it_is_met(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(path)) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'experiments'").fetchone()[0]
    data = path.read_bytes()
    path.write_bytes(data[: (page - 1) * 4096] + b"\xff" * 4096 + data[page * 4096 :])
    monkeypatch.setattr(sqlite_open, "CHECKED_BYTES", 0)
    store = opened(path)
    for use in (store.check, store.experiments, lambda: store.observe(KEY, "sha256:2", "a.yaml")):
        with pytest.raises(StoreUnusableError, match="is damaged"):
            use()


def test_a_log_without_its_database_is_not_thrown_away(path: Path) -> None:
    store = opened(path)
    store.observe(KEY, "sha256:2", "a.yaml")
    path.rename(path.with_name("elsewhere"))
    wal = path.with_name(path.name + "-wal")
    assert wal.stat().st_size
    with pytest.raises(StoreUnusableError, match="put the database back"):
        opened(path)
    assert wal.stat().st_size


def test_a_store_that_is_removed_under_its_user_is_missed(path: Path) -> None:
    store = opened(path)
    store.observe(KEY, "sha256:2", "a.yaml")
    for file in path.parent.iterdir():
        file.unlink()
    with pytest.raises(StoreUnusableError, match="removed or replaced"):
        store.observe(KEY, "sha256:3", "a.yaml")
    opened(path).observe(KEY, "sha256:3", "a.yaml")
    with pytest.raises(StoreUnusableError, match="removed or replaced"):
        store.experiment(KEY)


def test_a_store_locked_by_somebody_else_says_so_and_works_later(path: Path) -> None:
    store = opened(path, busy_timeout=0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusyError, match=r"locked by another process for 0.05 s.*[Tt]ry again"):
            store.observe(KEY, "sha256:2", "a.yaml")
        row = store.experiment(KEY)
        assert row is not None
        assert row.generation == 1, "readers are never blocked"
        other.execute("ROLLBACK")
    assert store.observe(KEY, "sha256:2", "a.yaml").generation == 2


def test_a_backup_is_whole_and_can_be_opened(path: Path, tmp_path: Path) -> None:
    store = opened(path)
    store.observe(KEY, "sha256:2", "a.yaml")
    store.backup(tmp_path / "backups" / "copy.db")
    store.observe(KEY, "sha256:3", "a.yaml")
    store.backup(tmp_path / "backups" / "copy.db")
    store.observe(KEY, "sha256:4", "a.yaml")
    assert [file.name for file in (tmp_path / "backups").iterdir()] == ["copy.db"]
    copy = opened(tmp_path / "backups" / "copy.db")
    row = copy.experiment(KEY)
    assert row is not None
    assert (row.generation, copy.store_id) == (3, store.store_id)


def test_a_backup_that_fails_leaves_the_old_one(path: Path, tmp_path: Path) -> None:
    store = opened(path)
    target = tmp_path / "copy.db"
    target.mkdir()
    with pytest.raises(OSError, match=r"copy\.db"):
        store.backup(target)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a folder?", "copy.db"]
