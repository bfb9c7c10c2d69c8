"""Room on the host for one run, and the line of those that wait for it.

Promises: one answer per call, on a snapshot of host, active runs and line; nobody is overtaken by a lower priority or
a later arrival (controller/placement decides). The line lives in memory: after a restart everybody who still waits
joins it again.
Does not: commit anything.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from controller.facts.facts import HostFacts
from controller.placement import Active, GpuAsk, Limit, Placement, Queue, Request, World
from controller.placement import place as fit
from controller.ports.source import Key
from controller.ports.store import RunRow, Store


@dataclass(slots=True)
class Line:
    """Who waits for room. Used under the placing lock only."""

    queue: Queue = field(default_factory=Queue)
    keys: dict[Key, Request] = field(default_factory=dict)
    call: Callable[[Key], None] = lambda _key: None
    """Told whose turn it is, when that is found out on behalf of another. Must not wait for the placing lock."""
    _by_run: dict[str, Key] = field(default_factory=dict)

    def join(self, key: Key, request: Request) -> Request:
        """Wait, keeping the place of an earlier arrival of the same run."""
        earlier = self.keys.get(key)
        if earlier is not None and earlier.run_id == request.run_id:
            request = replace(request, created_at=earlier.created_at)
        elif earlier is not None:
            self._forget(earlier)
        self.keys[key] = request
        self._by_run[request.run_id] = key
        self.queue.push(request)
        return request

    def leave(self, key: Key) -> None:
        """Started, or does not want to any more."""
        request = self.keys.pop(key, None)
        if request is not None:
            self._forget(request)

    def serve(self) -> None:
        """Room may have been made: the head is called, and it calls whoever may start beside or instead of it."""
        head = self.queue.head()
        if head is not None:
            self.call(self._by_run[head.run_id])

    def next_up(self, world: World) -> Key | None:
        """Who may start in this world; it keeps its place."""
        picked = self.queue.pick(world)
        if picked is None:
            return None
        self.queue.push(picked[0])
        return self._by_run[picked[0].run_id]

    def _forget(self, request: Request) -> None:
        self.queue.remove(request.run_id)
        self._by_run.pop(request.run_id, None)


def world_of(host: HostFacts, store: Store, max_cpu: float, max_memory: int, limits: tuple[Limit, ...] = ()) -> World:
    """The host as far as the operator hands it out (whole cores, at least one), what active runs hold, and quotas."""
    cpus = min(host.cpus, max(int(max_cpu), 1)) if max_cpu else host.cpus
    capped = replace(host, cpus=cpus, memory=min(host.memory, max_memory or host.memory))
    return World(capped, tuple(map(_held, store.runs(active=True))), limits)


def try_place(line: Line, world: World, key: Key, request: Request) -> Placement:
    """May this run start now? If not it stands in the line, and the answer says why and how many are ahead.

    Whoever may start beside it, or instead of it, is called.
    """
    request = line.join(key, request)
    turn = line.next_up(world)
    if turn != key:
        if turn is not None:
            line.call(turn)
        return fit(request, world, max(line.queue.ahead(request), 1 if turn else 0))
    line.leave(key)
    placement = fit(request, world)
    then = line.next_up(replace(world, active=(*world.active, Active(request, placement.gpus))))
    if then is not None:
        line.call(then)
    return placement


def _held(run: RunRow) -> Active:
    """What an active run asked for and was given, as its launch record keeps it."""
    kept = run.launch["request"]
    return Active(Request(**{**kept, "gpu": GpuAsk(**kept["gpu"])}), tuple(run.launch.get("gpus", ())))
