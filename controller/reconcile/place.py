"""Room on the host for one run, and the line of those that wait for it.

Promises: one answer per call, on a snapshot of host, active runs and line; nobody is overtaken by a lower priority or a later arrival
(controller/placement decides). The line lives in memory: after a restart everybody who still waits joins it again.
Does not: commit anything.
"""

from dataclasses import dataclass, field, replace

from controller.facts.facts import HostFacts
from controller.placement import Active, GpuAsk, Placement, Queue, Request, World
from controller.placement import place as fit
from controller.ports.source import Key
from controller.ports.store import RunRow, Store


@dataclass(slots=True)
class Line:
    """Who waits for room. Used under the placing lock only."""

    queue: Queue = field(default_factory=Queue)
    keys: dict[Key, Request] = field(default_factory=dict)

    def join(self, key: Key, request: Request) -> Request:
        """Wait, keeping the place of an earlier arrival of the same run."""
        earlier = self.keys.get(key)
        if earlier is not None and earlier.run_id == request.run_id:
            request = replace(request, created_at=earlier.created_at)
        elif earlier is not None:
            self.queue.remove(earlier.run_id)
        self.keys[key] = request
        self.queue.push(request)
        return request

    def leave(self, key: Key) -> None:
        """Started, or does not want to any more."""
        request = self.keys.pop(key, None)
        if request is not None:
            self.queue.remove(request.run_id)

    def first(self, count: int) -> tuple[Key, ...]:
        """The keys at the head, in order."""
        ordered = sorted(self.keys.items(), key=lambda item: item[1].order)
        return tuple(key for key, _ in ordered[:count])


def world_of(host: HostFacts, store: Store, max_cpu: float, max_memory: int) -> World:
    """The host as far as the operator hands it out, and what its active runs hold."""
    cpus = min(host.cpus, int(max_cpu) or host.cpus)
    capped = replace(host, cpus=cpus, memory=min(host.memory, max_memory or host.memory))
    active = (Active(_held(run)) for run in store.runs(active=True))
    return World(capped, tuple(active))


def try_place(line: Line, world: World, key: Key, request: Request) -> Placement:
    """May this run start now? If not it stands in the line, and the answer says why and how many are ahead."""
    request = line.join(key, request)
    picked = line.queue.pick(world)
    if picked is not None and picked[0].run_id == request.run_id:
        line.leave(key)
        return picked[1]
    if picked is not None:
        line.queue.push(picked[0])
    return fit(request, world, max(line.queue.ahead(request), 1 if picked else 0))


def _held(run: RunRow) -> Request:
    """What an active run asked for, as its launch record keeps it."""
    kept = run.launch["request"]
    return Request(**{**kept, "gpu": GpuAsk(**kept["gpu"])})
