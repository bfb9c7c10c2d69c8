"""The waiting runs of one target, in order.

Promises: pick costs O(owners waiting) and ahead O(owners waiting * log n), whatever the length of the line; push and
remove cost O(log n) comparisons and one move of pointers in memory; the same pushes and picks give the same answers.
Does not: survive a restart (whoever still waits is pushed again), or lock.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable

from controller.placement.fit import place, quota_shortage
from controller.placement.model import Placement, Request, World

_Order = tuple[int, str, str]
_SLACK = 1000


class _Line:
    """Sorted keys whose start moves: taking the head moves nothing, and what was taken is dropped in bulk."""

    __slots__ = ("_keys", "_start")

    def __init__(self) -> None:
        self._keys: list[_Order] = []
        self._start = 0

    def __len__(self) -> int:
        return len(self._keys) - self._start

    @property
    def head(self) -> _Order:
        return self._keys[self._start]

    def add(self, key: _Order) -> None:
        if self._start and (not self or key < self.head):
            self._start -= 1  # a head that is put back takes the place of what was taken
            self._keys[self._start] = key
        else:
            insort(self._keys, key, lo=self._start)

    def before(self, key: _Order) -> int:
        return bisect_left(self._keys, key, lo=self._start) - self._start

    def discard(self, key: _Order) -> None:
        index = bisect_left(self._keys, key, lo=self._start)
        if index > self._start:
            del self._keys[index]
            return
        self._start += 1
        if self._start > _SLACK and self._start > len(self):
            del self._keys[: self._start]
            self._start = 0


class Queue:
    """One line per owner; the head of the lines is the first whose owner has quota left."""

    def __init__(self, requests: Iterable[Request] = ()) -> None:
        self._lines: dict[str, _Line] = {}
        self._waiting: dict[str, Request] = {}
        for request in requests:
            self.push(request)

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._waiting

    def push(self, request: Request) -> None:
        """Add it, or replace the one of the same run (a new priority)."""
        if self._waiting.get(request.run_id) == request:
            return
        self.remove(request.run_id)
        self._waiting[request.run_id] = request
        self._lines.setdefault(request.owner, _Line()).add(request.order)

    def remove(self, run_id: str) -> None:
        """Forget it; nothing if it does not wait."""
        request = self._waiting.pop(run_id, None)
        if request is None:
            return
        line = self._lines[request.owner]
        line.discard(request.order)
        if not line:
            del self._lines[request.owner]

    def head(self) -> Request | None:
        """Who comes first, whether or not there is room."""
        runs = (line.head[-1] for line in self._lines.values())
        return min(map(self._waiting.__getitem__, runs), key=lambda request: request.order, default=None)

    def ahead(self, request: Request) -> int:
        """How many others come before it."""
        earlier = self._waiting.get(request.run_id)
        itself = earlier is not None and earlier.order < request.order
        return sum(line.before(request.order) for line in self._lines.values()) - itself

    def pick(self, world: World) -> tuple[Request, Placement] | None:
        """Take the next request that starts now, with its placement; None when nobody may start.

        The head waits for room rather than being overtaken; owners without quota are passed over.
        """
        for *_, run_id in sorted(line.head for line in self._lines.values()):
            request = self._waiting[run_id]
            if quota_shortage(request, world) is not None:
                continue
            placement = place(request, world)
            if not placement.fits:
                return None
            self.remove(run_id)
            return request, placement
        return None
