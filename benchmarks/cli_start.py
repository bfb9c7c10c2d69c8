"""Starting the command: --version, --help, status on 1,000 runs, and explain, beside `python -c pass`, mlflow and dvc.

Promises: whole processes, as a user starts them, in turn; wall time. status reads a store of 1,000 finished runs;
explain judges a committed spec with a lock and a dataset of 1 GB that was hashed before, beside `dvc status` on the
same data and beside the imports that it cannot do without (click, pydantic and the model of an experiment). dvc and
mlflow are left out where they cannot be installed (peers.py).
Does not: count the first start after an installation, which compiles.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.peers import program
from benchmarks.repository import make_repository, spec_text
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
_TIMES = {
    "--version": ("mlflow --version", 8.0),
    "status": ("dvc status", 4.0),
    "explain": ("dvc status, same data", 4.0),
}
_MODELS = "import os; os.environ['PYDANTIC_DISABLE_PLUGINS'] = '__all__'; import click, controller.api.documents"
DATA, QUICK_DATA = 1 << 30, 1 << 20
"""Bytes of the dataset."""


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


def _dvc_repository(dvc: Path, folder: Path, data: Path | None = None) -> None:
    folder.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    words = [["init", "-q"]]
    if data:
        shutil.copyfile(data, folder / "data.bin")
        words.append(["add", "-q", "data.bin"])
    for each in words:
        subprocess.run([dvc, *each], cwd=folder, check=True, env=_environment(folder))


def _big(root: Path, size: int) -> Path:
    """A dataset in the work tree, and specs/big.yaml that reads it, both committed or ignored as users would."""
    place = root / "data.bin"
    digest = hashlib.sha256()
    with place.open("wb") as file:
        for _ in range(size >> 20):
            block = os.urandom(1 << 20)
            digest.update(block)
            file.write(block)
    text = spec_text("code", 0).replace("name: code}", "name: big}").replace("numbers.csv", "data.bin")
    text = re.sub(r'(data.bin", sha256: )"[^"]+"', rf'\1"sha256:{digest.hexdigest()}"', text)
    (root / "specs" / "big.yaml").write_text(text)
    (root / ".gitignore").write_text(".fetchml/\ndata.bin\n")
    return place


def _peers(folder: Path, data: Path) -> dict[str, tuple[list[str], Path]]:
    found: dict[str, tuple[list[str], Path]] = {}
    mlflow, dvc = program("mlflow"), program("dvc")
    if mlflow:
        found["mlflow --version"] = ([str(mlflow), "--version"], folder)
    if dvc:
        _dvc_repository(dvc, folder / "dvc")
        found["dvc status"] = ([str(dvc), "status"], folder / "dvc")
        _dvc_repository(dvc, folder / "dvc-data", data)
        found["dvc status, same data"] = ([str(dvc), "status"], folder / "dvc-data")
    return found


def rows(quick: bool = False) -> tuple[Row, ...]:
    """Milliseconds of whole processes."""
    with tempfile.TemporaryDirectory(prefix="fetchml-bench-") as name:
        root = Path(name).resolve() / "repository"
        make_repository(root)
        _fill(root / ".fetchml" / "state.db", 20 if quick else RUNS)
        words = {"python": ([sys.executable, "-c", "pass"], root)}
        words |= {what: ([ML, what], root) for what in ("--version", "--help", "status")}
        data = _big(root, QUICK_DATA if quick else DATA)
        words["models"] = ([sys.executable, "-c", _MODELS], root)
        words["explain"] = ([ML, "explain", "specs/big.yaml"], root)
        words |= {} if quick else _peers(Path(name), data)
        contenders = {what: partial(_milliseconds, *both) for what, both in words.items()}
        seen = interleaved(contenders, QUICK_ROUNDS if quick else ROUNDS)
    spreads = {what: spread(values) for what, values in seen.items()}
    return tuple(_row(what, spreads) for what in ("--version", "--help", "status", "explain"))


def _row(what: str, spreads: dict[str, Spread]) -> Row:
    ours, floor = spreads[what], spreads["models" if what == "explain" else "python"]
    goals: list[Goal] = []
    if what in _LIMIT:
        goals.append(at_most("above the floor", ours.median - floor.median, _LIMIT[what], " ms"))
    peer, times = _TIMES.get(what, ("", 0.0))
    if peer in spreads:
        goals.append(at_least(f"faster than {peer}", spreads[peer].median / ours.median, times, "x"))
    title = {"status": f"ml status, {RUNS:,} runs", "explain": "ml explain, warm, 1 GB dataset"}.get(what, f"ml {what}")
    beside = "imports of click, pydantic and the models" if what == "explain" else "python -c pass"
    peers = {peer: spreads[peer]} if peer in spreads else {}
    return Row(title, "ms", ours, floor, beside, peers=peers, goals=tuple(goals))
