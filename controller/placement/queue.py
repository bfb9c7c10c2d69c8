"""The waiting runs of one target, in order.

Promises: push and remove cost O(log n); pick costs O(owners waiting + log n), whatever the length of the line; the
same pushes and picks give the same answers. Does not: survive a restart (whoever still waits is pushed
again), or lock.
"""

import heapq
import itertools
from collections.abc import Iterable

from controller.placement.fit import place, quota_shortage
from controller.placement.model import Placement, Request, World

_Entry = tuple[tuple[int, str, str], int, Request]


class Queue:
    """One line per owner; the head of the lines is the first whose owner has quota left."""

    def __init__(self, requests: Iterable[Request] = ()) -> None:
        self._lines: dict[str, list[_Entry]] = {}
        self._waiting: dict[str, Request] = {}
        self._pushed = itertools.count()  # breaks ties, since requests have no order among themselves
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
        heapq.heappush(self._lines.setdefault(request.owner, []), (request.order, next(self._pushed), request))

    def remove(self, run_id: str) -> None:
        """Forget it; its entry is dropped when it reaches the head."""
        self._waiting.pop(run_id, None)

    def ahead(self, request: Request) -> int:
        """How many others come before it (for people: O(n))."""
        return sum(other.order < request.order for other in self._waiting.values() if other.run_id != request.run_id)

    def pick(self, world: World) -> tuple[Request, Placement] | None:
        """Take the next request that starts now, with its placement; None when nobody may start.

        The head waits for room rather than being overtaken; owners without quota are passed over.
        """
        for _, _, request in sorted(self._heads()):
            if quota_shortage(request, world) is not None:
                continue
            placement = place(request, world)
            if not placement.fits:
                return None
            self.remove(request.run_id)
            return request, placement
        return None

    def _heads(self) -> list[_Entry]:
        heads = []
        for owner, line in list(self._lines.items()):
            while line and self._waiting.get(line[0][2].run_id) is not line[0][2]:
                heapq.heappop(line)
            if line:
                heads.append(line[0])
            else:
                del self._lines[owner]
        return heads
