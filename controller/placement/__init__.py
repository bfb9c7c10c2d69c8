"""Who starts next, and whether the host has room for it: pure, on a snapshot.

Promises: order is priority (high first), then age. The head of the line is never overtaken by a smaller request
behind it (no starvation), except that an owner whose quota is used up does not hold back the others. Every answer
holds its arithmetic. Picking costs O(owners waiting). Does not: know queues' names as shares: all queues of a
target share its host.
"""

from controller.placement.fit import place
from controller.placement.model import Active, GpuAsk, Limit, Placement, Request, World, limits_of, request_of
from controller.placement.queue import Queue

__all__ = ["Active", "GpuAsk", "Limit", "Placement", "Queue", "Request", "World", "limits_of", "place", "request_of"]
