"""A store in memory: what the port says, as plainly as possible, for tests of those who use a store.

`writes` counts transactions, so that a test can say "nothing was written". `peer()` is a second store object on the
same memory, as another process would open it.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from controller.ports.clock import Clock
from controller.ports.source import Key
from controller.ports.store import (
    ORDER,
    AttemptRow,
    AttemptState,
    ExperimentRow,
    FencedError,
    Lease,
    RunRow,
    Store,
    StoreError,
)
from tests.fakes.clock import FakeClock

OVER = ("succeeded", "failed", "cancelled")
CHANGEABLE = {"started_at", "ended_at", "exit_code", "reason", "message", "data"}


@dataclass
class _Memory:
    experiments: dict[Key, ExperimentRow] = field(default_factory=dict)
    runs: dict[str, RunRow] = field(default_factory=dict)
    attempts: dict[str, list[AttemptRow]] = field(default_factory=dict)
    approvals: dict[str, list[str]] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    owners: dict[str, "tuple[str, FakeStore]"] = field(default_factory=dict)
    """Whose each lease is, and which store object holds it."""
    writes: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)


def _json(value: Mapping[str, Any]) -> dict[str, Any]:
    """A copy, as it would come back from disk; ValueError or TypeError for what is no JSON."""
    copy: dict[str, Any] = json.loads(json.dumps(value, allow_nan=False))
    return copy


class FakeStore(Store):
    """One view of the memory, with its own fence."""

    store_id = "fake-store"

    def __init__(self, clock: Clock | None = None, memory: _Memory | None = None) -> None:
        self._clock = clock or FakeClock()
        self._memory = memory or _Memory()
        self._fence: Lease | None = None
        self._closed = False

    def peer(self) -> "FakeStore":
        """Another opener of the same store."""
        return FakeStore(self._clock, self._memory)

    @property
    def writes(self) -> int:
        """Transactions so far, by whomever."""
        return self._memory.writes

    def observe(self, key: Key, spec_sha256: str, place: str) -> ExperimentRow:
        memory = self._open()
        row = memory.experiments.get(key)
        if row is None:
            new = ExperimentRow(f"uid-{len(memory.experiments) + 1}", key, 1, spec_sha256, place)
        else:
            generation = row.generation + (row.spec_sha256 != spec_sha256)
            new = replace(row, generation=generation, spec_sha256=spec_sha256, place=place, deleted=False)
        if new != row:
            self._write()
            memory.experiments[key] = new
        return new

    def experiment(self, key: Key) -> ExperimentRow | None:
        return self._open().experiments.get(key)

    def experiments(self) -> Sequence[ExperimentRow]:
        rows = self._open().experiments.values()
        return sorted((row for row in rows if not row.deleted), key=lambda row: row.key)

    def mark_deleted(self, key: Key) -> None:
        memory = self._open()
        self._write()
        if key in memory.experiments:
            memory.experiments[key] = replace(memory.experiments[key], deleted=True)

    def save_status(self, key: Key, status: Mapping[str, Any]) -> None:
        memory = self._open()
        status = _json(status)
        if key not in memory.experiments:
            raise LookupError(f"no experiment {key}")
        if memory.experiments[key].status != status:
            self._write()
            memory.experiments[key] = replace(memory.experiments[key], status=status)

    def begin_run(self, run: RunRow, runtime: str) -> AttemptRow:
        memory = self._open()
        self._write()
        run = replace(run, launch=_json(run.launch))
        if run.run_id not in memory.runs:
            if run.uid not in {row.uid for row in memory.experiments.values()}:
                raise LookupError(f"no experiment has the uid {run.uid}")
            memory.runs[run.run_id] = replace(run, state="active", cancel_requested=False, ended_at=None, result={})
            memory.attempts[run.run_id] = [
                AttemptRow(run.run_id, 1, AttemptState.INTENDED, run.created_at, runtime=runtime)
            ]
        return memory.attempts[run.run_id][-1]

    def begin_attempt(self, run_id: str, runtime: str) -> AttemptRow:
        memory = self._open()
        self._write()
        newest = self._attempts(run_id)[-1]
        if memory.runs[run_id].state != "active":
            raise ValueError(f"run {run_id} is over")
        if newest.state in {AttemptState.CREATED, AttemptState.STARTED}:
            raise ValueError(f"attempt {newest.number} of run {run_id} may still run")
        if newest.state is not AttemptState.INTENDED:
            now = self._clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
            newest = AttemptRow(run_id, newest.number + 1, AttemptState.INTENDED, now, runtime=runtime)
            memory.attempts[run_id].append(newest)
        return newest

    def advance(self, run_id: str, number: int, state: AttemptState, **values: Any) -> AttemptRow:
        memory = self._open()
        if unknown := set(values) - CHANGEABLE:
            raise TypeError(f"an attempt has no {unknown}")
        if state is not AttemptState.INTENDED:
            self._write()
        rows = self._attempts(run_id)
        if not 1 <= number <= len(rows):
            raise LookupError(f"run {run_id} has no attempt {number}")
        row = rows[number - 1]
        if memory.runs[run_id].state == "active" and ORDER.index(state) > ORDER.index(row.state):
            data = _json({**row.data, **values.pop("data", {})})
            row = rows[number - 1] = replace(row, state=state, data=data, **values)
        return row

    def finish_run(self, run_id: str, state: str, ended_at: str, result: Mapping[str, Any]) -> None:
        memory = self._open()
        if state not in OVER:
            raise ValueError(f"{state!r} is no end of a run")
        result = _json(result)
        self._write()
        rows = self._attempts(run_id)
        if memory.runs[run_id].state == "active":
            memory.runs[run_id] = replace(memory.runs[run_id], state=state, ended_at=ended_at, result=result)
            rows[:] = [replace(row, state=AttemptState.RECORDED) for row in rows]

    def withdraw(self, run_id: str) -> bool:
        memory = self._open()
        self._write()
        run, rows = memory.runs.get(run_id), memory.attempts.get(run_id, [])
        if run is None or run.state != "active" or [row.state for row in rows] != [AttemptState.INTENDED]:
            return False
        del memory.runs[run_id], memory.attempts[run_id]
        return True

    def run(self, run_id: str) -> RunRow | None:
        return self._open().runs.get(run_id)

    def runs(self, *, uid: str | None = None, active: bool | None = None, limit: int | None = None) -> Sequence[RunRow]:
        rows = [
            replace(row, plan=b"", spec=b"")
            for row in reversed(self._open().runs.values())
            if uid in {None, row.uid} and active in {None, row.state == "active"}
        ]
        return sorted(rows, key=lambda row: row.created_at, reverse=True)[:limit]

    def attempts(self, run_id: str) -> Sequence[AttemptRow]:
        return list(self._open().attempts.get(run_id, ()))

    def request_cancel(self, run_id: str) -> bool:
        memory = self._open()
        self._write()
        run = memory.runs.get(run_id)
        if run is None or run.state != "active":
            return False
        memory.runs[run_id] = replace(run, cancel_requested=True)
        return True

    def approve(self, uid: str, plan_sha256: str, by: str) -> None:
        memory = self._open()
        self._write()
        plans = memory.approvals.setdefault(uid, [])
        if plan_sha256 not in plans:
            plans.append(plan_sha256)

    def approvals(self, uid: str) -> tuple[str, ...] | None:
        return tuple(self._open().approvals.get(uid, ())) or None

    def approvals_given(self) -> int:
        return sum(map(len, self._open().approvals.values()))

    def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        memory = self._open()
        with memory.lock:
            whose, owner = memory.owners.get(name, ("", self))
            if not owner._closed and whose not in {"", holder}:
                return None
            if not owner._closed and owner is not self:
                return None
            old = memory.leases.get(name, Lease(name, "", 0, 0.0))
            token = old.token if old.holder == holder else old.token + 1
            memory.owners[name] = holder, self
            memory.leases[name] = Lease(name, holder, token, self._clock.monotonic() + ttl)
            return memory.leases[name]

    def release(self, lease: Lease) -> None:
        memory = self._open()
        with memory.lock:
            old = memory.leases.get(lease.name)
            if old is not None and (old.token, old.holder) == (lease.token, lease.holder):
                memory.leases[lease.name] = replace(old, holder="", expires_at=0.0)
            whose, owner = memory.owners.get(lease.name, ("", self))
            if owner is self and whose == lease.holder:
                del memory.owners[lease.name]

    def set_fence(self, lease: Lease | None) -> None:
        self._fence = lease

    def count(self, state: str) -> int:
        return sum(row.state == state for row in self._open().runs.values())

    def close(self) -> None:
        self._closed = True

    def _open(self) -> _Memory:
        if self._closed:
            raise StoreError("the store was closed")
        return self._memory

    def _write(self) -> None:
        fence = self._fence
        if fence is not None:
            newest = self._memory.leases.get(fence.name)
            if newest is None or (newest.token, newest.holder) != (fence.token, fence.holder):
                raise FencedError(f"the lease {fence.name!r} was taken over")
        self._memory.writes += 1

    def _attempts(self, run_id: str) -> list[AttemptRow]:
        if run_id not in self._memory.attempts:
            raise LookupError(f"no run {run_id}")
        return self._memory.attempts[run_id]
