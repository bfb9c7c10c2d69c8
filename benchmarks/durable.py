"""A whole run through its six durable states, beside the same six commits in raw sqlite3, and litequeue if installed.

Promises: same schema, same pragmas (WAL, synchronous=FULL), same bytes; interleaved rounds, medians and spread of at
least ten, and the median of the ratios of the rounds. The floor's statements are written out and know everything
beforehand: no reading before writing, no checks, no JSON. litequeue does half of it (put, pop, done: three commits) and
is told to sync.
"""

import importlib
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.rows import QUICK_ROUNDS, ROUNDS, Row, at_least, interleaved, spread
from controller.inventory.clock import SystemClock
from controller.ports.source import Key
from controller.ports.store import AttemptState, RunRow
from controller.stores.sqlite import SqliteStore
from controller.stores.sqlite_open import connect

NAME = "durable"
GOAL_RATIO = 0.8
GOAL_RUNS = 500
GOAL_PICK = 0.9
WRITERS = 8
KEY = Key("Experiment", "default", "digits")
NOW = "2026-01-01T12:00:00.000Z"
PLAN, SPEC = b"p" * 2000, b"s" * 1500
LAUNCH = '{"resolved":"' + "l" * 1000 + '"}'
RESULT = '{"outputs":"' + "r" * 500 + '"}'
USAGE = '{"usage":{"cpu_seconds":1.5,"max_rss":123456}}'


def _ours(store: SqliteStore, uid: str, run_id: str) -> None:
    launch, result = {"resolved": "l" * 1000}, {"outputs": "r" * 500}
    store.begin_run(RunRow(run_id, uid, KEY, "sha256:p", "", "active", NOW, PLAN, SPEC, launch), "process")
    store.advance(run_id, 1, AttemptState.CREATED)
    store.advance(run_id, 1, AttemptState.STARTED, started_at=NOW)
    usage = {"usage": {"cpu_seconds": 1.5, "max_rss": 123456}}
    store.advance(run_id, 1, AttemptState.EXITED, ended_at=NOW, exit_code=0, data=usage)
    store.advance(run_id, 1, AttemptState.COLLECTED)
    store.finish_run(run_id, "succeeded", NOW, result)


_INSERT_RUN = (
    "INSERT INTO runs "
    "(state, cancel_requested, plan_sha256, rerun, result, run_id, uid, created_at, launch, plan, spec) "
    "VALUES ('active', 0, 'sha256:p', '', '{}', ?, ?, ?, ?, ?, ?)"
)
_INSERT_ATTEMPT = (
    "INSERT INTO attempts (run_id, number, state, created_at, reason, message, runtime, data) "
    "VALUES (?, 1, 'intended', ?, '', '', 'process', '{}')"
)
_MOVE = "UPDATE attempts SET state = ? WHERE run_id = ? AND number = 1"
_START = "UPDATE attempts SET state = 'started', started_at = ? WHERE run_id = ? AND number = 1"
_EXIT = "UPDATE attempts SET state = 'exited', ended_at = ?, exit_code = 0, data = ? WHERE run_id = ? AND number = 1"
_FINISH = "UPDATE runs SET state = 'succeeded', ended_at = ?, result = ? WHERE run_id = ?"


def _raw(connection: sqlite3.Connection, uid: str, run_id: str) -> None:
    for statements in (
        ((_INSERT_RUN, (run_id, uid, NOW, LAUNCH, PLAN, SPEC)), (_INSERT_ATTEMPT, (run_id, NOW))),
        ((_MOVE, ("created", run_id)),),
        ((_START, (NOW, run_id)),),
        ((_EXIT, (NOW, USAGE, run_id)),),
        ((_MOVE, ("collected", run_id)),),
        ((_FINISH, (NOW, RESULT, run_id)), (_MOVE, ("recorded", run_id))),
    ):
        connection.execute("BEGIN IMMEDIATE")
        for sql, parameters in statements:
            connection.execute(sql, parameters)
        connection.execute("COMMIT")


class _Bench:
    """One store for each contender, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stores = {
            name: SqliteStore(folder / f"{name}.db", SystemClock()) for name in ("ours", "many", "raw", "raws")
        }
        self.uids = {name: store.observe(KEY, "sha256:s", "x").uid for name, store in self.stores.items()}
        self.raw = connect(folder / "raw.db", 60)
        self.raws = [connect(folder / "raws.db", 60) for _ in range(WRITERS)]
        self.queue = _litequeue(folder)
        self.count = 0

    def ids(self, count: int) -> list[str]:
        """Run ids that no round has used."""
        self.count += count
        return [f"digits-{number:08d}" for number in range(self.count - count, self.count)]

    def contenders(self) -> dict[str, Callable[[list[str]], None]]:
        """Each does the whole of its argument."""
        stores, uids = self.stores, self.uids
        result: dict[str, Callable[[list[str]], None]] = {
            "ours": lambda ids: _each(ids, partial(_ours, stores["ours"], uids["ours"])),
            "raw": lambda ids: _each(ids, partial(_raw, self.raw, uids["raw"])),
            "ours_many": lambda ids: _threads(ids, lambda _, run_id: _ours(stores["many"], uids["many"], run_id)),
            "raw_many": lambda ids: _threads(ids, lambda n, run_id: _raw(self.raws[n], uids["raws"], run_id)),
        }
        if self.queue is not None:
            result["litequeue"] = self._queued
        return result

    def _queued(self, ids: list[str]) -> None:
        for run_id in ids:
            self.queue.put(run_id + "p" * 5000)
            self.queue.done(self.queue.pop().message_id)

    def close(self) -> None:
        """Close all."""
        for store in self.stores.values():
            store.close()
        for connection in (self.raw, *self.raws):
            connection.close()


def _litequeue(folder: Path) -> Any:
    try:
        queue = importlib.import_module("litequeue").LiteQueue(folder / "queue.db")
    except ImportError:
        print(f"{NAME}: litequeue is not installed (pip install litequeue), its row is left out")
        return None
    queue.conn.execute("PRAGMA synchronous = FULL")
    return queue


def _each(ids: list[str], work: Callable[[str], None]) -> None:
    for run_id in ids:
        work(run_id)


def _threads(ids: list[str], work: Callable[[int, str], None]) -> None:
    def some(number: int) -> None:
        for run_id in ids[number::WRITERS]:
            work(number, run_id)

    threads = [threading.Thread(target=some, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _rate(work: Callable[[list[str]], None], ids: list[str]) -> float:
    start = time.perf_counter()
    work(ids)
    return len(ids) / (time.perf_counter() - start)


def _filled(folder: Path, count: int) -> SqliteStore:
    """A store of that many waiting runs."""
    store = SqliteStore(folder / f"pick-{count}.db", SystemClock())
    uid = store.observe(KEY, "sha256:s", "x").uid
    with closing(connect(store.path, 60)) as connection:
        connection.execute("BEGIN")
        rows = ((f"r-{number:07d}", uid, f"2026-{number:07d}", LAUNCH, PLAN, SPEC) for number in range(count))
        connection.executemany(_INSERT_RUN, rows)
        connection.execute("COMMIT")
    return store


def _picks(store: SqliteStore, picks: list[str]) -> None:
    for _ in picks:
        store.runs(active=True, limit=1)


def _pick(folder: Path, count: int, rounds: int) -> Row:
    """The newest active run of 1,000 and of `count`: picks a second."""
    small, large = _filled(folder, 1_000), _filled(folder, count)
    picks = [""] * 500
    seen = interleaved(
        {"small": lambda: _rate(partial(_picks, small), picks), "large": lambda: _rate(partial(_picks, large), picks)},
        rounds,
    )
    small.close()
    large.close()
    ratio = statistics.median(a / b for a, b in zip(seen["large"], seen["small"], strict=True))
    return Row(
        f"pick from a queue of {count:,}",
        "picks/s",
        spread(seen["large"]),
        spread(seen["small"]),
        "ours, of 1,000",
        goals=(at_least("throughput of that at 1,000", ratio, GOAL_PICK, "x"),),
    )


def rows(quick: bool = False) -> tuple[Row, ...]:
    """Runs a second through six durable states, by one writer and by several; picks a second."""
    rounds, batch, queued = (QUICK_ROUNDS, 16, 2_000) if quick else (ROUNDS, 80, 100_000)
    with tempfile.TemporaryDirectory(prefix="fetchml-bench-") as name:
        folder = Path(name)
        bench = _Bench(folder)
        contenders = {key: lambda work=work: _rate(work, bench.ids(batch)) for key, work in bench.contenders().items()}
        seen = interleaved(contenders, rounds)
        bench.close()
        return (*_report(seen), _pick(folder, queued, rounds))


def _report(seen: dict[str, list[float]]) -> tuple[Row, Row]:
    ratio = statistics.median(a / b for a, b in zip(seen["ours"], seen["raw"], strict=True))
    ours = spread(seen["ours"])
    one = Row(
        "a whole run through six durable states",
        "runs/s",
        ours,
        spread(seen["raw"]),
        "the same six commits in raw sqlite3",
        peers={"litequeue (put, pop, done)": spread(seen["litequeue"])} if "litequeue" in seen else {},
        goals=(
            at_least("ratio to raw", ratio, GOAL_RATIO, "x"),
            at_least("runs a second", ours.median, GOAL_RUNS),
        ),
        note="runs a second say as much about the disk as about us: compare with raw",
    )
    many = Row(
        f"the same with {WRITERS} writers",
        "runs/s",
        spread(seen["ours_many"]),
        spread(seen["raw_many"]),
        "raw sqlite3, a connection a writer",
    )
    return one, many
