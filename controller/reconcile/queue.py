"""The work queue: keys to look at, now or later.

Promises (as client-go's workqueue): a key is never worked on twice at once; a key added while it is worked on is
worked on once more afterwards; of several "later" times the earliest counts. Thread-safe. Does not: know what a key
means.
"""

import heapq
import threading
from collections import deque
from collections.abc import Callable

from controller.ports.source import Key


class WorkQueue:
    """Keys, deduplicated, with delays in monotonic seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._condition = threading.Condition()
        self._ready: deque[Key] = deque()
        self._dirty: set[Key] = set()
        self._busy: set[Key] = set()
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._closed = False

    def add(self, key: Key) -> None:
        """Look at it now."""
        with self._condition:
            self._add(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Look at it then, unless something sooner is planned."""
        if seconds <= 0:
            return self.add(key)
        at = self._monotonic() + seconds
        with self._condition:
            if at < self._due.get(key, float("inf")):
                self._due[key] = at
                heapq.heappush(self._heap, (at, key))
                self._condition.notify()
        return None

    def get(self, timeout: float = 1.0) -> Key | None:
        """The next key, or None after `timeout` seconds or when closed. Call `done` with it afterwards."""
        end = self._monotonic() + timeout
        with self._condition:
            while not self._closed:
                self._promote()
                if self._ready:
                    return self._take()
                now = self._monotonic()
                if now >= end:
                    return None
                soonest = self._heap[0][0] if self._heap else end
                self._condition.wait(max(min(end, soonest) - now, 0.001))
        return None

    def done(self, key: Key) -> None:
        """The work on the key ended."""
        with self._condition:
            self._busy.discard(key)
            if key in self._dirty:
                self._ready.append(key)
                self._condition.notify()

    def close(self) -> None:
        """Wake every worker; get returns None from now on."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def busy(self) -> bool:
        """Something is ready or worked on (what is planned for later does not count)."""
        with self._condition:
            return bool(self._dirty or self._busy)

    def _add(self, key: Key) -> None:
        self._due.pop(key, None)
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._busy:
            self._ready.append(key)
            self._condition.notify()

    def _take(self) -> Key:
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._busy.add(key)
        return key

    def _promote(self) -> None:
        now = self._monotonic()
        while self._heap and self._heap[0][0] <= now:
            at, key = heapq.heappop(self._heap)
            if self._due.get(key) == at:
                self._add(key)
