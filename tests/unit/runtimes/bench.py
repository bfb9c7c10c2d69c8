"""Attempts of the process runtime for tests: each in its own folder, ended and removed afterwards."""

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from controller.inventory.clock import SystemClock
from controller.ports.runtime import AttemptSpec, Limits, Observed, RuntimeState
from controller.runtimes.process import procfs, state
from controller.runtimes.process.probe import probe_sandbox
from controller.runtimes.process.runtime import ProcessRuntime

PYTHON = os.path.realpath(sys.executable)
PREFIX = Path(sys.base_prefix)
LIMITS = Limits(cpu=1, memory=1 << 30, disk=1 << 30, grace=20)

OPEN_BOOT = """
import sys
sys.path.append(sys.argv[1])
from controller.runtimes.process import namespaces
namespaces.confine = lambda seccomp: None
from controller.runtimes.process.supervisor import main
main()
"""
"""A supervisor whose runs keep every privilege: the guard that containment tests switch off."""


def boot_killing(when: str, step: str) -> str:
    """A supervisor that is killed before or after writing the record `step`."""
    return f"""
import os, sys
sys.path.append(sys.argv[1])
from controller.runtimes.process import records
def deadly(real):
    def write(place, *words):
        name = words[0] if len(words) == 2 else records.CLAIM
        if name == {step!r} and {when!r} == "before":
            os.kill(os.getpid(), 9)
        result = real(place, *words)
        if name == {step!r}:
            os.kill(os.getpid(), 9)
        return result
    return write
records.save, records.claim = deadly(records.save), deadly(records.claim)
from controller.runtimes.process.supervisor import main
main()
"""


class Bench:
    """One folder and a runtime with one launcher."""

    def __init__(self, folder: Path, launcher: str) -> None:
        self.folder = folder
        self.launcher = launcher
        self.store_id = f"store-{folder.name}-{os.getpid()}"
        self.made: list[AttemptSpec] = []
        self.runtime = self.restart()

    def restart(self) -> ProcessRuntime:
        """The runtime of a new reconciler."""
        facts = probe_sandbox((self.launcher, "none"))
        if facts.launcher != self.launcher:
            raise RuntimeError(f"{self.launcher} does not work here: {facts.why}")
        self.runtime = ProcessRuntime(SystemClock(), facts)
        return self.runtime

    def attempt(self, *argv: str, number: int = 1, run: str = "run-aaaaaaaa", **changes: Any) -> AttemptSpec:
        """An attempt that is not created yet."""
        run_dir = self.folder / run
        (run_dir / "workspace").mkdir(parents=True, exist_ok=True)
        made = AttemptSpec(
            name=f"fetchml-{run}-{number}",
            run_id=run,
            number=number,
            store_id=self.store_id,
            plan_sha256="0" * 64,
            run_dir=run_dir,
            argv=argv,
            env={"FETCHML_RUN_ID": run},
            workspace=run_dir / "workspace",
            results=run_dir / "results",
            checkpoints=None,
            log=run_dir / "run.log",
            environment=None,
            interpreter_prefix=PREFIX,
            mounts=(),
            limits=LIMITS,
        )
        made = replace(made, **changes)
        self.made.append(made)
        return made

    def python(self, code: str, **changes: Any) -> AttemptSpec:
        """An attempt that runs Python code."""
        return self.attempt(PYTHON, "-I", "-c", code, **changes)

    def begin(self, attempt: AttemptSpec) -> Observed:
        """Create and start."""
        self.runtime.create(attempt)
        self.runtime.start(attempt)
        return self.runtime.inspect(attempt.name, attempt.run_dir)

    def until(self, attempt: AttemptSpec, *states: RuntimeState) -> Observed:
        """The first observation in one of the states; a test that hangs fails after a minute."""
        for _ in range(600):
            seen = self.runtime.inspect(attempt.name, attempt.run_dir)
            if seen.state in states:
                return seen
            self.runtime.wait(0.1)
        raise AssertionError(f"{attempt.name} stays {seen.state}; log: {log_of(attempt)}")

    def run(self, attempt: AttemptSpec) -> Observed:
        """From create to the end."""
        self.begin(attempt)
        return self.until(attempt, RuntimeState.EXITED, RuntimeState.LOST)

    def started(self, attempt: AttemptSpec) -> None:
        """Wait until the program says so in its log."""
        eventually(lambda: "ready" in log_of(attempt))

    def kill_supervisor(self, attempt: AttemptSpec) -> None:
        """SIGKILL, as an operator or the kernel would."""
        who = state.claimed_by(attempt.name, attempt.run_dir)
        assert who is not None
        os.kill(who[0], signal.SIGKILL)
        eventually(lambda: not procfs.alive(who))

    def processes(self, attempt: AttemptSpec) -> list[int]:
        """Host pids of the attempt's programs (not of its supervisor)."""
        mark = ("FETCHML_ATTEMPT_NAME", "FETCHML_STORE_ID")
        return [pid for pid in procfs.pids() if procfs.marks(pid, mark) == (attempt.name, attempt.store_id)]

    def close(self) -> None:
        """End everything that was begun."""
        for attempt in self.made:
            self.runtime.remove(attempt.name, attempt.run_dir)


def log_of(attempt: AttemptSpec) -> str:
    """What was printed so far."""
    return attempt.log.read_text(errors="replace") if attempt.log.exists() else ""


def eventually(condition: Any) -> None:
    """Wait for something that must come; a test that hangs fails after half a minute."""
    for _ in range(1500):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it never came")
