"""The whole reconciler with 10,000 finished specs and nothing to do: what it parses, writes and costs.

Promises: the real watch_folder (watcher, loop, workers, store) in a process of its own; the window holds one rescan and
is shorter than a minute, so the CPU share is an upper bound of an idle minute's. Counted from outside where possible:
CPU from /proc, rows by comparing every table, specs by the loop's counter.
Does not: say what a first look costs (specs_cold), or measure disks: folder and store lie in memory.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, at_most, spread
from controller.api.documents import load
from controller.entrypoints.watcher import Telling, watch_folder
from controller.inventory.clock import SystemClock
from controller.ports.source import Key
from controller.ports.store import RunRow
from controller.reconcile.loop import Loop
from controller.settings import Settings
from controller.stores.sqlite import SqliteStore
from controller.wiring import Place, open_inputs

NAME = "idle"
WINDOW, QUICK_WINDOW = 20.0, 1.0
"""Seconds; a rescan is due once in it."""
_SPEC = """\
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata: {{name: digits-{n}}}
spec:
  command: [echo, hello]
  seed: {n}
"""
_NOW = "2026-01-01T12:00:00.000Z"
_TICK = os.sysconf("SC_CLK_TCK")


def _fill(root: Path, count: int) -> None:
    """Specs, and a store that knows a finished run of each."""
    (root / "specs").mkdir()
    (root / ".fetchml").mkdir()
    store = SqliteStore(root / ".fetchml" / "state.db", SystemClock())
    interpreter = asdict(open_inputs(Place(root, root / ".fetchml"), Settings()).interpreter_facts(None))
    for number in range(count):
        text = _SPEC.format(n=number).encode()
        (root / "specs" / f"{number}.yaml").write_bytes(text)
        digest = load(text, f"{number}.yaml").documents[0].spec_sha256
        key = Key("Experiment", "default", f"digits-{number}")
        uid = store.observe(key, digest, f"specs/{number}.yaml").uid
        launch = {"spec_sha256": digest, "trust_ceiling": {"level": "L1", "caps": []}, "resolved": {}}
        launch["interpreter"] = interpreter
        run_id = f"digits-{number}-aaaaaaaa"
        store.begin_run(RunRow(run_id, uid, key, "sha256:p", "", "active", _NOW, b"{}", b"{}", launch), "process")
        store.finish_run(run_id, "succeeded", _NOW, {})
    store.close()


def _serve(root: Path, window: float) -> None:
    """The reconciler; answers its counters for every line on standard input."""

    def answer(loop: Loop) -> None:
        for _ in sys.stdin:
            counters = loop.counters
            seen = {"parsed": counters.parsed, "reconciled": counters.reconciled, "rescans": counters.rescans}
            print(json.dumps(seen), flush=True)

    def ready(loop: Loop) -> None:
        threading.Thread(target=answer, args=(loop,), daemon=True).start()

    settings = Settings(rescan_seconds=window)
    watch_folder(Place(root, root / ".fetchml"), settings, root / "specs", telling=Telling(ready=ready))


def _tables(root: Path) -> str:
    """A digest of every row."""
    hasher = hashlib.sha256()
    with closing(sqlite3.connect(root / ".fetchml" / "state.db")) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")]
        assert "runs" in names
        for name in names:
            for row in connection.execute(f'SELECT * FROM "{name}"'):  # noqa: S608  # a name of our own schema
                hasher.update(repr(row).encode())
    return hasher.hexdigest()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[index]) for index in (11, 12, 13, 14)) / _TICK


class _Process:
    def __init__(self, root: Path, window: float) -> None:
        words = [sys.executable, "-m", "benchmarks.idle", str(root), str(window)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def counters(self) -> dict[str, int]:
        """What the loop has done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer: dict[str, int] = json.loads(self._process.stdout.readline())
        return answer

    def settle(self, count: int) -> None:
        """Wait for the first look at everything, and for the rescans after it that still read what was just written."""
        while (seen := self.counters())["reconciled"] < count or seen["rescans"] < 2:
            time.sleep(0.5)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.communicate()


def rows(quick: bool = False) -> tuple[Row, ...]:
    """CPU share, and what was parsed, reconciled and written."""
    count, window, windows = (50, QUICK_WINDOW, 1) if quick else (10_000, WINDOW, 3)
    shm = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="fetchml-bench-", dir=shm if shm.is_dir() else None))
    try:
        _fill(root, count)
        process = _Process(root, window)
        try:
            process.settle(count)
            shares, counts = _watch(root, process, window, windows)
        finally:
            process.close()
    finally:
        shutil.rmtree(root)
    share = spread(shares)
    return (
        Row(
            f"idle with {count:,} finished specs",
            "% of a CPU",
            share,
            goals=(at_most("CPU", share.median, 1.0, " %"),),
            counters=counts,
            note=f"over {window:.0f} s with one rescan each, not a minute",
        ),
    )


def _watch(root: Path, process: _Process, window: float, windows: int) -> tuple[list[float], dict[str, int]]:
    before, tables, shares = process.counters(), _tables(root), []
    for _ in range(windows):
        began, cpu = time.monotonic(), _cpu(process.pid)
        time.sleep(window)
        shares.append(100 * (_cpu(process.pid) - cpu) / (time.monotonic() - began))
    after: dict[str, Any] = process.counters()
    counts = {f"specs {what}": after[what] - before[what] for what in ("parsed", "reconciled")}
    return shares, counts | {"tables changed": int(_tables(root) != tables)}


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), float(sys.argv[2]))
