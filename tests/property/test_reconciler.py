"""Everything that can happen to one experiment, in any order: no run is lost, doubled or changed, and it converges.

A Hypothesis state machine over the real reconciler with fakes. Every status it produces is held against the laws.
"""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from controller.api.documents import load
from controller.ports.runtime import RuntimeState
from controller.ports.store import RunRow
from controller.reconcile.evaluate import evaluate_document
from controller.reconcile.outcome import Done, Outcome, Stalled, Waiting
from tests.unit.reconcile.bench import LOST, Bench, experiment, key

CHANGES = st.sampled_from(["finish", "replace", "refuse"])


class Died(BaseException):
    """The reconciler is killed here."""


class Experiment(RuleBasedStateMachine):
    """One spec file, one machine, and a reconciler that may die at any write."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fetchml-machine-"))
        self.bench = Bench(self.folder)
        self.bench.runtime.on_start = lambda attempt: None
        self.finished: dict[str, RunRow] = {}
        self.text = experiment()
        self.bench.put(self.text)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder, ignore_errors=True)

    # -- what people do

    @rule(
        seed=st.integers(0, 2), suspend=st.booleans(), change=CHANGES, rerun=st.sampled_from(["", "", "x"]),
        most=st.integers(0, 2), description=st.sampled_from(["", "words"]),
    )  # fmt: skip
    def edit(self, seed: int, suspend: bool, change: str, rerun: str, most: int, description: str) -> None:
        metadata = {"annotations": {"fetchml.dev/rerun": rerun}} if rerun else {}
        scheduling = {"onSpecChange": change, "retries": {"max": most, "reasons": list(LOST)}}
        self.text = experiment(
            seed=seed, suspend=suspend, description=description, metadata=metadata, scheduling=scheduling
        )
        self.bench.put(self.text)

    @rule()
    def spoil(self) -> None:
        self.bench.put("kind: Experiment\nmetadata: {name: a}\nspec: : :\n")

    @rule()
    def restore(self) -> None:
        self.bench.put(self.text)

    @precondition(lambda self: "a.yaml" in self.bench.files)
    @rule(confirmed=st.booleans())
    def delete(self, confirmed: bool) -> None:
        if confirmed:
            self.bench.delete()
        else:
            self.bench.source.remove("a.yaml")

    @rule()
    def cancel(self) -> None:
        for run in self.bench.store.runs(active=True):
            self.bench.store.request_cancel(run.run_id)

    # -- what happens

    @rule(end=st.sampled_from([0, 0, 3, "lost", "gone"]))
    def end(self, end: int | str) -> None:
        for seen in self.bench.runtime.list("fake-store"):
            if end == "lost":
                self.bench.runtime.lose(seen.name)
            elif end == "gone":
                self.bench.runtime.forget(seen.name)
            else:
                self.bench.runtime.finish(seen.name, int(end))

    @rule(seconds=st.sampled_from([1, 5, -86_400, 86_400]))
    def time_passes(self, seconds: int) -> None:
        if seconds > 0:
            self.bench.clock.advance(seconds)
        else:
            self.bench.clock.jump_wall(seconds)

    @rule(full=st.booleans())
    def status_writes(self, full: bool) -> None:
        self.bench.source.refuse_writes = "disk full" if full else ""

    @rule()
    def look(self) -> None:
        self.bench.once()

    @rule(writes=st.integers(0, 8))
    def die_at_a_write(self, writes: int) -> None:
        """The reconciler is killed right after so many transactions; a new one takes over."""
        memory, limit = self.bench.store._memory, self.bench.store.writes + writes
        original = self.bench.store._write

        def write() -> None:
            if memory.writes >= limit:
                raise Died
            original()

        self.bench.store._write = write  # type: ignore[method-assign]  # this store object dies with its process
        try:
            for _ in range(5):
                self.bench.once()
        except Died:
            pass
        self.bench.crash()

    @rule()
    def settle(self) -> None:
        """Nothing is left to do by itself: what is wanted and what is agree."""
        for _ in range(3):
            self.bench.clock.advance(3)
            self.bench.source.poll(None)
        self.bench.source.refuse_writes = ""
        outcome = self.bench.settle()
        active = self.bench.store.runs(active=True)
        if "a.yaml" not in self.bench.files:
            assert active == []
            assert self.bench.store.experiments() == []
        elif active:
            assert isinstance(outcome, Waiting | Stalled), outcome
        else:
            assert isinstance(outcome, Done | Stalled), outcome
        self.check_agreement(outcome)

    def check_agreement(self, outcome: Outcome) -> None:
        """The status is of this generation, and what it shows is of the wanted plan unless it says why not."""
        documents = load(self.bench.files.get("a.yaml", b""), "a.yaml").documents
        if not documents:
            return
        status, row = self.bench.status(), self.bench.store.experiment(key())
        assert row is not None
        assert (status["observedGeneration"], status["specSha256"]) == (row.generation, documents[0].spec_sha256)
        wanted = evaluate_document(self.bench.ports, documents[0], row).plan.sha256
        excused = getattr(outcome, "reason", "") in {"SpecChangeWaits", "SpecChangeRefused"}
        assert excused or status["planSha256"] == wanted, (outcome, status)

    # -- what must always be true

    @invariant()
    def never_two_active(self) -> None:
        if hasattr(self, "bench"):
            assert len(self.bench.store.runs(active=True)) <= 1
            assert len(self.bench.runtime.list("fake-store")) <= 1, "two programs of one experiment at once"

    @invariant()
    def no_attempt_starts_twice(self) -> None:
        if hasattr(self, "bench"):
            assert all(count == 1 for count in self.bench.world.starts.values()), self.bench.world.starts

    @invariant()
    def a_finished_run_never_changes(self) -> None:
        if hasattr(self, "bench"):
            for run in self.bench.store.runs(active=False):
                assert self.finished.setdefault(run.run_id, run) == run

    @invariant()
    def nothing_runs_unrecorded(self) -> None:
        if hasattr(self, "bench"):
            for seen in self.bench.runtime.list("fake-store"):
                run = self.bench.store.run(seen.run_id)
                assert run is not None, f"{seen.name} is lost"
                assert run.state == "active", f"{seen.name} still runs, and its run is {run.state}"

    @invariant()
    def a_success_has_its_records(self) -> None:
        if hasattr(self, "bench"):
            for run in self.bench.store.runs(active=False):
                if run.state == "succeeded":
                    assert (self.bench.ports.base / "experiments" / run.run_id / "attestation.dsse.json").exists()


Experiment.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
TestReconciler = Experiment.TestCase


def test_the_machine_reaches_what_it_is_about(tmp_path: Path) -> None:
    """By hand, the path that a random one may miss: run, die, lose, retry, cancel."""
    bench = Bench(tmp_path)
    bench.put(experiment(scheduling={"retries": {"max": 1, "reasons": list(LOST)}}))
    bench.settle()
    bench.crash()
    bench.runtime.lose(bench.attempt_name())
    bench.settle()
    assert bench.attempt().number == 2
    bench.store.request_cancel(bench.run().run_id)
    assert bench.settle() == Done()
    assert bench.world.seen[bench.attempt_name()].state is RuntimeState.EXITED
    assert bench.store.experiment(key()) is not None
