"""The read path of `ml status`: right, light, and never in anybody's way."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from controller.ports.store import Lease, StoreUnusableError
from controller.stores import sqlite_read
from controller.stores.sqlite import SqliteStore
from tests.fakes.clock import FakeClock
from tests.fixtures.store import make

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "50% off?#" / "state.db", FakeClock(), boot_id="a-boot")
    make.populate(store)
    yield store
    store.close()


def test_it_sees_what_was_committed(store: SqliteStore) -> None:
    (row,) = sqlite_read.status_rows(store.path)
    digits = store.experiment(make.DIGITS)
    assert digits is not None
    assert row == {
        "uid": digits.uid,
        "kind": "Experiment",
        "namespace": "default",
        "name": "digits",
        "generation": 2,
        "place": "specs/digits.yaml",
        "spec_sha256": "sha256:2",
        "status": {"phase": "Running", "observedGeneration": 2},
    }
    store.observe(make.GONE, "sha256:3", "specs/gone.yaml")
    assert [(row["name"], row["status"]) for row in sqlite_read.status_rows(store.path)][1:] == [("gone", None)]
    assert [row["name"] for row in sqlite_read.status_rows(store.path, name="gone")] == ["gone"]
    assert sqlite_read.status_rows(store.path, name="gone", namespace="default") == []
    assert sqlite_read.counts(store.path) == {"active": 1, "succeeded": 1}
    assert [event["reason"] for event in sqlite_read.event_rows(store.path, subject="default/digits")] == ["Launched"]
    assert sqlite_read.event_rows(store.path, subject="nobody") == []


def test_it_says_who_holds_the_lease(store: SqliteStore) -> None:
    lease = sqlite_read.lease_row(store.path, "reconciler")
    assert lease == Lease("reconciler", "one", 1, 1030.0)
    assert lease is not None
    store.release(lease)
    assert sqlite_read.lease_row(store.path, "reconciler") is None


def test_it_waits_for_no_writer(store: SqliteStore) -> None:
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        other.execute("DELETE FROM runs WHERE 0")
        assert sqlite_read.counts(store.path) == {"active": 1, "succeeded": 1}
        other.execute("ROLLBACK")


def test_it_reads_what_a_killed_writer_left(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from controller.stores.sqlite import SqliteStore; from tests.fakes.clock import FakeClock\n"
        "from tests.fixtures.store import make\n"
        "make.populate(SqliteStore(Path(sys.argv[1]), FakeClock())); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.with_name("state.db-wal").stat().st_size
    assert sqlite_read.counts(path) == {"active": 1, "succeeded": 1}


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no store at .*state\.db"):
        sqlite_read.counts(tmp_path / "state.db")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "state.db").write_bytes(b"no database at all " * 100)
    with pytest.raises(StoreUnusableError, match="is damaged"):
        sqlite_read.counts(tmp_path / "state.db")


def test_it_imports_neither_sqlite_utils_nor_pydantic(store: SqliteStore) -> None:
    script = (
        "import sys; from pathlib import Path; from controller.stores import sqlite_read\n"
        "sqlite_read.status_rows(Path(sys.argv[1])); sqlite_read.counts(Path(sys.argv[1]))\n"
        "print(sorted({'sqlite_utils', 'pydantic', 'yaml', 'rfc8785', 'click'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(store.path)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert ran.stdout == "[]\n"
