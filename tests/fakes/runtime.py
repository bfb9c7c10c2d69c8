"""A runtime in memory, whose attempts end when and how a test says.

Promises: the contract of controller.ports.runtime.Runtime (tests/contract/test_runtime.py runs on it). `World` is what
survives a crash of the reconciler: give it to a second FakeRuntime.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from controller.ports.clock import Clock
from controller.ports.runtime import AttemptSpec, Observed, Runtime, RuntimeRefusedError, RuntimeState

ISOLATED: dict[str, Any] = {
    "launcher": "bwrap",
    "uid_map": [[1000, 1000, 1]],
    "uid": 1000,
    "outer_uid": 1000,
    **dict.fromkeys(("cap_eff", "cap_prm", "cap_bnd", "cap_inh", "cap_amb"), "0" * 16),
    "no_new_privs": True,
    "seccomp": True,
    "interfaces": ["lo"],
    "network": False,
    "root_read_only": True,
    "mounts": [["/", "ro"], ["/results", "rw"]],
    "limits": {"memory": {"value": 1 << 30, "enforcer": "supervisor (polled)"}},
    "isolated": True,
    "why": "",
}
"""Sandbox facts as the process runtime observes them under bubblewrap."""


@dataclass
class World:
    """Attempts as the machine has them, whoever looks."""

    seen: dict[str, Observed] = field(default_factory=dict)
    specs: dict[str, AttemptSpec] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)
    """How many times each attempt's program really began."""
    outcomes: dict[str, int | None] = field(default_factory=dict)
    """Exit code with which an attempt ends as soon as it starts; None runs until `finish`."""
    refuse: dict[str, RuntimeRefusedError] = field(default_factory=dict)
    """Attempts that create refuses."""


class FakeRuntime(Runtime):
    """Starts nothing; attempts without an outcome of their own do as `outcome` says (None: run until told)."""

    name = "process"

    def __init__(
        self,
        clock: Clock,
        world: World | None = None,
        *,
        outcome: int | None = None,
        on_start: Callable[[AttemptSpec], None] | None = None,
    ) -> None:
        self.world = world or World()
        self.outcome = outcome
        self.on_start = on_start
        self._clock = clock
        self.calls: list[tuple[str, str]] = []
        """(method, attempt name) in order."""

    def create(self, attempt: AttemptSpec) -> None:
        """Remember it, unless it is known or refused."""
        self.calls.append(("create", attempt.name))
        if attempt.name in self.world.refuse:
            raise self.world.refuse[attempt.name]
        if attempt.name not in self.world.seen:
            self.world.specs[attempt.name] = attempt
            self.world.seen[attempt.name] = Observed(
                attempt.name, RuntimeState.CREATED, run_id=attempt.run_id, number=attempt.number
            )

    def start(self, attempt: AttemptSpec) -> None:
        """Begin the program, once; it ends at once when it has an outcome."""
        self.calls.append(("start", attempt.name))
        seen = self.world.seen.get(attempt.name)
        if seen is None:
            raise LookupError(f"{attempt.name} was not created")
        if seen.state is not RuntimeState.CREATED:
            return
        self.world.starts[attempt.name] += 1
        self.world.seen[attempt.name] = replace(
            seen, state=RuntimeState.RUNNING, started_at=self._now(), sandbox=ISOLATED
        )
        if self.on_start is not None:
            self.on_start(attempt)
        outcome = self.world.outcomes.get(attempt.name, self.outcome)
        if outcome is not None:
            self.finish(attempt.name, outcome)

    def inspect(self, name: str, run_dir: Path) -> Observed:
        """As it is."""
        self.calls.append(("inspect", name))
        return self.world.seen.get(name, Observed(name, RuntimeState.ABSENT))

    def stop(self, name: str, run_dir: Path, *, grace: float) -> None:
        """Ends at once: 143 when it ran, no exit code when it never started."""
        self.calls.append(("stop", name))
        seen = self.world.seen.get(name)
        if seen is not None and seen.state in (RuntimeState.CREATED, RuntimeState.RUNNING):
            self.finish(name, 143 if seen.state is RuntimeState.RUNNING else None, "Stopped", "stopped on request")

    def remove(self, name: str, run_dir: Path) -> None:
        """Kill it if it still runs; what is known of it stays."""
        self.calls.append(("remove", name))
        if name in self.world.seen and self.world.seen[name].state is RuntimeState.RUNNING:
            self.lose(name)

    def list(self, store_id: str) -> tuple[Observed, ...]:
        """What runs now."""
        names = sorted(name for name, spec in self.world.specs.items() if spec.store_id == store_id)
        return tuple(seen for seen in map(self.world.seen.__getitem__, names) if seen.state is RuntimeState.RUNNING)

    def wait(self, timeout: float) -> None:
        """Time passes."""
        self._clock.sleep(timeout)

    def finish(self, name: str, exit_code: int | None = 0, reason: str = "", message: str = "") -> None:
        """A test says: it ends now."""
        self.world.seen[name] = replace(
            self.world.seen[name],
            state=RuntimeState.EXITED,
            exit_code=exit_code,
            reason=reason,
            message=message,
            ended_at=self._now(),
            usage={"max_rss": 1 << 20, "cpu_seconds": 0.1},
        )

    def lose(self, name: str, reason: str = "SupervisorLost") -> None:
        """A test says: its supervisor was killed (or the node was lost)."""
        self.world.seen[name] = replace(self.world.seen[name], state=RuntimeState.LOST, reason=reason)

    def forget(self, name: str) -> None:
        """A test says: the machine knows nothing of it any more."""
        self.world.seen.pop(name, None)
        self.world.specs.pop(name, None)

    def _now(self) -> str:
        return self._clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
