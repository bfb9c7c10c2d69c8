"""Writers that come together share a commit, and each hears of its own fate only."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from controller.ports import durable
from controller.stores.sqlite_commit import MAX_WAITING, GroupCommit
from controller.stores.sqlite_open import connect


class Bench:
    """A table, and a first writer who is held in the middle of its transaction while others queue up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.local = threading.local()
        self.commits = GroupCommit(self.connection)
        self.held, self.go_on = threading.Event(), threading.Event()
        self.outcomes: dict[str, str] = {}
        self.threads: list[threading.Thread] = []
        with closing(connect(path, 5, create=True)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE t (name TEXT PRIMARY KEY)")

    def connection(self) -> sqlite3.Connection:
        if not hasattr(self.local, "connection"):
            self.local.connection = connect(self.path, 0.05)
        found: sqlite3.Connection = self.local.connection
        return found

    def insert(self, name: str) -> None:
        """Write `name`, in this thread."""
        try:
            rows = self.commits.submit(lambda c: c.execute("INSERT INTO t VALUES (?)", (name,)).rowcount)
            self.outcomes[name] = f"wrote {rows}"
        except (sqlite3.Error, LookupError, RuntimeError) as error:
            self.outcomes[name] = type(error).__name__

    def start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)  # type: ignore[arg-type]  # any callable
        thread.start()
        self.threads.append(thread)

    def hold(self) -> None:
        """A writer who stays in its transaction until let go."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO t VALUES ('first')")
            self.held.set()
            self.go_on.wait()

        self.start(self.commits.submit, work)
        assert self.held.wait(30)

    def queue(self, *names: str) -> None:
        """Writers who wait for the first."""
        for name in names:
            waiting = len(self.commits._waiting)
            self.start(self.insert, name)
            while len(self.commits._waiting) == waiting:
                threading.Event().wait(0.001)

    def finish(self) -> set[str]:
        """Let go; the names in the table afterwards."""
        self.go_on.set()
        for thread in self.threads:
            thread.join()
        with closing(connect(self.path, 5)) as connection:
            return {row[0] for row in connection.execute("SELECT name FROM t")}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "t.db")


@pytest.fixture
def commits() -> Iterator[list[str]]:
    """One entry per COMMIT."""
    seen: list[str] = []
    durable.install_hook(lambda when, name: seen.append(name) if when == "before" else None)
    yield seen
    durable.install_hook(None)


def test_those_who_wait_share_the_next_commit(bench: Bench, commits: list[str]) -> None:
    bench.hold()
    bench.queue("a", "b", "c", "d")
    assert bench.finish() == {"first", "a", "b", "c", "d"}
    assert commits == ["store.commit"] * 2
    assert set(bench.outcomes.values()) == {"wrote 1"}


def test_one_who_fails_takes_nobody_along(bench: Bench) -> None:
    bench.insert("twice")
    bench.hold()
    bench.queue("a", "twice", "b")
    assert bench.finish() == {"first", "twice", "a", "b"}
    assert bench.outcomes == {"twice": "IntegrityError", "a": "wrote 1", "b": "wrote 1"}


def test_work_that_fails_half_way_leaves_nothing(bench: Bench) -> None:
    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES ('half')")
        raise LookupError("half")

    with pytest.raises(LookupError):
        bench.commits.submit(half)
    bench.commits.later(lambda connection: connection.execute("INSERT INTO t VALUES ('rider')"))
    with pytest.raises(LookupError):
        bench.commits.submit(half)
    assert bench.finish() == {"rider"}


def test_a_commit_that_fails_fails_for_everybody_in_it(bench: Bench) -> None:
    bench.hold()
    bench.queue("a", "b")

    def lock_out(when: str, name: str) -> None:
        if when == "after":
            other = connect(bench.path, 5)
            other.execute("BEGIN IMMEDIATE")
            durable.install_hook(None)
            bench.blocker = other  # type: ignore[attr-defined]  # keeps it locked

    durable.install_hook(lock_out)
    assert bench.finish() == {"first"}
    assert bench.outcomes == {"a": "OperationalError", "b": "OperationalError"}
    bench.blocker.close()  # type: ignore[attr-defined]  # set above
    bench.insert("later")
    assert bench.outcomes["later"] == "wrote 1"


def test_an_interrupted_leader_leaves_no_lock_and_interrupts_nobody_else(bench: Bench) -> None:
    def interrupted(connection: sqlite3.Connection) -> None:
        bench.queue("a", "b")
        durable.install_hook(lambda when, name: durable.install_hook(None))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.commits.submit(interrupted)
    assert bench.finish() == {"a", "b"}, "they waited for the next commit, which one of them led"


def test_those_in_an_interrupted_commit_are_told_that_it_failed(bench: Bench) -> None:
    def interrupt(when: str, name: str) -> None:
        if when == "before" and len(bench.commits._batch) == 2:
            durable.install_hook(None)
            raise KeyboardInterrupt

    def lead() -> None:
        with pytest.raises((KeyboardInterrupt, sqlite3.OperationalError)) as caught:
            bench.commits.submit(lambda connection: None)
        bench.outcomes["lead"] = caught.type.__name__

    durable.install_hook(interrupt)
    bench.hold()
    waiting = len(bench.commits._waiting)
    bench.start(lead)
    while len(bench.commits._waiting) == waiting:
        threading.Event().wait(0.001)
    bench.start(lambda: bench.outcomes.setdefault("own", "") or _own(bench))
    while len(bench.commits._waiting) < 2:
        threading.Event().wait(0.001)
    assert bench.finish() == {"first"}
    assert sorted([bench.outcomes["lead"], bench.outcomes["own"]]) == ["KeyboardInterrupt", "OperationalError"]


def _own(bench: Bench) -> None:
    try:
        bench.commits.submit(lambda c: c.execute("INSERT INTO t VALUES ('own')"))
    except (KeyboardInterrupt, sqlite3.OperationalError) as error:
        bench.outcomes["own"] = type(error).__name__


def test_what_may_come_later_costs_no_commit_and_harms_nobody(bench: Bench, commits: list[str]) -> None:
    bench.commits.later(lambda c: c.execute("INSERT INTO t VALUES ('rider')"))
    bench.commits.later(lambda c: c.execute("INSERT INTO nowhere VALUES (1)"))
    assert commits == []
    bench.insert("a")
    assert commits == ["store.commit"]
    bench.commits.flush()
    assert commits == ["store.commit"], "nothing waits, nothing is committed"
    bench.commits.later(lambda c: c.execute("INSERT INTO t VALUES ('second')"))
    bench.commits.flush()
    assert bench.finish() == {"a", "rider", "second"}


def test_what_may_come_later_is_bounded(bench: Bench) -> None:
    for number in range(MAX_WAITING + 5):
        bench.commits.later(lambda c, number=number: c.execute("INSERT INTO t VALUES (?)", (str(number),)))  # type: ignore[misc]  # a default binds it
    bench.commits.flush()
    assert len(bench.finish()) == MAX_WAITING


def test_many_threads_lose_nothing(bench: Bench) -> None:
    def writer(number: int) -> None:
        for turn in range(25):
            bench.insert(f"{number}-{turn}")

    for number in range(8):
        bench.start(writer, number)
    assert bench.finish() == {f"{number}-{turn}" for number in range(8) for turn in range(25)}
