"""create() and start() of the process runtime -> the user's first instruction, beside a bare process spawn.

Promises: every sandbox that works here, and the floor (the same program through subprocess alone), interleaved; the
program is `date +%s%N`, so that what it prints is when it ran.
Does not: include observing a saved file, preflight or the store; those are other rows.
"""

import subprocess
import tempfile
import time
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.rows import QUICK_ROUNDS, Row, at_most, interleaved, spread
from controller.inventory.clock import SystemClock
from controller.ports.runtime import AttemptSpec, Limits, RuntimeState
from controller.runtimes.process.probe import LAUNCHERS, probe_sandbox
from controller.runtimes.process.runtime import ProcessRuntime

NAME = "launch"
GOAL = 100.0
"""Milliseconds for the whole of save -> first instruction, of which this is a part."""
_PROGRAM = ("date", "+%s%N")


def _attempt(folder: Path, number: int) -> AttemptSpec:
    run_dir = folder / str(number)
    (run_dir / "workspace").mkdir(parents=True)
    return AttemptSpec(
        name=f"fetchml-bench-aaaaaaaa-{number}",
        run_id="bench-aaaaaaaa",
        number=number,
        store_id="bench",
        plan_sha256="0" * 64,
        run_dir=run_dir,
        argv=_PROGRAM,
        env={},
        workspace=run_dir / "workspace",
        results=run_dir / "results",
        checkpoints=None,
        log=run_dir / "run.log",
        environment=None,
        interpreter_prefix=None,
        mounts=(),
        limits=Limits(cpu=1, memory=1 << 30, disk=1 << 30),
    )


def _ours(runtime: ProcessRuntime, attempt: AttemptSpec) -> float:
    begin = time.time_ns()
    runtime.create(attempt)
    runtime.start(attempt)
    while runtime.inspect(attempt.name, attempt.run_dir).state is RuntimeState.RUNNING:
        runtime.wait(1)
    return (int(attempt.log.read_text()) - begin) / 1e6


def _floor() -> float:
    begin = time.time_ns()
    done = subprocess.run(_PROGRAM, capture_output=True, check=True)
    return (int(done.stdout) - begin) / 1e6


def rows(quick: bool = False) -> tuple[Row, ...]:
    """Milliseconds from create() to the first instruction, for each launcher that works here."""
    facts = {launcher: probe_sandbox((launcher, "none")) for launcher in LAUNCHERS}
    runtimes = {name: ProcessRuntime(SystemClock(), fact) for name, fact in facts.items() if fact.launcher == name}
    numbers = count(1)
    with tempfile.TemporaryDirectory(prefix="fetchml-bench-") as folder:

        def measure(name: str) -> float:
            return _ours(runtimes[name], _attempt(Path(folder) / name, next(numbers)))

        contenders = {"floor": _floor} | {name: partial(measure, name) for name in runtimes}
        seen = interleaved(contenders, QUICK_ROUNDS if quick else 21)
    best = next(iter(runtimes))
    return tuple(
        Row(
            f"runtime, {name}: create() -> first instruction",
            "ms",
            spread(seen[name]),
            spread(seen["floor"]),
            "process spawn",
            goals=(at_most("p50", spread(seen[name]).median, GOAL, " ms"),) if name == best else (),
        )
        for name in runtimes
    )
