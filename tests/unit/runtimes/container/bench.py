"""Attempts in real containers for tests: each in its own folder, ended and removed afterwards."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from controller.inventory.clock import SystemClock
from controller.ports.runtime import AttemptSpec, Limits, Observed, RuntimeState
from controller.runtimes.container.engine import Engine
from controller.runtimes.container.runtime import ContainerRuntime
from tests.testbed import engines

LIMITS = Limits(cpu=1, memory=256 << 20, disk=64 << 20, processes=64, grace=20)


class ContainerBench:
    """One folder and a runtime on one engine."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.folder = folder
        self.engine = Engine(engine, engines.host(engine))
        self.store_id = f"store-{os.getpid()}-{time.monotonic_ns()}"
        self.run = f"run-{time.monotonic_ns() % 10**10}"
        self.made: list[AttemptSpec] = []
        self.runtime = ContainerRuntime(self.engine, SystemClock(), folder)

    def restart(self) -> ContainerRuntime:
        """The runtime of a new reconciler."""
        self.runtime.close()
        self.runtime = ContainerRuntime(self.engine, SystemClock(), self.folder)
        return self.runtime

    def attempt(self, *argv: str, number: int = 1, **changes: Any) -> AttemptSpec:
        """An attempt that is not created yet."""
        run_dir = self.folder / self.run
        run_dir.mkdir(parents=True, exist_ok=True)
        made = AttemptSpec(
            name=f"fetchml-{self.run}-{number}",
            run_id=self.run,
            number=number,
            store_id=self.store_id,
            plan_sha256="sha256:" + "0" * 64,
            run_dir=run_dir,
            argv=argv,
            env={"FETCHML_RUN_ID": self.run},
            workspace=None,
            results=run_dir / "results",
            checkpoints=None,
            log=run_dir / f"run-{number}.log",
            environment=None,
            interpreter_prefix=None,
            mounts=(),
            limits=LIMITS,
            image=engines.image("BUSYBOX"),
        )
        made = replace(made, **changes)
        self.made.append(made)
        return made

    def shell(self, script: str, **changes: Any) -> AttemptSpec:
        """An attempt that runs a script of the image's shell."""
        return self.attempt("sh", "-c", script, **changes)

    def python(self, code: str, **changes: Any) -> AttemptSpec:
        """An attempt that runs Python code."""
        return self.attempt("python3", "-I", "-c", code, image=engines.image("PYTHON"), **changes)

    def begin(self, attempt: AttemptSpec) -> Observed:
        """Create and start."""
        self.runtime.create(attempt)
        self.runtime.start(attempt)
        return self.runtime.inspect(attempt.name, attempt.run_dir)

    def until(self, attempt: AttemptSpec, *states: RuntimeState) -> Observed:
        """The first observation in one of the states; a test that hangs fails after two minutes."""
        for _ in range(1200):
            seen = self.runtime.inspect(attempt.name, attempt.run_dir)
            if seen.state in states:
                return seen
            self.runtime.wait(0.1)
        raise AssertionError(f"{attempt.name} stays {seen.state}; log: {log_of(attempt)}")

    def run_it(self, attempt: AttemptSpec) -> Observed:
        """From create to the end."""
        self.begin(attempt)
        return self.until(attempt, RuntimeState.EXITED, RuntimeState.LOST)

    def started(self, attempt: AttemptSpec) -> None:
        """Wait until the program says so in its log."""
        eventually(lambda: "ready" in log_of(attempt))

    def close(self) -> None:
        """Remove everything that was begun, whatever the records say."""
        self.runtime.close()
        for entry in self.engine.containers(f"fetchml.dev/store={self.store_id}"):
            self.engine.remove(entry["Names"][0].lstrip("/"))


def log_of(attempt: AttemptSpec) -> str:
    """What was printed so far."""
    return attempt.log.read_text(errors="replace") if attempt.log.exists() else ""


def eventually(condition: Callable[[], object]) -> None:
    """Wait for something that must come; a test that hangs fails after two minutes."""
    for _ in range(2400):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")
