"""A reconciler on fakes, with everything a test may want to turn.

Every status that any pass produces here is held against the status laws (`LawfulReconciler`), so no test needs to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from controller.api.status import ExperimentStatus, violations
from controller.facts.facts import HostFacts
from controller.ports.events import Events
from controller.ports.inventory import Inventory
from controller.ports.source import Key
from controller.ports.store import AttemptRow, RunRow
from controller.reconcile.context import Policy, Ports
from controller.reconcile.outcome import Done, Outcome, Stalled, Waiting
from controller.reconcile.reconciler import Reconciler
from tests.builders import host
from tests.fakes.clock import FakeClock
from tests.fakes.inputs import FakeInputs
from tests.fakes.runtime import FakeRuntime, World
from tests.fakes.signer import FakeSigner
from tests.fakes.source import FakeSource
from tests.fakes.store import FakeStore
from tests.fakes.trust import FakeTrust

LOST = ("SupervisorLost", "NodeLost", "RuntimeLost")


class LawfulReconciler(Reconciler):
    """The reconciler, with every status checked."""

    def reconcile(self, key: Key) -> tuple[Outcome, ExperimentStatus | None]:
        """One pass whose status must break no law."""
        outcome, status = super().reconcile(key)
        if status is not None:
            assert violations(status) == (), status
        return outcome, status


class FakeInventory(Inventory):
    """A host that a test sets."""

    def __init__(self, facts: HostFacts) -> None:
        self.facts = facts

    def host(self) -> HostFacts:
        """As set."""
        return self.facts


class FakeEvents(Events):
    """Remembers every event."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []
        """Subject, reason, message."""

    def emit(self, subject: str, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Remember."""
        self.seen.append((subject, reason, message))

    @property
    def reasons(self) -> list[str]:
        """In order."""
        return [reason for _, reason, _ in self.seen]


def experiment(name: str = "a", *, metadata: Mapping[str, Any] | None = None, **spec: Any) -> str:
    """An Experiment as YAML text; spec fields as a user writes them."""
    return document("Experiment", name, {"command": ["echo", "hi"], **spec}, metadata)


def document(kind: str, name: str, spec: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> str:
    """Any document as YAML text."""
    whole = {"apiVersion": "fetchml.dev/v1alpha1", "kind": kind, "metadata": {"name": name, **(metadata or {})}}
    return yaml.safe_dump({**whole, "spec": dict(spec)}, sort_keys=False)


def key(name: str = "a") -> Key:
    """The key of an experiment in the default namespace."""
    return Key("Experiment", "default", name)


@dataclass
class Bench:
    """Make it with `Bench(tmp_path)`; `crash` puts a new reconciler on what survives."""

    base: Path
    clock: FakeClock = field(default_factory=FakeClock)
    policy: Policy = field(default_factory=Policy)
    signer: FakeSigner | None = field(default_factory=FakeSigner)
    world: World = field(default_factory=World)
    inventory: FakeInventory = field(default_factory=lambda: FakeInventory(host()))
    events: FakeEvents = field(default_factory=FakeEvents)
    trust: FakeTrust = field(default_factory=FakeTrust)
    outcome: int | None = None
    """Exit code of every attempt as soon as it starts; None: it runs until the test ends it."""

    def __post_init__(self) -> None:
        self.store = FakeStore(self.clock)
        self.inputs = FakeInputs(self.base / "inputs")
        self.files: dict[str, bytes] = {}
        self._wire()

    def _wire(self) -> None:
        self.source = FakeSource(self.clock, known=[row.key for row in self.store.experiments()])
        self.source.files = self.files
        self.runtime = FakeRuntime(self.clock, self.world, outcome=self.outcome)
        self.ports = Ports(
            source=self.source,
            store=self.store,
            runtime=self.runtime,
            inputs=self.inputs,
            inventory=self.inventory,
            signer=self.signer,
            clock=self.clock,
            events=self.events,
            base=self.base / ".fetchml",
            policy=self.policy,
            trust=self.trust,
        )
        self.reconciler = LawfulReconciler(self.ports)

    def crash(self) -> None:
        """The reconciler dies; a new one starts on the same store, files and machine."""
        self.store = self.store.peer()
        self._wire()

    def put(self, text: str, file: str = "a.yaml") -> None:
        """Save a spec."""
        self.source.put(file, text)

    def delete(self, file: str = "a.yaml") -> None:
        """Delete a spec, and let the deletion be confirmed."""
        self.source.remove(file)
        self.look()
        self.clock.advance(3)
        self.look()

    def look(self) -> None:
        """One look at the source, as the loop takes it."""
        self.ports.standing.changed(self.source.poll(None).keys)

    def once(self, name: str = "a") -> Outcome:
        """One look at the source and one pass."""
        self.look()
        return self.reconciler.reconcile(key(name))[0]

    def settle(self, name: str = "a") -> Outcome:
        """Passes until nothing moves any more by itself."""
        for _ in range(50):
            before = self.store.writes, len(self.runtime.calls)
            outcome = self.once(name)
            looks = [call for call in self.runtime.calls[before[1] :] if call[0] != "inspect"]
            if isinstance(outcome, Done | Stalled) or (self.store.writes == before[0] and not looks):
                return outcome
            if isinstance(outcome, Waiting) and outcome.failed:
                return outcome
        raise AssertionError(f"{name} does not settle: {outcome}")

    def status(self, name: str = "a") -> dict[str, Any]:
        """The last status, as the store has it."""
        row = self.store.experiment(key(name))
        assert row is not None
        assert row.status is not None
        return dict(row.status)

    def phase(self, name: str = "a") -> str:
        """Its summary."""
        return str(self.status(name)["phase"])

    def condition(self, type_: str, name: str = "a") -> dict[str, Any]:
        """One condition of the last status; empty when absent."""
        found = [item for item in self.status(name)["conditions"] if item["type"] == type_]
        return found[0] if found else {}

    def runs(self, name: str = "a") -> list[RunRow]:
        """Every run of an experiment, oldest first."""
        row = self.store.experiment(key(name))
        return list(reversed(self.store.runs(uid=row.uid))) if row else []

    def run(self, name: str = "a") -> RunRow:
        """Its only run."""
        (run,) = self.runs(name)
        return run

    def attempt(self, name: str = "a") -> AttemptRow:
        """The newest attempt of its newest run."""
        return self.store.attempts(self.runs(name)[-1].run_id)[-1]

    def attempt_name(self, name: str = "a") -> str:
        """What the runtime calls it."""
        newest = self.attempt(name)
        return f"fetchml-{newest.run_id}-{newest.number}"

    def end(self, exit_code: int | None = 0, reason: str = "", name: str = "a") -> None:
        """The newest attempt ends on the machine."""
        self.runtime.finish(self.attempt_name(name), exit_code, reason)

    def folder(self, name: str = "a") -> Path:
        """The newest run's folder."""
        return self.ports.base / "experiments" / self.runs(name)[-1].run_id

    def starts(self) -> dict[str, int]:
        """Attempt to how often its program began."""
        return dict(self.world.starts)

    def on_host(self, **facts: Any) -> None:
        """Change the host."""
        self.inventory.facts = replace(self.inventory.facts, **facts)
