"""Starting the command: --version, --help, status on 1,000 runs, and explain, beside `python -c pass`, mlflow and dvc.

Promises: whole processes, as a user starts them, in turn; wall time. status reads a store of 1,000 finished runs;
explain judges a committed spec with a lock and a dataset that were looked at before. dvc and mlflow are left out where
they cannot be installed (peers.py).
Does not: count the first start after an installation, which compiles.
"""

import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.peers import program
from benchmarks.repository import make_repository
from benchmarks.rows import QUICK_ROUNDS, ROUNDS, Goal, Row, Spread, at_least, at_most, interleaved, spread
from controller.inventory.clock import SystemClock
from controller.ports.source import Key
from controller.ports.store import RunRow
from controller.stores.sqlite import SqliteStore

NAME = "cli_start"
RUNS = 1_000
ML = str(Path(sys.executable).with_name("ml"))
_LIMIT = {"--version": 40.0, "status": 150.0}
"""Milliseconds above the floor."""
_TIMES = {"--version": ("mlflow --version", 8.0), "status": ("dvc status", 4.0), "explain": ("dvc status", 4.0)}


def _fill(place: Path, count: int) -> None:
    """Finished runs, one experiment each."""
    place.parent.mkdir(exist_ok=True)
    store = SqliteStore(place, SystemClock())
    for number in range(count):
        key = Key("Experiment", "default", f"digits-{number}")
        uid = store.observe(key, "sha256:s", f"specs/{number}.yaml").uid
        run_id, now = f"digits-{number}-aaaaaaaa", "2026-01-01T12:00:00.000Z"
        store.begin_run(RunRow(run_id, uid, key, "sha256:p", "", "active", now, b"p", b"s", {}), "process")
        store.finish_run(run_id, "succeeded", now, {})
        status = {"phase": "Succeeded", "trustLevel": "L1", "run": {"id": run_id, "attempt": 1, "startedAt": now}}
        store.save_status(key, status)
    store.close()


def _milliseconds(words: list[str], folder: Path, *, may_fail: bool = False) -> float:
    begin = time.perf_counter()
    done = subprocess.run(words, cwd=folder, capture_output=True, check=False, env=_environment(folder))
    took = (time.perf_counter() - begin) * 1000
    if done.returncode and not may_fail:
        raise RuntimeError(f"{words} ended with {done.returncode}: {done.stderr.decode()}")
    return took


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "XDG_DATA_HOME": str(folder / "data"), "DVC_NO_ANALYTICS": "1"}


def _dvc_repository(dvc: Path, folder: Path) -> None:
    folder.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run([dvc, "init", "-q"], cwd=folder, check=True, env=_environment(folder))


def _peers(folder: Path) -> dict[str, tuple[list[str], Path]]:
    found: dict[str, tuple[list[str], Path]] = {}
    mlflow, dvc = program("mlflow"), program("dvc")
    if mlflow:
        found["mlflow --version"] = ([str(mlflow), "--version"], folder)
    if dvc:
        _dvc_repository(dvc, folder / "dvc")
        found["dvc status"] = ([str(dvc), "status"], folder / "dvc")
    return found


def rows(quick: bool = False) -> tuple[Row, ...]:
    """Milliseconds of whole processes."""
    with tempfile.TemporaryDirectory(prefix="fetchml-bench-") as name:
        root = Path(name).resolve() / "repository"
        make_repository(root)
        _fill(root / ".fetchml" / "state.db", 20 if quick else RUNS)
        words = {"python": ([sys.executable, "-c", "pass"], root)}
        words |= {what: ([ML, what], root) for what in ("--version", "--help", "status")}
        words["explain"] = ([ML, "explain", "specs/code.yaml"], root)
        words |= {} if quick else _peers(Path(name))
        contenders = {what: partial(_milliseconds, *both) for what, both in words.items()}
        seen = interleaved(contenders, QUICK_ROUNDS if quick else ROUNDS)
    spreads = {what: spread(values) for what, values in seen.items()}
    return tuple(_row(what, spreads) for what in ("--version", "--help", "status", "explain"))


def _row(what: str, spreads: dict[str, Spread]) -> Row:
    ours, floor = spreads[what], spreads["python"]
    goals: list[Goal] = []
    if what in _LIMIT:
        goals.append(at_most("above the floor", ours.median - floor.median, _LIMIT[what], " ms"))
    peer, times = _TIMES.get(what, ("", 0.0))
    if peer in spreads:
        goals.append(at_least(f"faster than {peer}", spreads[peer].median / ours.median, times, "x"))
    title = {"status": f"ml status, {RUNS:,} runs", "explain": "ml explain, warm"}.get(what, f"ml {what}")
    peers = {peer: spreads[peer]} if peer in spreads else {}
    return Row(title, "ms", ours, floor, "python -c pass", peers=peers, goals=tuple(goals))
