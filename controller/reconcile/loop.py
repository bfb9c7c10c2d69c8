"""The standalone reconciler's loop: look at the source, keep the queue, run the workers, keep the lease.

Promises: every event only says "look at this key again"; work is O(changed); an idle loop parses nothing and writes
nothing; a lost lease stops all writing. Does not: decide anything about a key (reconciler.py does).
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from controller.api.status import ExperimentStatus, Phase
from controller.ports.runtime import RuntimeState
from controller.ports.source import Change, Key
from controller.ports.store import FINAL, FencedError, Lease, StoreError, StoreReplacedError
from controller.reconcile.files import run_files
from controller.reconcile.outcome import Outcome, Stalled, Waiting
from controller.reconcile.queue import WorkQueue
from controller.reconcile.reconciler import Reconciler

log = logging.getLogger(__name__)

LEASE_NAME = "reconciler"
LEASE_SECONDS = 15.0
FIRST_PAUSE = 2.0
WAITING_LONGEST = 30.0
STALLED_LONGEST = 300.0
"""Seconds: the first and the longest pauses before a key is looked at again, in case somebody changed something."""

Listener = Callable[[Key, Outcome, ExperimentStatus | None], None]


@dataclass(slots=True)
class Counters:
    """What the loop did; for tests, benchmarks and the log."""

    parsed: int = 0
    reconciled: int = 0
    rescans: int = 0


@dataclass(slots=True)
class Loop:
    """One reconciler process."""

    reconciler: Reconciler
    holder: str
    """Who holds the lease: host, boot id, pid, command."""
    only: frozenset[Key] | None = None
    """Reconcile these keys only (`ml run`); None: all."""
    workers: int = 4
    rescan_seconds: float = 60.0
    listener: Listener = lambda _key, _outcome, _status: None
    on_change: Callable[[Change], None] = lambda _change: None
    counters: Counters = field(default_factory=Counters)
    _stop: threading.Event = field(default_factory=threading.Event)
    _hints: set[str] = field(default_factory=set)
    _hinted: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _active: set[Key] = field(default_factory=set)
    """Keys with a run that is under way."""
    _erring: set[Key] = field(default_factory=set)
    """Those among them whose last pass ended in an error: not looked at before their backoff ends."""
    _pauses: dict[Key, int] = field(default_factory=dict)
    _told: dict[str, str] = field(default_factory=dict)
    _recheck_after: float | None = None
    """What the first look asked for."""
    _looked: threading.Event = field(default_factory=threading.Event)
    _fenced: StoreError | None = None
    queue: WorkQueue = field(init=False)

    def __post_init__(self) -> None:
        self.queue = WorkQueue(self.reconciler.ports.clock.monotonic)
        self.reconciler.ports.line.call = self._add

    def stop(self) -> None:
        """End the loop; runs go on without it."""
        self._stop.set()
        self._hinted.set()
        self.queue.close()

    def stop_when_settled(self) -> None:
        """Stop once every key was looked at and none runs, is worked on, or waits for room."""
        self._looked.wait()
        while not self._stop.wait(0.1):
            with self._lock:
                active = bool(self._active)
            if not active and not self.reconciler.ports.line.keys and not self.queue.busy():
                return self.stop()
        return None

    def run(self, lease: Lease) -> None:
        """Work until `stop` is called. The caller holds the lease and releases it afterwards.

        Raises:
            FencedError: another reconciler took over.
            StoreReplacedError: the store was removed.
        """
        ports = self.reconciler.ports
        ports.store.set_fence(lease)
        stop_watching = ports.source.watch(self._notify)
        threads = [threading.Thread(target=self._work, name=f"worker-{n}", daemon=True) for n in range(self.workers)]
        threads.append(threading.Thread(target=self._renew, args=(lease,), name="lease", daemon=True))
        # Not joined: it only waits and adds keys to a queue that is closed by then.
        threading.Thread(target=self._wake, name="wake", daemon=True).start()
        try:
            self._first_look()
            self._looked.set()
            for thread in threads:
                thread.start()
            self._watch_source()
        finally:
            self.stop()
            stop_watching()
            for thread in threads:
                if thread.ident is not None:
                    thread.join(timeout=10)
        if self._fenced is not None:
            raise self._fenced

    def _first_look(self) -> None:
        """Recovery: everything in the source, every active run, and strays of ours that no record knows."""
        ports = self.reconciler.ports
        change = ports.source.poll(None)
        self._recheck_after = change.recheck_after
        self._absorb(change)
        for key in ports.source.keys():  # noqa: SIM118  # a source is no mapping
            self._add(key)
        for run in ports.store.runs(active=True):
            self._add(run.key)
        for seen in ports.runtime.list(ports.store.store_id):
            known = ports.store.run(seen.run_id)
            if known is None or known.state != "active":
                ports.events.emit(
                    seen.run_id, "Warning", "StrayStopped", f"{seen.name} runs with our label but no active record"
                )
                if seen.state is RuntimeState.RUNNING:
                    ports.runtime.stop(seen.name, run_files(ports.base, seen.run_id).folder, grace=0.0)

    def _watch_source(self) -> None:
        ports = self.reconciler.ports
        due = ports.clock.monotonic() + self.rescan_seconds
        first = self._recheck_after
        recheck = ports.clock.monotonic() + first if first is not None else None
        while not self._stop.is_set():
            now = ports.clock.monotonic()
            until = min(due, recheck) if recheck is not None else due
            self._hinted.wait(max(until - now, 0.0))
            if self._stop.is_set():
                return
            hints = self._take_hints()
            now = ports.clock.monotonic()
            full = now >= due or (recheck is not None and now >= recheck)
            if not hints and not full:
                continue
            try:
                change = ports.source.poll(None if full else hints)
                self._absorb(change)
            except FINAL:
                raise
            except Exception as error:  # noqa: BLE001  # a look that failed is made again, whole
                log.warning("the specs could not be looked at: %s; again in %.0f s", error, FIRST_PAUSE)
                due = now + FIRST_PAUSE
                continue
            if full:
                self.counters.rescans += 1
                due = now + self.rescan_seconds
            recheck = now + change.recheck_after if change.recheck_after is not None else None

    def _absorb(self, change: Change) -> None:
        self.counters.parsed += change.parsed
        self.on_change(change)
        self._tell(change)
        if self.reconciler.ports.standing.changed(change.keys):
            self._look_again()
        for key in change.keys:
            with self._lock:
                self._pauses.pop(key, None)
            self._add(key)

    def _tell(self, change: Change) -> None:
        """Events for what belongs to no key: files that became invalid, deletions that are withheld."""
        events = self.reconciler.ports.events
        for file, problems in change.invalid.items():
            if self._told.get(file) != str(problems[0]):
                events.emit(file, "Warning", "InvalidSpec", str(problems[0]))
        if change.stalled and self._told.get("") != change.stalled:
            events.emit("source", "Warning", change.stalled, change.message)
        self._told = {file: str(problems[0]) for file, problems in change.invalid.items()} | {"": change.stalled}

    def _add(self, key: Key) -> None:
        if key.kind == "Experiment" and (self.only is None or key in self.only):
            self.queue.add(key)

    def _notify(self, hints: frozenset[str]) -> None:
        with self._lock:
            self._hints |= hints
        self._hinted.set()

    def _take_hints(self) -> frozenset[str]:
        with self._lock:
            hints = frozenset(self._hints)
            self._hints.clear()
            self._hinted.clear()
        return hints

    def _work(self) -> None:
        while not self._stop.is_set():
            key = self.queue.get()
            if key is None:
                continue
            try:
                outcome, status = self.reconciler.reconcile(key)
                self.counters.reconciled += 1
                self._plan_next(key, outcome, status)
                self.listener(key, outcome, status)
            except FINAL as error:
                self._fenced = error
                self.stop()
            except Exception:
                log.exception("%s: the reconciler itself failed; again in 30 s", key)
                self.queue.add_after(key, 30.0)
            finally:
                self.queue.done(key)

    def _plan_next(self, key: Key, outcome: Outcome, status: ExperimentStatus | None) -> None:
        running = status is not None and status.phase in (Phase.LAUNCHING, Phase.RUNNING)
        self._remember(self._active, key, running)
        waiting = outcome if isinstance(outcome, Waiting) else None
        self._remember(self._erring, key, running and waiting is not None and waiting.failed)
        self._leave_line(key, waiting is not None and waiting.reason == "WaitingForCapacity")
        if isinstance(outcome, Stalled) or (waiting and waiting.world):
            with self._lock:
                count = self._pauses.get(key, 0)
                self._pauses[key] = count + 1
            longest = STALLED_LONGEST if isinstance(outcome, Stalled) else WAITING_LONGEST
            self.queue.add_after(key, min(FIRST_PAUSE * 2 ** min(count, 16), longest))
        elif waiting:
            self.queue.add_after(key, waiting.after)

    def _leave_line(self, key: Key, waits: bool) -> None:
        """A key that no longer waits for room makes way for those behind it."""
        ports = self.reconciler.ports
        with ports.placing:
            if key in ports.line.keys and not waits:
                ports.line.leave(key)
                ports.line.serve()

    def _remember(self, keys: set[Key], key: Key, member: bool) -> None:
        """Keep `key` in the set or not."""
        with self._lock:
            (keys.add if member else keys.discard)(key)

    def _wake(self) -> None:
        """Look at active runs as soon as one may have ended, and at what was refused as soon as its world moved."""
        runtime, before = self.reconciler.ports.runtime, self._world()
        while not self._stop.is_set():
            runtime.wait(1.0)
            with self._lock:
                active = tuple(self._active - self._erring)
            for key in active:
                self._add(key)
            now = self._world()
            if now != before:
                before = now
                self._look_again()

    def _world(self) -> tuple[str, int]:
        """What a refused spec may have waited for: another commit, an approval. Cheap: this is asked every second."""
        ports = self.reconciler.ports
        try:
            return ports.inputs.fingerprint(), ports.store.approvals_given()
        except (OSError, StoreError):
            return "", -1

    def _look_again(self) -> None:
        """Look at everything now that was refused, waits for the world, or waits for room."""
        with self._lock:
            paused = tuple(self._pauses)
            self._pauses.clear()
        for key in paused:
            self._add(key)
        with self.reconciler.ports.placing:
            self.reconciler.ports.line.serve()

    def _renew(self, lease: Lease) -> None:
        store = self.reconciler.ports.store
        while not self._stop.wait(LEASE_SECONDS / 3):
            try:
                kept = store.acquire(LEASE_NAME, self.holder, LEASE_SECONDS)
            except StoreReplacedError as error:
                self._fenced = error
                self.stop()
                return
            except (
                OSError,
                StoreError,
            ) as error:  # locked, or the disk is full; the fence guards every write meanwhile
                log.warning("the lease of the store could not be renewed: %s; trying again", error)
                continue
            if kept is None or kept.token != lease.token:
                self._fenced = FencedError("another reconciler holds the lease of this store now")
                self.stop()
