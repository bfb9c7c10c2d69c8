"""What the kernel does not enforce for a container: deadline, disk, and the kill after a grace.

Promises: one thread looks at every followed container while there is one. Does not: hold while no reconciler runs;
these limits are caps, not promises, and the facts say so ("reconciler (polled)").
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from controller.ports.clock import Clock
from controller.runtimes import measure, records
from controller.runtimes.container.engine import Engine, EngineError
from controller.runtimes.container.state import STOPPED

TICK = 0.25
DISK_EVERY = 0.25

AskToEnd = Callable[[str, Path, str, str, float], None]


@dataclass(slots=True)
class _Watched:
    place: Path
    record: Mapping[str, Any]
    started: str | None
    disk_at: float = 0.0


class Watch:
    """The thread, and what it looks at."""

    def __init__(self, clock: Clock, engine: Engine, end: AskToEnd) -> None:
        self._clock, self._engine, self._end = clock, engine, end
        self._lock = threading.Lock()
        self._watched: dict[str, _Watched] = {}
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, name: str, place: Path, record: Mapping[str, Any], started: str | None) -> None:
        """Look at a running container from now on."""
        with self._lock:
            self._watched.setdefault(name, _Watched(place, record, started))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="container limits", daemon=True)
                self._thread.start()

    def forget(self, name: str) -> None:
        """It has ended."""
        with self._lock:
            self._watched.pop(name, None)

    def look(self, _name: str) -> None:
        """Something was asked of it just now."""
        self._wake.set()

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._wake.set()

    def _run(self) -> None:
        while not self._closed:
            with self._lock:
                todo = list(self._watched.items())
                if not todo:
                    self._thread = None
                    return
            for name, watched in todo:
                try:
                    self._check(name, watched)
                except (EngineError, LookupError):
                    continue  # looked at again
            self._wake.wait(TICK)
            self._wake.clear()

    def _check(self, name: str, watched: _Watched) -> None:
        now = self._clock.monotonic()
        asked = records.load(str(watched.place), STOPPED)
        if asked is not None and now >= float(str(asked["kill_at"])):
            self._engine.kill(name)
            self.forget(name)
            return
        if asked is not None:
            return
        limits = watched.record["limits"]
        self._check_deadline(name, watched, limits)
        if now >= watched.disk_at:
            self._check_disk(name, watched, limits)

    def _check_deadline(self, name: str, watched: _Watched, limits: Mapping[str, Any]) -> None:
        deadline = limits["deadline"]
        if deadline is None or watched.started is None:
            return
        started = datetime.fromisoformat(watched.started)
        if (self._clock.now() - started).total_seconds() > deadline:
            message = f"still running after {deadline:g} s"
            self._end(name, watched.place, "DeadlineExceeded", message, float(limits["grace"]))

    def _check_disk(self, name: str, watched: _Watched, limits: Mapping[str, Any]) -> None:
        began = self._clock.monotonic()
        try:
            used = sum(measure.folder_bytes(path) for path in watched.record["watched"])
        except OSError as error:
            message = f"part of its folders cannot be measured: {error.strerror}"
            self._end(name, watched.place, "DiskLimitExceeded", message, 0)
            return
        if used > limits["disk"]:
            message = f"wrote {used} bytes of {limits['disk']}"
            self._end(name, watched.place, "DiskLimitExceeded", message, 0)
        after = self._clock.monotonic()
        watched.disk_at = after + max(DISK_EVERY, 20 * (after - began))
