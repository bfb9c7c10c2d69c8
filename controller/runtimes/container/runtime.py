"""The container runtime: attempts as containers of Docker or Podman on this host.

Promises: what ports/runtime.py promises. create and start are idempotent, also when the engine's answer is lost: the
container is looked up by name before anything is tried again, and adopted only with our labels. It is removed only
after its end and its log are on disk. What bears another store's label is never touched.
Does not: build or fetch images (images.py does), or run on an engine of another host.
"""

import os
import resource
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from controller.ports import durable
from controller.ports.clock import Clock
from controller.ports.runtime import AttemptSpec, Observed, Runtime, RuntimeRefusedError, RuntimeState
from controller.runtimes import inside, records
from controller.runtimes.container import facts, launcher, request, vault
from controller.runtimes.container.engine import Engine, EngineError
from controller.runtimes.container.follow import Follower, ended_as
from controller.runtimes.container.state import (
    ATTEMPT,
    CLAIMED,
    EXITED,
    RUN_UID,
    STARTED,
    STOPPED,
    check_labels,
    end_of,
    give_away,
    place_of,
    record_of,
    seen_as,
    stamp,
    store_of,
    time_of,
)
from controller.runtimes.container.watch import Watch

RECORD = durable.register("container.record", "container.json: what was asked for")
CREATE = durable.register("container.create", "the container exists, not yet running")
CLAIM = durable.register("container.claim", "from now on the container may run")
START = durable.register("container.start", "the container runs")
BEGIN = durable.register("container.begin", "started.json: what was observed inside")
STOP = durable.register("container.stop", "stop.json: the request to stop")
EXIT = durable.register("container.exit", "exit.json: how the container ended")
REMOVE = durable.register("container.remove", "the container and its secrets in memory are gone")

PROFILE = Path(__file__).parent / "seccomp.json"


class ContainerRuntime(Runtime):
    """Attempts on one engine; `name` (docker or podman) is the runtime class."""

    def __init__(self, engine: Engine, clock: Clock, home: Path) -> None:
        self.name = engine.kind
        self._engine = engine
        self._clock = clock
        self._home = home
        self._lock = threading.RLock()
        self._followers: dict[str, Follower] = {}
        self._news = threading.Event()
        self._watch = Watch(clock, engine, self._ask_to_end)

    @cached_property
    def _kit(self) -> launcher.Kit:
        return launcher.build(self._home / "launcher")

    @cached_property
    def _rootless(self) -> bool:
        return any("rootless" in option for option in self._engine.info().get("SecurityOptions") or ())

    def close(self) -> None:
        """Let go of everything that is followed; the containers go on."""
        with self._lock:
            for follower in self._followers.values():
                follower.leave()
            self._watch.close()

    def create(self, attempt: AttemptSpec) -> None:
        """Record it and make the container, unless they are there.

        Raises:
            RuntimeRefusedError: see inside.check; ImageNotPinned, UnsafeImage, GpuNotSupported; NotOurs when the
                name is taken.
            OSError: the engine does not answer, or the image is not here.
        """
        inside.check(attempt)
        if "@sha256:" not in attempt.image:
            raise RuntimeRefusedError("ImageNotPinned", f"{attempt.image or 'no image'!r} is not named by digest")
        if attempt.gpus and self.name == "podman":  # its Docker-compatible socket ignores the request in silence
            raise RuntimeRefusedError("GpuNotSupported", "GPUs are given to containers of Docker only")
        place = place_of(attempt.name, attempt.run_dir)
        with self._lock:
            if self._recorded(attempt, place):
                return
            volumes = self._usable_image(attempt.image)
            for path in (place, attempt.results, attempt.checkpoints):
                if path is not None:
                    path.mkdir(parents=True, exist_ok=True)
            give_away(attempt)
            with durable.step(RECORD):
                records.save(str(place), ATTEMPT, record_of(attempt, self._kit))
            vault.fill(attempt)
            body = request.body(attempt, self._request_place(attempt, volumes))
            with durable.step(CREATE):
                self._make(attempt, body)

    def _recorded(self, attempt: AttemptSpec, place: Path) -> bool:
        """Is it created, or over?"""
        if records.load(str(place), EXITED) is not None or records.load(str(place), CLAIMED) is not None:
            return True
        found = self._look(attempt.name)
        if found is None:
            return False
        check_labels(found, attempt)
        if records.load(str(place), ATTEMPT) is None or found["Config"]["Image"] != attempt.image:
            self._engine.remove(attempt.name)  # ours, never started, and not what is asked for now
            return False
        return True

    def _make(self, attempt: AttemptSpec, body: Mapping[str, Any]) -> None:
        try:
            self._engine.create(attempt.name, body)
        except (EngineError, LookupError) as error:
            found = self._look(attempt.name)
            if found is None:
                raise EngineError(str(error)) from error
            check_labels(found, attempt)

    def _look(self, name: str) -> Mapping[str, Any] | None:
        try:
            return self._engine.inspect(name)
        except LookupError:
            return None

    def _usable_image(self, reference: str) -> tuple[str, ...]:
        """The folders that it declares as volumes; refuses what would work on our launcher."""
        try:
            config = self._engine.image(reference).get("Config") or {}
        except LookupError as error:
            raise EngineError(f"the image {reference} is not here; it is fetched before a run is created") from error
        bad = [entry.partition("=")[0] for entry in config.get("Env") or () if entry.startswith("LD_")]
        if bad:
            raise RuntimeRefusedError("UnsafeImage", f"the image sets {', '.join(bad)}, which changes every program")
        return tuple(config.get("Volumes") or ())

    def _request_place(self, attempt: AttemptSpec, volumes: tuple[str, ...]) -> request.Place:
        root = os.getuid() == 0
        hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        profile = self._home / "seccomp.json"
        if self.name == "podman" and not profile.exists():
            profile.write_bytes(PROFILE.read_bytes())
        return request.Place(
            engine=self.name,
            user=f"{RUN_UID}:{RUN_UID}" if root else f"{os.getuid()}:{os.getgid()}",
            keep_id=self.name == "podman" and not root and self._rootless,
            kit=self._kit,
            seccomp=str(profile) if self.name == "podman" else PROFILE.read_text(),
            processes=hard,
            secrets=vault.environment_file(attempt.name) if attempt.secrets else None,
            volumes=volumes,
        )

    def start(self, attempt: AttemptSpec) -> None:
        """Start the container unless it ran before, and follow it.

        Raises:
            LookupError: it was never created.
            OSError: the engine does not answer, or cannot start it.
        """
        place = place_of(attempt.name, attempt.run_dir)
        with self._lock:
            if records.load(str(place), ATTEMPT) is None:
                raise LookupError(f"{attempt.name} was not created")
            found = None if records.load(str(place), EXITED) else self._look(attempt.name)
            if found is not None and found["State"]["Status"] in ("created", "configured", "initialized"):
                vault.fill(attempt)
                with durable.step(CLAIM):
                    records.save(str(place), CLAIMED, {"container": found["Id"]})
                with durable.step(START):
                    self._start(attempt.name)
        self.inspect(attempt.name, attempt.run_dir)

    def _start(self, name: str) -> None:
        try:
            self._engine.start(name)
        except (EngineError, LookupError) as error:
            found = self._look(name)
            if found is None or found["State"]["Status"] in ("created", "configured", "initialized"):
                raise EngineError(str(error)) from error

    def inspect(self, name: str, run_dir: Path) -> Observed:
        """The record of its end, else what the engine says; an end is recorded as soon as its log is complete."""
        place = str(place_of(name, run_dir))
        record = records.load(place, ATTEMPT)
        if record is None or record.get("name") != name:
            return Observed(name, RuntimeState.ABSENT)
        ended = records.load(place, EXITED)
        if ended is not None:
            return seen_as(record, RuntimeState(str(ended["state"])), ended)
        found = self._look(name)
        started = records.load(place, STARTED) or {}
        if found is None:
            if records.load(place, CLAIMED) is None:
                return Observed(name, RuntimeState.ABSENT)
            loss = {"reason": "RuntimeLost", "message": "the container is gone, and nobody saw its end"}
            return seen_as(record, RuntimeState.LOST, started | loss)
        return self._seen_by_engine(name, Path(place), record, found["State"], started)

    def _seen_by_engine(
        self, name: str, place: Path, record: Mapping[str, Any], state: Mapping[str, Any], started: Mapping[str, Any]
    ) -> Observed:
        if state["Status"] in ("created", "configured", "initialized"):
            return seen_as(record, RuntimeState.CREATED, {})
        follower = self._follow(name, place, record, state)
        if state["Running"] or state["Status"] in ("running", "paused", "restarting", "stopping"):
            return seen_as(record, RuntimeState.RUNNING, {"started_at": time_of(state["StartedAt"])} | dict(started))
        follower.join(timeout=30)
        if not follower.ended and not follower.error:
            return seen_as(record, RuntimeState.RUNNING, started)  # its log is not complete yet
        return self._record_end(name, place, record, state, follower)

    def _record_end(
        self, name: str, place: Path, record: Mapping[str, Any], state: Mapping[str, Any], follower: Follower
    ) -> Observed:
        code, reason, message = ended_as(state, follower.end, records.load(str(place), STOPPED))
        started = records.load(str(place), STARTED) or {}
        if follower.facts is None and not reason:
            code, reason, message = None, "StartFailed", follower.error or state.get("Error") or "it never began"
        lost = reason == "RuntimeLost"
        value: dict[str, Any] = {
            "state": (RuntimeState.LOST if lost else RuntimeState.EXITED).value,
            "exit_code": code,
            "reason": reason,
            "message": message,
            "started_at": started.get("started_at"),
            "ended_at": end_of(state["FinishedAt"], str(started.get("started_at") or ""), self._now()),
            "sandbox": started.get("sandbox", {}),
            "usage": dict(follower.end.usage) if follower.end else {},
        }
        with self._lock:
            if records.load(str(place), EXITED) is None:
                with durable.step(EXIT):
                    records.save(str(place), EXITED, value)
            self._followers.pop(name, None)
        self._watch.forget(name)
        return seen_as(record, RuntimeState(str(value["state"])), value)

    def _follow(self, name: str, place: Path, record: Mapping[str, Any], state: Mapping[str, Any]) -> Follower:
        """The follower of its log, begun if there is none."""
        with self._lock:
            follower = self._followers.get(name)
            if follower is None or (follower.error and not follower.is_alive()):
                begun = self._begun(place, record, state)
                cap, log = int(record["limits"]["log_bytes"]), Path(record["log"])
                follower = Follower(
                    self._engine, name, log, cap, vault.values(name, record["secrets"]), begun, self._news.set
                )
                self._followers[name] = follower
                follower.start()
                if state["Running"]:
                    self._watch.add(name, place, record, time_of(state["StartedAt"]))
            return follower

    def _begun(self, place: Path, record: Mapping[str, Any], state: Mapping[str, Any]) -> Callable[[bytes], None]:
        def save(text: bytes) -> None:
            if records.load(str(place), STARTED) is None:
                observed = facts.sandbox(text, record["outside"])
                value: dict[str, Any] = {"started_at": time_of(state["StartedAt"]), "sandbox": observed}
                with durable.step(BEGIN):
                    records.save(str(place), STARTED, value)

        return save

    def stop(self, name: str, run_dir: Path, *, grace: float) -> None:
        """Leave a request, which stands even if this process dies now; SIGTERM, then after `grace` SIGKILL."""
        place = place_of(name, run_dir)
        record = records.load(str(place), ATTEMPT)
        if record is None:
            self._stop_stray(name)
            return
        seen = self.inspect(name, run_dir)
        if seen.state is RuntimeState.CREATED:
            with self._lock, durable.step(STOP):
                ended: dict[str, Any] = {"state": "exited", "exit_code": None, "ended_at": self._now()}
                ended |= {"reason": "Stopped", "message": "stopped before it was started"}
                records.save(str(place), EXITED, ended)
        elif seen.state is RuntimeState.RUNNING:
            self._ask_to_end(name, place, "Stopped", "stopped on request", grace)

    def _ask_to_end(self, name: str, place: Path, reason: str, message: str, grace: float) -> None:
        """The first reason stands, the earliest kill counts."""
        with self._lock:
            before = records.load(str(place), STOPPED)
            kill_at = self._clock.monotonic() + grace
            words: dict[str, Any] = before or {"reason": reason, "message": message, "kill_at": kill_at}
            with durable.step(STOP):
                records.save(str(place), STOPPED, words | {"kill_at": min(kill_at, float(words["kill_at"]))})
        if grace > 0 and before is None:
            self._terminate(name)
        self._watch.look(name)

    def _terminate(self, name: str) -> None:
        """SIGTERM to every process but the launcher, which waits for them."""
        words = [*self._kit.entrypoint[:-1], "-c", "kill -TERM -1"]
        with suppress(EngineError, LookupError):  # it has ended, or cannot fork any more: SIGKILL follows
            self._engine.execute(name, words)

    def _stop_stray(self, name: str) -> None:
        """A container with our label and no record: nothing of it is known that could be kept."""
        found = self._look(name)
        if found is not None and store_of(found) in self._stores:
            with durable.step(REMOVE):
                self._engine.remove(name)

    def remove(self, name: str, run_dir: Path) -> None:
        """Record its end if it has ended, then remove the container, running or not."""
        place = place_of(name, run_dir)
        record = records.load(str(place), ATTEMPT)
        if record is None:
            return
        seen = self.inspect(name, run_dir)
        found = self._look(name)
        with durable.step(REMOVE):
            self._watch.forget(name)
            if (
                found is not None
                and (found["Config"].get("Labels") or {}).get(f"{request.LABEL}store") == record["store_id"]
            ):
                self._engine.remove(name)
            if seen.state is RuntimeState.RUNNING:
                with self._lock:
                    follower = self._followers.pop(name, None)
                if follower is not None:
                    follower.join(timeout=30)
            vault.empty(name)

    _stores: frozenset[str] = frozenset()

    def list(self, store_id: str) -> tuple[Observed, ...]:
        """Containers of this store that run now."""
        self._stores |= {store_id}
        found = []
        for entry in self._engine.containers(f"{request.LABEL}store={store_id}"):
            name, marks = entry["Names"][0].lstrip("/"), entry.get("Labels") or {}
            number = marks.get(f"{request.LABEL}attempt", "0")
            if entry["State"] == "running":
                run_id = marks.get(f"{request.LABEL}run", "")
                found.append(Observed(name, RuntimeState.RUNNING, run_id=run_id, number=int(number)))
        return tuple(sorted(found, key=lambda seen: seen.name))

    def wait(self, timeout: float) -> None:
        """Return when the output of a followed container ends."""
        if self._news.wait(timeout):
            self._news.clear()

    def _now(self) -> str:
        return stamp(self._clock.now())
