"""A spec is saved -> the first instruction of the user's program, through a real `ml reconcile` process.

Promises: the whole path (watcher, git facts, preflight, store, staging, supervisor, sandbox), with the environment
already built; the floor (the same program through subprocess alone) interleaved. The program is `date +%s%N`, so what
it prints is when it ran. One save at a time, each after the run before has ended.
Does not: include the interpreter that a Python program would start, or a first build of an environment.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from benchmarks.repository import SPECS, make_repository, spec_text
from benchmarks.rows import QUICK_ROUNDS, Row, at_most, interleaved, spread

NAME = "save_to_start"
GOAL_P50, GOAL_P99 = 100.0, 300.0
SAVES = 31
_PROGRAM = ("date", "+%s%N")


@contextlib.contextmanager
def reconciler(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real `ml reconcile specs` in that repository; what it said is raised when it dies."""
    environment = {**os.environ, "XDG_DATA_HOME": str(root / "data"), "XDG_CONFIG_HOME": str(root / "config")}
    words = [str(Path(sys.executable).with_name("ml")), "reconcile", "specs"]
    with (root / "reconcile.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=root, env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def _ours(root: Path, name: str, seed: int) -> float:
    """Milliseconds from the save to the first instruction."""
    spec = root / "specs" / f"{name}.yaml"
    text = spec_text(name, seed)
    begin = time.time_ns()
    spec.write_text(text)
    run = _ended(root, spec)
    return (int((root / ".fetchml" / "experiments" / run / "run.log").read_text()) - begin) / 1e6


def _ended(root: Path, spec: Path) -> str:
    """The run id that the status names once the run is over."""
    for _ in range(6000):
        text = spec.read_text()
        phase, run = re.search(r"^  phase: (\w+)", text, re.MULTILINE), re.search(r"^ +id: (\S+)", text, re.MULTILINE)
        if phase and phase[1] == "Succeeded" and run:
            return run[1]
        if phase and phase[1] in ("Failed", "Blocked"):
            break
        time.sleep(0.01)
    raise RuntimeError(f"{spec} did not succeed:\n{text}\n{(root / 'reconcile.log').read_text()}")


def _floor() -> float:
    begin = time.time_ns()
    done = subprocess.run(_PROGRAM, capture_output=True, check=True)
    return (int(done.stdout) - begin) / 1e6


def rows(quick: bool = False) -> tuple[Row, ...]:
    """Milliseconds from the save to the first instruction, for each spec."""
    numbers = count()
    with tempfile.TemporaryDirectory(prefix="fetchml-bench-") as folder:
        root = Path(folder).resolve()
        make_repository(root)
        with reconciler(root):
            contenders = {"floor": _floor} | {
                name: lambda name=name: _ours(root, name, next(numbers) + 1) for name in SPECS
            }
            seen = interleaved(contenders, QUICK_ROUNDS if quick else SAVES)
    return tuple(
        Row(
            f"save -> first instruction, {what}",
            "ms",
            spread(seen[name]),
            spread(seen["floor"]),
            "process spawn",
            goals=(
                at_most("p50", spread(seen[name]).median, GOAL_P50, " ms"),
                at_most("p99", spread(seen[name]).p99, GOAL_P99, " ms"),
            ),
            note="Argo CD polls every 3 min, Flux every 1 min (published)",
        )
        for name, what in {"bare": "no code", "code": "code, lock and dataset of a commit"}.items()
    )
