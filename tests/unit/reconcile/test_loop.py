"""The loop around the reconciler: recovery, waking, errors and leases. Real threads, fake machine."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from controller.api.status import ExperimentStatus
from controller.inventory.clock import SystemClock
from controller.ports.source import Change, Key
from controller.ports.store import FencedError, StoreBusyError
from controller.reconcile.loop import LEASE_NAME, LEASE_SECONDS, Loop
from controller.reconcile.outcome import Outcome
from tests.builders import git
from tests.unit.reconcile.bench import Bench, LawfulReconciler, document, experiment, key


class Looping:
    """A bench whose loop runs in a thread of its own, on the real clock."""

    def __init__(self, bench: Bench, loop: Loop) -> None:
        self.bench = bench
        self.loop = loop
        self.passes: list[tuple[Key, Outcome]] = []
        self.error: BaseException | None = None
        loop.listener = self._heard
        self._moved = threading.Condition()

    def _heard(self, seen: Key, outcome: Outcome, _status: ExperimentStatus | None) -> None:
        with self._moved:
            self.passes.append((seen, outcome))
            self._moved.notify_all()

    def until(self, condition: Callable[[], object], what: str = "it") -> None:
        """Wait for something that a pass brings about."""
        end = time.monotonic() + 60
        while not condition():
            assert self.error is None, self.error
            assert time.monotonic() < end, f"{what} did not happen; passes: {self.passes[-5:]}"
            with self._moved:
                self._moved.wait(0.02)

    def phase(self, name: str) -> str:
        """Of the stored status; empty while there is none."""
        row = self.bench.store.experiment(key(name))
        return str((row.status or {}).get("phase", "")) if row else ""


@contextmanager
def looping(bench: Bench, **options: object) -> Iterator[Looping]:
    """Run the loop until the block ends."""
    bench.clock = SystemClock()  # type: ignore[assignment]  # the loop waits in real time
    bench.store._clock = bench.clock
    bench.crash()
    lease = bench.store.acquire(LEASE_NAME, "test", LEASE_SECONDS)
    assert lease is not None
    waited = bench.runtime.wait
    bench.runtime.wait = lambda timeout: waited(min(timeout, 0.02))  # type: ignore[method-assign]
    loop = Loop(LawfulReconciler(bench.ports), "test", workers=2, **options)  # type: ignore[arg-type]
    running = Looping(bench, loop)

    def run() -> None:
        try:
            loop.run(lease)
        except BaseException as error:  # noqa: BLE001  # the test looks at it
            running.error = error

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield running
    finally:
        loop.stop()
        thread.join(timeout=30)
        assert not thread.is_alive()


def test_thirty_specs_respect_the_capacity_and_all_finish(bench: Bench) -> None:
    bench.on_host(cpus=2)
    bench.outcome = None
    for number in range(30):
        bench.put(experiment(f"e{number}", resources={"cpu": "1", "memory": "1Mi", "disk": "1Mi"}), f"{number}.yaml")
    most = 0
    with looping(bench) as running:
        while bench.store.count("succeeded") < 30:
            active = bench.runtime.list(bench.store.store_id)
            most = max(most, len(active))
            for seen in active:
                bench.runtime.finish(seen.name, 0)
            running.until(lambda: bench.runtime.list("fake-store") or bench.store.count("succeeded") == 30)
    assert most <= 2
    assert sorted(bench.starts().values()) == [1] * 30


def test_it_stops_by_itself_when_all_is_settled(bench: Bench) -> None:
    bench.outcome = 0
    for number in range(5):
        bench.put(experiment(f"e{number}"), f"{number}.yaml")
    bench.put(experiment("held", suspend=True), "held.yaml")
    with looping(bench) as running:
        running.loop.stop_when_settled()
    assert bench.store.count("succeeded") == 5
    assert running.error is None


def test_a_saved_spec_starts_and_a_run_without_a_spec_is_taken_up(bench: Bench) -> None:
    bench.put(experiment("old"), "old.yaml")
    bench.settle("old")
    with looping(bench) as running:
        bench.put(experiment("new"), "new.yaml")
        running.until(lambda: running.phase("new") == "Running", "the start")
        bench.runtime.finish(bench.attempt_name("old"), 0)
        running.until(lambda: running.phase("old") == "Succeeded", "the end")


def test_a_stray_of_ours_is_stopped_and_reported(bench: Bench) -> None:
    bench.put(experiment())
    bench.settle()
    name = bench.attempt_name()
    bench.store._memory.runs.clear()
    bench.store._memory.attempts.clear()
    bench.delete()
    with looping(bench) as running:
        running.until(lambda: "StrayStopped" in bench.events.reasons, "the report")
        running.until(lambda: not bench.runtime.list("fake-store"), "the stop")
    assert bench.world.seen[name].reason == "Stopped"


def test_a_refusal_is_looked_at_again_as_soon_as_a_ref_moves(bench: Bench) -> None:
    bench.inputs.git = git(dirty=("code/x.py",))
    bench.put(experiment(source={"git": {"path": "code"}}, environment={"python": "3.11"}))
    with looping(bench) as running:
        running.until(lambda: running.phase("a") == "Blocked" and bool(running.passes), "the refusal")
        running.loop._pauses[key()] = 20  # the next look by itself would be in five minutes
        running.loop._plan_next(key(), running.passes[-1][1], None)
        bench.inputs.git, bench.inputs.refs = git(), "moved"
        running.until(lambda: running.phase("a") == "Running", "the start")


def test_an_approval_wakes_what_waits_for_it(bench: Bench) -> None:
    bench.put(document("TrustPolicy", "p", {"rules": [{"requireApproval": True}]}), "p.yaml")
    bench.put(experiment())
    with looping(bench) as running:
        running.until(lambda: running.phase("a") == "Waiting", "the wait")
        row = bench.store.experiments()[0]
        bench.store.peer().approve(row.uid, bench.status()["planSha256"], "alice")
        running.until(lambda: running.phase("a") == "Running", "the start")


def test_a_changed_quota_wakes_the_line(bench: Bench) -> None:
    bench.put(document("Quota", "q", {"runs": 0}), "q.yaml")
    bench.put(experiment())
    with looping(bench) as running:
        running.until(lambda: running.phase("a") == "Queued", "the wait")
        bench.put(document("Quota", "q", {"runs": 1}), "q.yaml")
        running.until(lambda: running.phase("a") == "Running", "the start")


def test_an_error_with_a_run_under_way_is_not_hammered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.put(experiment())
    with looping(bench) as running:
        running.until(lambda: running.phase("a") == "Running", "the start")
        failed = threading.Event()

        def broken(*_: object) -> object:
            failed.set()
            raise RuntimeError("boom")

        monkeypatch.setattr(bench.runtime, "inspect", broken)
        running.until(lambda: running.loop._erring, "the failure")
        before = len(running.passes)
        for _ in range(5):
            bench.runtime.wait(1)
        assert len(running.passes) - before <= 1, "its backoff is respected"
        monkeypatch.undo()
        bench.runtime.finish(bench.attempt_name(), 0)
        running.until(lambda: running.phase("a") == "Succeeded", "the end")


def test_a_look_that_fails_does_not_end_the_loop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.reconcile.loop.FIRST_PAUSE", 0.01)
    with looping(bench) as running:
        running.loop._looked.wait(timeout=60)
        failures: list[int] = []
        original = bench.source.poll

        def poll(hints: frozenset[str] | None = None) -> Change:
            if len(failures) < 3:
                failures.append(1)
                raise OSError("the disk hiccups")
            return original(hints)

        monkeypatch.setattr(bench.source, "poll", poll)
        bench.put(experiment())
        running.until(lambda: running.phase("a") == "Running", "the start")
        assert len(failures) == 3


def test_a_locked_store_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.outcome = 0
    with looping(bench) as running:
        failures: list[int] = []
        original = bench.store.begin_run

        def locked(*arguments: object) -> object:
            if not failures:
                failures.append(1)
                raise StoreBusyError("locked by process 1")
            return original(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(bench.store, "begin_run", locked)
        bench.put(experiment())
        running.until(lambda: running.phase("a") == "Succeeded", "the end")
    assert ("StoreLocked" in bench.events.reasons, list(bench.starts().values())) == (True, [1])


def test_who_lost_the_lease_stops(bench: Bench) -> None:
    with looping(bench) as running:
        held = bench.store._memory.leases[LEASE_NAME]
        bench.store._memory.leases[LEASE_NAME] = held.__class__(LEASE_NAME, "other", held.token + 1, held.expires_at)
        bench.put(experiment())
        running.until(running.loop._stop.is_set, "the stop")
    assert isinstance(running.error, FencedError)
    assert bench.starts() == {}


def test_events_tell_of_files_that_became_invalid_once(bench: Bench) -> None:
    with looping(bench) as running:
        bench.put("kind: Experiment\n: :", "bad.yaml")
        running.until(lambda: "InvalidSpec" in bench.events.reasons, "the event")
        bench.put(experiment())
        running.until(lambda: running.phase("a") == "Running", "the start")
    assert bench.events.reasons.count("InvalidSpec") == 1


def test_only_the_wanted_key_is_reconciled(bench: Bench) -> None:
    bench.put(experiment("a"), "a.yaml")
    bench.put(experiment("b"), "b.yaml")
    with looping(bench, only=frozenset({key("a")})) as running:
        running.until(lambda: running.phase("a") == "Running", "the start")
        running.loop.stop()
    assert {seen for seen, _ in running.passes} == {key("a")}
