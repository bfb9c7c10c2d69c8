"""Opening the database file: create, check, migrate, copy.

Promises: a store is there whole or not at all, whoever else opens it at the same time; a damaged, foreign or newer file
is refused and left as it is; a migration first makes a copy in backups/ and is one transaction.
Does not: work on a network file system (WAL needs shared memory). Never open() the database by other means in this
process (to hash or copy it): POSIX drops all of SQLite's locks when any descriptor of the file is closed.
"""

import fcntl
import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from controller.ports import durable
from controller.ports.clock import Clock
from controller.ports.store import StoreReplacedError, StoreUnusableError
from controller.stores import migrations
from controller.stores.sqlite_errors import corrupt, explain_os, explained

CREATE = durable.register("store.create", "a new store with its schema and id")
MIGRATE = durable.register("store.migrate", "the store's schema brought to this program's version")
BACKUP = durable.register("store.backup", "a whole copy of the store under its final name")


class Connection(sqlite3.Connection):
    """A connection that can be referred to weakly."""


CHECKED_BYTES = 64 * 2**20
"""Up to this size (13,000 runs, 80 ms) every page is read on opening; damage in a larger store is refused when met."""

Identity = tuple[int, int]
"""Device and inode of the database file."""


def identity(path: Path) -> Identity | None:
    """Which file is there now; None for none."""
    try:
        found = os.stat(path)  # noqa: PTH116  # three times as fast as Path.stat, and asked for at every use
    except OSError:
        return None
    return found.st_dev, found.st_ino


def replaced(path: Path) -> StoreReplacedError:
    """The file that we have open is not the one at `path` any more: what we write there, nobody would ever find."""
    return StoreReplacedError(
        f"the store {path} was removed or replaced while it was in use; nothing was written. Start again"
    )


def connect(path: Path, busy_timeout: float, *, create: bool = False) -> sqlite3.Connection:
    """A connection with our pragmas; may be closed by another thread, never used by two at once.

    Raises:
        sqlite3.Error: see sqlite_errors.
    """
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={'rwc' if create else 'rw'}",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,
        factory=Connection,
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA journal_size_limit = 67108864")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of the file: 0 when it is empty.

    Raises:
        StoreUnusableError: it is not a store (NotAStore), or newer than this program (StoreTooNew).
    """
    ours = connection.execute("PRAGMA application_id").fetchone()[0] == migrations.APPLICATION_ID
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if not ours and (version or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]):
        raise StoreUnusableError(
            "NotAStore", f"{path} is another program's database, not a fetchml store; choose another base_path"
        )
    if version > migrations.latest():
        raise StoreUnusableError(
            "StoreTooNew",
            f"the store {path} has schema version {version} and this program knows up to {migrations.latest()}; "
            "upgrade fetchml, or restore a copy that was made before the upgrade",
        )
    return version


def prepare(path: Path, clock: Clock, busy_timeout: float) -> Identity | None:
    """Make sure that `path` is a sound store of the latest version; returns which file that is.

    Raises:
        StoreError: it cannot be; the file is as it was.
    """
    try:
        _make_folder(path.parent)
        return _prepared(path, clock, busy_timeout)
    except OSError as error:
        raise explain_os(error, path) from error


def _prepared(path: Path, clock: Clock, busy_timeout: float) -> Identity | None:
    _refuse_lonely_wal(path)
    with explained(path, busy_timeout), closing(connect(path, busy_timeout, create=True)) as connection:
        if version_of(connection, path) != migrations.latest():
            with _setup_lock(path):
                _bring_up(connection, path, clock)
        connection.execute("PRAGMA journal_mode = WAL")
        if path.stat().st_size <= CHECKED_BYTES:
            check(connection, path)
        return identity(path)


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Read every page once (quick_check).

    Raises:
        StoreUnusableError: StoreCorrupt.
    """
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise corrupt(path, found.replace("\n", " "))


def backup(source: sqlite3.Connection, target: Path) -> None:
    """A whole, consistent copy at `target` (replaced atomically), made while others go on writing.

    Raises:
        sqlite3.Error, OSError: nothing stands at `target` that did not before.
    """
    _make_folder(target.parent)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with closing(sqlite3.connect(partial, isolation_level=None)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, readable from read-only media
        _fsync(partial)
        with durable.step(BACKUP):
            partial.replace(target)
            _fsync(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def _bring_up(connection: sqlite3.Connection, path: Path, clock: Clock) -> None:
    version = version_of(connection, path)  # again: another process may have done it while we waited
    if version == migrations.latest():
        return
    if version:
        backup(connection, path.parent / "backups" / f"{path.stem}-v{version}-{clock.now():%Y%m%dT%H%M%S%f}Z.db")
    connection.execute("PRAGMA journal_mode = WAL")
    with durable.step(MIGRATE if version else CREATE):
        connection.execute("BEGIN IMMEDIATE")
        try:
            migrations.apply(connection)
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('store_id', ?)", (uuid.uuid4().hex,))
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise


@contextmanager
def _setup_lock(path: Path) -> Iterator[None]:
    """One process at a time creates or migrates: switching to WAL does not wait for others as transactions do."""
    with path.with_name(path.name + "-setup").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _refuse_lonely_wal(path: Path) -> None:
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size and not path.exists():
        raise StoreUnusableError(
            "StoreCorrupt",
            f"{wal} is there without {path.name}, and SQLite would delete it: put the database back beside it, "
            "or move that file away to start with an empty store",
        )


def _make_folder(folder: Path) -> None:
    """mkdir -p, each new name durable in its parent."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _fsync(folder.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
