"""What every runtime promises: the fake and the process runtime with each of its launchers."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.ports.runtime import AttemptSpec, Limits, Observed, Runtime, RuntimeRefusedError, RuntimeState
from tests.fakes.clock import FakeClock
from tests.fakes.runtime import FakeRuntime
from tests.unit.runtimes.bench import Bench, log_of
from tests.unit.runtimes.container.bench import ContainerBench, eventually
from tests.unit.runtimes.container.bench import log_of as container_log

ENDED = (RuntimeState.EXITED, RuntimeState.LOST)


class Subject:
    """A runtime under test, and what its attempts do."""

    runtime: Runtime
    lost = "SupervisorLost"
    """Reason of an attempt whose watcher was killed."""

    def attempt(self, exit_code: int | None, number: int = 1) -> AttemptSpec:
        """One that ends with this code at once, or (None) runs until it is stopped."""
        raise NotImplementedError

    def restart(self) -> None:
        """The reconciler died; another one looks at the same machine."""
        raise NotImplementedError

    def starts(self, attempt: AttemptSpec) -> int:
        """How many times its program began."""
        raise NotImplementedError

    def kill_supervisor(self, attempt: AttemptSpec) -> None:
        """Whatever watches the attempt is killed."""
        raise NotImplementedError

    def ended(self, attempt: AttemptSpec) -> Observed:
        """Wait for its end."""
        for _ in range(600):
            seen = self.runtime.inspect(attempt.name, attempt.run_dir)
            if seen.state in ENDED:
                return seen
            self.runtime.wait(0.1)
        raise AssertionError(f"{attempt.name} never ended")


class FakeSubject(Subject):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = self.fake = FakeRuntime(FakeClock())

    def attempt(self, exit_code: int | None, number: int = 1) -> AttemptSpec:
        name = f"fetchml-run-aaaaaaaa-{number}"
        self.fake.world.outcomes[name] = exit_code
        return AttemptSpec(
            name=name,
            run_id="run-aaaaaaaa",
            number=number,
            store_id="store-1",
            plan_sha256="0" * 64,
            run_dir=self.folder,
            argv=("true",),
            env={},
            workspace=None,
            results=self.folder / "results",
            checkpoints=None,
            log=self.folder / "run.log",
            environment=None,
            interpreter_prefix=None,
            mounts=(),
            limits=Limits(cpu=1, memory=1, disk=1),
        )

    def restart(self) -> None:
        self.runtime = self.fake = FakeRuntime(FakeClock(), self.fake.world)

    def starts(self, attempt: AttemptSpec) -> int:
        return self.fake.world.starts[attempt.name]

    def kill_supervisor(self, attempt: AttemptSpec) -> None:
        self.fake.lose(attempt.name)


class RealSubject(Subject):
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.runtime = bench.runtime

    def attempt(self, exit_code: int | None, number: int = 1) -> AttemptSpec:
        end = "exec sleep 300" if exit_code is None else f"exit {exit_code}"
        return self.bench.attempt("sh", "-c", f"echo began; echo ready; {end}", number=number)

    def restart(self) -> None:
        self.runtime = self.bench.restart()

    def starts(self, attempt: AttemptSpec) -> int:
        return log_of(attempt).count("began")

    def kill_supervisor(self, attempt: AttemptSpec) -> None:
        self.bench.started(attempt)
        self.bench.kill_supervisor(attempt)


class ContainerSubject(Subject):
    lost = "RuntimeLost"

    def __init__(self, bench: ContainerBench) -> None:
        self.bench = bench
        self.runtime = bench.runtime

    def attempt(self, exit_code: int | None, number: int = 1) -> AttemptSpec:
        end = "exec sleep 300" if exit_code is None else f"exit {exit_code}"
        return self.bench.shell(f"echo began; echo ready; {end}", number=number)

    def restart(self) -> None:
        self.runtime = self.bench.restart()

    def starts(self, attempt: AttemptSpec) -> int:
        return container_log(attempt).count("began")

    def kill_supervisor(self, attempt: AttemptSpec) -> None:
        self.bench.started(attempt)
        self.bench.engine.kill(attempt.name)
        eventually(lambda: not self.bench.engine.running(attempt.name))


ENGINES = [
    pytest.param("docker", marks=pytest.mark.needs("docker")),
    pytest.param("podman", marks=pytest.mark.needs("podman")),
]
REAL = [
    pytest.param("bwrap", marks=pytest.mark.needs("bwrap")),
    pytest.param("unshare", marks=pytest.mark.needs("userns")),
    pytest.param("none", marks=pytest.mark.needs("linux")),
]


@pytest.fixture(params=["fake", *REAL, *ENGINES])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    if request.param == "fake":
        yield FakeSubject(tmp_path)
        return
    if request.param in ("docker", "podman"):
        containers = ContainerBench(tmp_path, request.param)
        yield ContainerSubject(containers)
        containers.close()
        return
    bench = Bench(tmp_path, request.param)
    yield RealSubject(bench)
    bench.close()


def test_an_unknown_name_is_absent(subject: Subject, tmp_path: Path) -> None:
    assert subject.runtime.inspect("fetchml-nobody-1", tmp_path).state is RuntimeState.ABSENT


def test_create_makes_it_known_and_starts_nothing(subject: Subject) -> None:
    attempt = subject.attempt(0)
    subject.runtime.create(attempt)
    seen = subject.runtime.inspect(attempt.name, attempt.run_dir)
    assert (seen.state, seen.run_id, seen.number) == (RuntimeState.CREATED, attempt.run_id, 1)
    assert subject.starts(attempt) == 0
    assert subject.runtime.list(attempt.store_id) == ()


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_is_reported(subject: Subject, code: int) -> None:
    attempt = subject.attempt(code)
    subject.runtime.create(attempt)
    subject.runtime.start(attempt)
    seen = subject.ended(attempt)
    assert (seen.state, seen.exit_code, seen.reason) == (RuntimeState.EXITED, code, "")
    assert seen.started_at is not None
    assert seen.ended_at is not None
    assert seen.started_at <= seen.ended_at


def test_creating_and_starting_again_starts_once(subject: Subject) -> None:
    attempt = subject.attempt(None)
    for _ in range(3):
        subject.runtime.create(attempt)
        subject.runtime.start(attempt)
        subject.restart()
    subject.runtime.stop(attempt.name, attempt.run_dir, grace=0)
    subject.ended(attempt)
    subject.runtime.create(attempt)
    subject.runtime.start(attempt)
    assert subject.runtime.inspect(attempt.name, attempt.run_dir).state is RuntimeState.EXITED
    assert subject.starts(attempt) <= 1


def test_starting_at_the_same_time_starts_once(subject: Subject) -> None:
    attempt = subject.attempt(0)
    subject.runtime.create(attempt)
    threads = [threading.Thread(target=subject.runtime.start, args=(attempt,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert subject.ended(attempt).exit_code == 0
    assert subject.starts(attempt) == 1


def test_starting_what_was_never_created_is_an_error(subject: Subject) -> None:
    with pytest.raises(LookupError):
        subject.runtime.start(subject.attempt(0))


def test_a_run_outlives_the_reconciler(subject: Subject) -> None:
    attempt = subject.attempt(None)
    subject.runtime.create(attempt)
    subject.runtime.start(attempt)
    subject.restart()
    assert subject.runtime.inspect(attempt.name, attempt.run_dir).state is RuntimeState.RUNNING
    assert [seen.name for seen in subject.runtime.list(attempt.store_id)] == [attempt.name]
    subject.runtime.stop(attempt.name, attempt.run_dir, grace=0)
    seen = subject.ended(attempt)
    assert (seen.state, seen.reason) == (RuntimeState.EXITED, "Stopped")
    assert subject.runtime.list(attempt.store_id) == ()


def test_stopping_what_never_started_ends_it_for_good(subject: Subject) -> None:
    attempt = subject.attempt(0)
    subject.runtime.create(attempt)
    subject.runtime.stop(attempt.name, attempt.run_dir, grace=5)
    subject.runtime.start(attempt)
    seen = subject.ended(attempt)
    assert (seen.state, seen.exit_code, seen.reason) == (RuntimeState.EXITED, None, "Stopped")
    assert subject.starts(attempt) == 0


def test_stopping_what_ended_changes_nothing(subject: Subject) -> None:
    attempt = subject.attempt(4)
    subject.runtime.create(attempt)
    subject.runtime.start(attempt)
    before = subject.ended(attempt)
    subject.runtime.stop(attempt.name, attempt.run_dir, grace=0)
    subject.runtime.remove(attempt.name, attempt.run_dir)
    assert subject.runtime.inspect(attempt.name, attempt.run_dir) == before


def test_when_the_supervisor_is_killed_the_attempt_is_lost(subject: Subject) -> None:
    attempt = subject.attempt(None)
    subject.runtime.create(attempt)
    subject.runtime.start(attempt)
    subject.kill_supervisor(attempt)
    seen = subject.runtime.inspect(attempt.name, attempt.run_dir)
    assert (seen.state, seen.reason) == (RuntimeState.LOST, subject.lost)
    subject.runtime.remove(attempt.name, attempt.run_dir)
    assert subject.runtime.list(attempt.store_id) == ()


def test_removing_a_running_attempt_ends_it_and_keeps_its_record(subject: Subject) -> None:
    attempt = subject.attempt(None)
    subject.runtime.create(attempt)
    subject.runtime.start(attempt)
    subject.runtime.remove(attempt.name, attempt.run_dir)
    assert subject.ended(attempt).state is RuntimeState.LOST
    assert subject.runtime.list(attempt.store_id) == ()


def test_attempts_are_apart_and_another_store_sees_none_of_them(subject: Subject) -> None:
    first, second = subject.attempt(None, 1), subject.attempt(5, 2)
    for attempt in (first, second):
        subject.runtime.create(attempt)
        subject.runtime.start(attempt)
    assert subject.ended(second).exit_code == 5
    assert subject.runtime.inspect(first.name, first.run_dir).state is RuntimeState.RUNNING
    assert subject.runtime.list("another-store") == ()


def test_a_refusal_names_its_reason(subject: Subject) -> None:
    attempt = subject.attempt(0)
    if isinstance(subject, FakeSubject):
        subject.fake.world.refuse[attempt.name] = RuntimeRefusedError("NoCommand", "the command is empty")
    with pytest.raises(RuntimeRefusedError) as refusal:
        subject.runtime.create(replace(attempt, argv=()))
    assert refusal.value.reason == "NoCommand"
    assert subject.runtime.inspect(attempt.name, attempt.run_dir).state is RuntimeState.ABSENT
