"""One suite for every Store: the fake in memory and the real one on disk."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from controller.ports.source import Key
from controller.ports.store import AttemptState, FencedError, RunRow, Store, StoreError
from controller.stores.sqlite import SqliteStore
from tests.fakes.clock import FakeClock
from tests.fakes.store import FakeStore

KEY = Key("Experiment", "default", "digits")
OTHER = Key("Experiment", "default", "abc")
LATER = "2026-01-01T13:00:00.000Z"


@dataclass
class World:
    """A store, its clock, and a way to open the same store again as another process would."""

    store: Store
    clock: FakeClock
    peer: Callable[[], Store]

    def run(
        self, run_id: str = "digits-aaaaaaaa", key: Key = KEY, created_at: str = "2026-01-01T12:00:00.000Z"
    ) -> RunRow:
        """A run that could begin."""
        uid = self.store.observe(key, "sha256:1", "specs/digits.yaml").uid
        return RunRow(
            run_id, uid, key, "sha256:p", "", "active", created_at, b"plan", b"spec", {"cpus": 2, "name": "ü"}
        )

    def begun(self, run_id: str = "digits-aaaaaaaa") -> RunRow:
        """A run that began."""
        run = self.run(run_id)
        self.store.begin_run(run, "process")
        return run


@pytest.fixture(params=["fake", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    clock = FakeClock()
    opened: list[Store] = []

    def sqlite() -> Store:
        opened.append(SqliteStore(tmp_path / "state.db", clock, boot_id="this-boot"))
        return opened[-1]

    if request.param == "fake":
        fake = FakeStore(clock)
        yield World(fake, clock, fake.peer)
    else:
        yield World(sqlite(), clock, sqlite)
    for store in opened:
        store.close()


def test_observe_gives_one_uid_per_name_and_counts_specs(world: World) -> None:
    first = world.store.observe(KEY, "sha256:1", "a.yaml")
    assert (first.generation, first.place, first.deleted, first.status) == (1, "a.yaml", False, None)
    assert world.store.observe(KEY, "sha256:1", "a.yaml") == first
    assert world.store.observe(KEY, "sha256:1", "moved.yaml") == replace(first, place="moved.yaml")
    assert world.store.observe(KEY, "sha256:2", "moved.yaml").generation == 2
    assert world.store.observe(KEY, "sha256:1", "moved.yaml").generation == 3
    other = world.store.observe(Key("Experiment", "other", "digits"), "sha256:1", "a.yaml")
    assert other.uid != first.uid
    assert world.store.observe(Key("Dataset", "default", "digits"), "sha256:1", "a.yaml").uid not in {
        first.uid,
        other.uid,
    }


def test_an_experiment_that_comes_back_is_the_same_one(world: World) -> None:
    first = world.store.observe(KEY, "sha256:1", "a.yaml")
    world.store.mark_deleted(KEY)
    gone = world.store.experiment(KEY)
    assert gone is not None
    assert gone.deleted
    assert list(world.store.experiments()) == []
    assert world.store.observe(KEY, "sha256:1", "a.yaml") == first


def test_experiments_come_by_key_and_unknown_ones_are_none(world: World) -> None:
    world.store.observe(KEY, "sha256:1", "a.yaml")
    world.store.observe(OTHER, "sha256:1", "b.yaml")
    assert [row.key for row in world.store.experiments()] == [OTHER, KEY]
    assert world.store.experiment(Key("Experiment", "default", "nobody")) is None
    world.store.mark_deleted(Key("Experiment", "default", "nobody"))


def test_the_last_status_is_remembered(world: World) -> None:
    with pytest.raises(LookupError):
        world.store.save_status(KEY, {"phase": "Pending"})
    world.store.observe(KEY, "sha256:1", "a.yaml")
    status = {"phase": "Running", "metrics": {"accuracy": 0.97}, "conditions": [{"type": "Ready", "message": "läuft"}]}
    world.store.save_status(KEY, {"phase": "Pending"})
    world.store.save_status(KEY, status)
    row = world.peer().experiment(KEY)
    assert row is not None
    assert row.status == status


def test_what_is_no_json_is_refused(world: World) -> None:
    run = world.begun()
    for bad in (float("nan"), float("inf"), object()):
        for write in (
            lambda bad=bad: world.store.save_status(KEY, {"x": bad}),
            lambda bad=bad: world.store.begin_run(replace(run, run_id="new", launch={"x": bad}), "process"),
            lambda bad=bad: world.store.advance(run.run_id, 1, AttemptState.CREATED, data={"x": bad}),
            lambda bad=bad: world.store.finish_run(run.run_id, "failed", LATER, {"x": bad}),
        ):
            with pytest.raises((TypeError, ValueError)):
                write()
    assert world.store.run("new") is None
    assert world.store.run(run.run_id) == run
    assert world.store.attempts(run.run_id)[0].state is AttemptState.INTENDED


def test_a_run_begins_once_with_its_first_attempt(world: World) -> None:
    run = world.run()
    attempt = world.store.begin_run(run, "process")
    assert (attempt.run_id, attempt.number, attempt.state) == (run.run_id, 1, AttemptState.INTENDED)
    assert (attempt.created_at, attempt.runtime) == (run.created_at, "process")
    assert world.store.begin_run(replace(run, plan=b"other", uid="nobody"), "docker") == attempt
    assert world.peer().run(run.run_id) == run
    assert list(world.peer().attempts(run.run_id)) == [attempt]


def test_a_run_of_an_unknown_experiment_is_refused_whole(world: World) -> None:
    run = replace(world.run(), uid="nobody")
    with pytest.raises(LookupError):
        world.store.begin_run(run, "process")
    assert world.store.run(run.run_id) is None
    assert list(world.store.attempts(run.run_id)) == []


def test_a_begun_run_is_active_whatever_the_caller_says(world: World) -> None:
    run = world.run()
    world.store.begin_run(
        replace(run, state="succeeded", cancel_requested=True, ended_at=LATER, result={"x": 1}), "process"
    )
    assert world.store.run(run.run_id) == run


def test_an_attempt_moves_forward_only(world: World) -> None:
    run = world.begun()
    created = world.store.advance(run.run_id, 1, AttemptState.CREATED, data={"gpus": ["a"]})
    assert created.state is AttemptState.CREATED
    exited = world.store.advance(
        run.run_id, 1, AttemptState.EXITED, started_at="s", ended_at="e", exit_code=3, reason="NonZeroExit",
        message="3", data={"usage": {"max_rss": 1}},
    )  # fmt: skip
    assert (exited.exit_code, exited.reason, exited.started_at, exited.ended_at) == (3, "NonZeroExit", "s", "e")
    assert exited.data == {"gpus": ["a"], "usage": {"max_rss": 1}}
    for state in list(AttemptState)[:4]:
        assert world.store.advance(run.run_id, 1, state, exit_code=0, message="no") == exited
    assert list(world.peer().attempts(run.run_id)) == [exited]


def test_advance_refuses_what_is_not_there(world: World) -> None:
    run = world.begun()
    for run_id, number in (("nobody", 1), (run.run_id, 2), (run.run_id, 0)):
        for state in (AttemptState.INTENDED, AttemptState.CREATED):
            with pytest.raises(LookupError):
                world.store.advance(run_id, number, state)
    with pytest.raises(TypeError):
        world.store.advance(run.run_id, 1, AttemptState.CREATED, number=7)


def test_a_further_attempt_follows_one_that_has_exited(world: World) -> None:
    run = world.begun()
    assert world.store.begin_attempt(run.run_id, "process").number == 1, "the intended one is the one to start"
    for state in (AttemptState.CREATED, AttemptState.STARTED):
        world.store.advance(run.run_id, 1, state)
        with pytest.raises(ValueError, match="may still run"):
            world.store.begin_attempt(run.run_id, "process")
    world.store.advance(run.run_id, 1, AttemptState.EXITED, reason="NodeLost")
    world.clock.advance(5)
    second = world.store.begin_attempt(run.run_id, "docker")
    assert (second.number, second.state, second.runtime) == (2, AttemptState.INTENDED, "docker")
    assert second.created_at == "2026-01-01T12:00:05.000Z"
    assert world.store.begin_attempt(run.run_id, "docker") == second
    assert world.store.begin_run(run, "process") == second, "a run that exists answers with its newest attempt"
    with pytest.raises(LookupError):
        world.store.begin_attempt("nobody", "process")


def test_a_finished_run_is_never_changed_again(world: World) -> None:
    run = world.begun()
    world.store.advance(run.run_id, 1, AttemptState.EXITED, reason="NodeLost")
    world.store.begin_attempt(run.run_id, "process")
    world.store.finish_run(run.run_id, "failed", LATER, {"trust": "L1"})
    finished = world.store.run(run.run_id)
    attempts = list(world.store.attempts(run.run_id))
    assert finished == replace(run, state="failed", ended_at=LATER, result={"trust": "L1"})
    assert [row.state for row in attempts] == [AttemptState.RECORDED] * 2

    world.store.finish_run(run.run_id, "succeeded", "never", {})
    assert world.store.advance(run.run_id, 2, AttemptState.RECORDED, exit_code=0) == attempts[1]
    assert not world.store.request_cancel(run.run_id)
    assert world.store.begin_run(run, "process") == attempts[1]
    with pytest.raises(ValueError, match="over"):
        world.store.begin_attempt(run.run_id, "process")
    assert world.peer().run(run.run_id) == finished
    assert list(world.peer().attempts(run.run_id)) == attempts


def test_finish_refuses_what_is_no_end(world: World) -> None:
    run = world.begun()
    for state in ("active", "Succeeded", ""):
        with pytest.raises(ValueError, match=r"end"):
            world.store.finish_run(run.run_id, state, LATER, {})
    with pytest.raises(LookupError):
        world.store.finish_run("nobody", "failed", LATER, {})
    assert world.store.run(run.run_id) == run


def test_a_run_of_which_nothing_was_created_can_be_withdrawn(world: World) -> None:
    run = world.begun()
    assert world.store.withdraw(run.run_id)
    assert (world.store.run(run.run_id), world.store.attempts(run.run_id), world.store.count("active")) == (None, [], 0)
    assert not world.store.withdraw(run.run_id)
    assert world.store.begin_run(run, "process").number == 1
    world.store.advance(run.run_id, 1, AttemptState.CREATED)
    assert not world.store.withdraw(run.run_id)
    world.store.advance(run.run_id, 1, AttemptState.EXITED, reason="NodeLost")
    world.store.begin_attempt(run.run_id, "process")
    assert not world.store.withdraw(run.run_id), "the first attempt is history"
    world.store.finish_run(run.run_id, "failed", LATER, {})
    assert not world.store.withdraw(run.run_id)
    assert world.store.run(run.run_id) is not None


def test_runs_are_listed_newest_first_without_their_bytes(world: World) -> None:
    for run_id, created_at in (("a", "2026-01-01"), ("c", "2026-01-03"), ("b", "2026-01-02"), ("d", "2026-01-02")):
        world.store.begin_run(world.run(run_id, created_at=created_at), "process")
    world.store.begin_run(world.run("e", key=OTHER, created_at="2026-01-04"), "process")
    world.store.finish_run("c", "succeeded", LATER, {"trust": "L1"})
    world.store.finish_run("a", "cancelled", LATER, {})
    ids = [row.run_id for row in world.store.runs()]
    assert ids == ["e", "c", "d", "b", "a"]
    assert all(row.plan == row.spec == b"" and row.launch for row in world.store.runs())
    uid = world.store.observe(KEY, "sha256:1", "specs/digits.yaml").uid
    assert [row.run_id for row in world.store.runs(uid=uid, limit=3)] == ["c", "d", "b"]
    assert [row.run_id for row in world.store.runs(active=True)] == ["e", "d", "b"]
    assert [row.run_id for row in world.store.runs(active=False)] == ["c", "a"]
    assert [row.run_id for row in world.store.runs(uid=uid, active=True, limit=1)] == ["d"]
    assert [world.store.count(state) for state in ("active", "succeeded", "failed", "cancelled")] == [3, 1, 0, 1]
    assert world.store.run("nobody") is None


def test_a_cancel_request_reaches_the_reconciler(world: World) -> None:
    run = world.begun()
    assert world.peer().request_cancel(run.run_id)
    assert world.peer().request_cancel(run.run_id)
    assert world.store.run(run.run_id) == replace(run, cancel_requested=True)
    assert not world.store.request_cancel("nobody")


def test_approvals_are_kept_by_experiment(world: World) -> None:
    assert world.store.approvals("uid") is None
    for plan in ("sha256:b", "sha256:a", "sha256:b"):
        world.store.approve("uid", plan, "alice")
    assert world.peer().approvals("uid") == ("sha256:b", "sha256:a")
    assert world.store.approvals("other") is None
    assert world.peer().approvals_given() == 2


def test_one_holder_has_a_lease_until_it_is_gone(world: World) -> None:
    first, second = world.store, world.peer()
    lease = first.acquire("reconciler", "one", 30)
    assert lease is not None
    assert second.acquire("reconciler", "two", 30) is None
    assert second.acquire("reconciler", "one", 30) is None, "another process, though it calls itself the same"
    assert first.acquire("reconciler", "two", 30) is None
    assert second.acquire("other", "two", 30) is not None, "another name is another lease"
    world.clock.advance(1000)
    again = first.acquire("reconciler", "one", 30)
    assert again is not None
    assert again.token == lease.token
    assert second.acquire("reconciler", "two", 30) is None
    first.close()
    taken = second.acquire("reconciler", "two", 30)
    assert taken is not None
    assert taken.token > lease.token
    assert world.peer().acquire("reconciler", "one", 30) is None


def test_a_wall_clock_that_jumps_changes_no_lease(world: World) -> None:
    world.store.acquire("reconciler", "one", 30)
    world.clock.jump_wall(10_000_000)
    assert world.peer().acquire("reconciler", "two", 30) is None
    world.clock.jump_wall(-20_000_000)
    assert world.peer().acquire("reconciler", "two", 30) is None


def test_a_released_lease_is_free_and_tokens_go_on_growing(world: World) -> None:
    lease = world.store.acquire("reconciler", "one", 30)
    assert lease is not None
    world.store.release(lease)
    world.store.release(lease)
    other = world.peer()
    second = other.acquire("reconciler", "two", 30)
    assert second is not None
    assert second.token > lease.token
    world.store.release(lease)
    assert world.store.acquire("reconciler", "one", 30) is None, "a stale release frees nothing"
    other.release(second)
    again = world.store.acquire("reconciler", "one", 30)
    assert again is not None
    assert again.token > second.token


def test_who_lost_the_lease_can_write_nothing(world: World) -> None:
    store, run = world.store, world.begun()
    lease = store.acquire("reconciler", "one", 30)
    store.set_fence(lease)
    store.advance(run.run_id, 1, AttemptState.CREATED)
    assert lease is not None
    world.peer().release(lease)  # by force: its holder still lives
    world.store.release(lease)
    assert world.peer().acquire("reconciler", "two", 30) is not None
    before = (store.run(run.run_id), list(store.attempts(run.run_id)), list(store.experiments()))
    writes: list[Callable[[], object]] = [
        lambda: store.observe(OTHER, "sha256:1", "x"),
        lambda: store.observe(KEY, "sha256:9", "x"),
        lambda: store.mark_deleted(KEY),
        lambda: store.save_status(KEY, {"phase": "Failed"}),
        lambda: store.begin_run(replace(run, run_id="new"), "process"),
        lambda: store.begin_attempt(run.run_id, "process"),
        lambda: store.advance(run.run_id, 1, AttemptState.EXITED),
        lambda: store.finish_run(run.run_id, "failed", LATER, {}),
        lambda: store.request_cancel(run.run_id),
        lambda: store.approve(run.uid, "sha256:p", "eve"),
    ]
    for write in writes:
        with pytest.raises(FencedError):
            write()
    assert (store.run(run.run_id), list(store.attempts(run.run_id)), list(store.experiments())) == before
    assert world.peer().request_cancel(run.run_id), "who has no fence is not fenced"
    store.set_fence(None)
    store.advance(run.run_id, 1, AttemptState.EXITED)


def test_a_released_lease_fences_too(world: World) -> None:
    lease = world.store.acquire("reconciler", "one", 30)
    assert lease is not None
    world.store.set_fence(lease)
    world.store.release(lease)
    with pytest.raises(FencedError):
        world.store.observe(KEY, "sha256:1", "x")


def test_a_store_has_one_id_and_a_closed_one_says_so(world: World) -> None:
    assert world.store.store_id
    assert world.peer().store_id == world.store.store_id
    world.store.close()
    world.store.close()
    for use in (lambda: world.store.observe(KEY, "sha256:1", "x"), lambda: world.store.experiment(KEY)):
        with pytest.raises(StoreError, match="closed"):
            use()
