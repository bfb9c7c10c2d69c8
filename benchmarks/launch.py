"""create() and start() of the process runtime -> the user's first instruction, beside a bare process spawn.

Promises: every sandbox that works here, and the floor (the same program through subprocess alone), interleaved; the
program is `date +%s%N`, so that what it prints is when it ran. Medians and spread of at least ten rounds.
Does not: include observing a saved file, preflight or the store; those are other rows.
"""

import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

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


def run(rounds: int = 21) -> dict[str, Any]:
    """Milliseconds from create() to the first instruction for each launcher, and of the floor."""
    facts = {launcher: probe_sandbox((launcher, "none")) for launcher in LAUNCHERS}
    runtimes = {name: ProcessRuntime(SystemClock(), fact) for name, fact in facts.items() if fact.launcher == name}
    seen: dict[str, list[float]] = {name: [] for name in ("floor", *runtimes)}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, max(rounds, 10) + 1):
            seen["floor"].append(_floor())
            for name, runtime in runtimes.items():
                seen[name].append(_ours(runtime, _attempt(Path(folder) / name, number)))
    spreads = {name: _spread(values) for name, values in seen.items()}
    best = next(iter(runtimes))
    result = {
        "name": NAME,
        "unit": "ms from create() to the first instruction",
        "rounds": max(rounds, 10),
        "ours": spreads[best],
        "launchers": {name: spreads[name] for name in runtimes},
        "floor": spreads["floor"],
        "ratio": round(spreads[best]["median"] / spreads["floor"]["median"], 1),
        "goal": GOAL,
        "met": spreads[best]["median"] <= GOAL,
    }
    for name, spread in spreads.items():
        print(f"{NAME}, ms to the first instruction, {name}: {spread}")
    return result


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 1), "min": round(min(values), 1), "max": round(max(values), 1)}


if __name__ == "__main__":
    run()
