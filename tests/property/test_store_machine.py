"""Any order of calls leaves the SQLite store and the fake in the same state, with the same answers and errors."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from controller.ports.source import Key
from controller.ports.store import AttemptState, Lease, RunRow, Store
from controller.stores.sqlite import SqliteStore
from tests.fakes.clock import FakeClock
from tests.fakes.store import FakeStore

KEYS = [Key("Experiment", "default", name) for name in ("a", "b")]
RUNS = ["r1", "r2", "r3"]
HOLDERS = ["one", "two"]
SHARED_MEMORY = Path("/dev/shm")  # fsync is free there; what it is worth is measured elsewhere

keys = st.sampled_from(KEYS)
run_ids = st.sampled_from(RUNS)
who = st.sampled_from([0, 1])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
json_values = st.dictionaries(texts, st.none() | st.integers(-9, 9) | st.floats(allow_nan=False) | texts, max_size=3)


class StoreMachine(RuleBasedStateMachine):
    """Two reconcilers share a real store, two share a fake one; each call goes to both."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None))
        self.clock = FakeClock()
        self.real: list[Store] = [self.open(), self.open()]
        fake = FakeStore(self.clock)
        self.fake: list[Store] = [fake, fake.peer()]

    def open(self) -> SqliteStore:
        """One more opener of the real store."""
        return SqliteStore(self.folder / "state.db", self.clock, boot_id="boot")

    def teardown(self) -> None:
        """Leave nothing."""
        for store in self.real:
            store.close()
        shutil.rmtree(self.folder)

    def both(self, who: int, call: Callable[[Store], Any]) -> Any:
        """The same answer or the same kind of error; uids are random in one of them."""
        answers = [_outcome(call, stores[who]) for stores in (self.real, self.fake)]
        assert _plain(answers[0]) == _plain(answers[1])
        return answers

    def uid(self, store: Store, key: Key) -> str:
        """Of this store; some text when it was never observed."""
        row = store.experiment(key)
        return "nobody" if row is None else row.uid

    @rule(who=who, key=keys, sha=st.sampled_from(["s1", "s2"]), place=st.sampled_from(["x", "y"]))
    def observe(self, who: int, key: Key, sha: str, place: str) -> None:
        self.both(who, lambda store: store.observe(key, sha, place))

    @rule(who=who, key=keys)
    def mark_deleted(self, who: int, key: Key) -> None:
        self.both(who, lambda store: store.mark_deleted(key))

    @rule(who=who, key=keys, status=json_values)
    def save_status(self, who: int, key: Key, status: dict[str, Any]) -> None:
        self.both(who, lambda store: store.save_status(key, status))

    @rule(who=who, key=keys, run_id=run_ids, day=st.integers(1, 3), launch=json_values)
    def begin_run(self, who: int, key: Key, run_id: str, day: int, launch: dict[str, Any]) -> None:
        run = RunRow(run_id, "", key, "p", "", "active", f"2026-01-0{day}", b"plan", b"spec", launch)
        self.both(who, lambda store: store.begin_run(replace(run, uid=self.uid(store, key)), "process"))

    @rule(who=who, run_id=run_ids)
    def begin_attempt(self, who: int, run_id: str) -> None:
        self.both(who, lambda store: store.begin_attempt(run_id, "docker"))

    @rule(who=who, run_id=run_ids, number=st.integers(1, 3), state=st.sampled_from(AttemptState), data=json_values)
    def advance(self, who: int, run_id: str, number: int, state: AttemptState, data: dict[str, Any]) -> None:
        values = {"exit_code": len(data), "reason": "R", "data": data} if data else {}
        self.both(who, lambda store: store.advance(run_id, number, state, **values))

    @rule(
        who=who,
        run_id=run_ids,
        state=st.sampled_from(["succeeded", "failed", "cancelled", "active"]),
        result=json_values,
    )
    def finish_run(self, who: int, run_id: str, state: str, result: dict[str, Any]) -> None:
        self.both(who, lambda store: store.finish_run(run_id, state, "later", result))

    @rule(who=who, run_id=run_ids)
    def withdraw(self, who: int, run_id: str) -> None:
        self.both(who, lambda store: store.withdraw(run_id))

    @rule(who=who, run_id=run_ids)
    def request_cancel(self, who: int, run_id: str) -> None:
        self.both(who, lambda store: store.request_cancel(run_id))

    @rule(who=who, key=keys, plan=st.sampled_from(["p1", "p2"]))
    def approve(self, who: int, key: Key, plan: str) -> None:
        self.both(who, lambda store: store.approve(key.name, plan, "alice"))

    @rule(who=who, holder=st.sampled_from(HOLDERS), fence=st.booleans())
    def acquire(self, who: int, holder: str, fence: bool) -> None:
        leases = self.both(who, lambda store: store.acquire("lease", holder, 10.0))
        if fence:
            for stores, (_, lease) in zip((self.real, self.fake), leases, strict=True):
                stores[who].set_fence(lease)

    @rule(who=who, holder=st.sampled_from(HOLDERS), token=st.integers(1, 4))
    def release(self, who: int, holder: str, token: int) -> None:
        self.both(who, lambda store: store.release(Lease("lease", holder, token, 0.0)))

    @rule(seconds=st.sampled_from([1.0, 9.5, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(who=who)
    def crash_and_reopen(self, who: int) -> None:
        """The fence is gone with the process and its leases are free, all else stays."""
        self.real[who].close()
        self.real[who] = self.open()
        gone, self.fake[who] = self.fake[who], self.fake[who].peer()
        gone.close()

    @invariant()
    def same_state(self) -> None:
        self.both(0, _everything)


def _outcome(call: Callable[[Store], Any], store: Store) -> tuple[str, Any]:
    try:
        return "returned", call(store)
    except Exception as error:  # noqa: BLE001  # any error is an answer, and both must give the same
        return type(error).__name__, None


def _everything(store: Store) -> Any:
    runs = [store.run(run_id) for run_id in RUNS]
    return (
        [store.experiment(key) for key in KEYS],
        list(store.experiments()),
        runs,
        list(store.runs()),
        list(store.runs(active=True, limit=2)),
        [list(store.attempts(run_id)) for run_id in RUNS],
        [store.approvals(key.name) for key in KEYS],
        [store.count(state) for state in ("active", "succeeded", "failed", "cancelled")],
    )


def _plain(value: Any) -> Any:
    """Without uids."""
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [_plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: item for name, item in asdict(value).items() if name != "uid"}
    return value


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
