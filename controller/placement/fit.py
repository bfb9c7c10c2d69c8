"""Does one request fit now: quota first, then the host.

Promises: the first thing that is short is the reason, with need, free and total. Does not: order requests (queue does).
Reasons: Fits, QuotaExceeded, InsufficientCPU, InsufficientMemory, InsufficientDisk, InsufficientGPU, BehindInQueue.
"""

from collections.abc import Iterator
from typing import NamedTuple

from controller.facts.facts import GpuFacts
from controller.placement.model import GpuAsk, Limit, Placement, Request, World


class _Need(NamedTuple):
    """One resource: what is asked for, what there is left of it, and how it is written."""

    reason: str
    needed: int
    free: int
    total: int
    noun: str
    unit: int = 1

    def __str__(self) -> str:
        needed, free, total = (f"{amount / self.unit:.4g}" for amount in (self.needed, max(self.free, 0), self.total))
        plural = "" if needed == "1" or "GiB" in self.noun else "s"
        return f"needs {needed} {self.noun}{plural}, {free} of {total} free"


def place(request: Request, world: World, ahead: int = 0) -> Placement:
    """May this request start now, with `ahead` others before it?"""
    needs = _host_needs(request, world)
    short = quota_shortage(request, world) or next(((n.reason, str(n)) for n in needs if n.needed > n.free), None)
    waiting = f", {ahead} ahead of you" if ahead else ""
    if short is not None:
        return Placement(fits=False, reason=short[0], message=short[1] + waiting, ahead=ahead)
    if ahead:
        return Placement(fits=False, reason="BehindInQueue", message=f"{needs[0]}{waiting}", ahead=ahead)
    return Placement(fits=True, reason="Fits", message=str(needs[0]), gpus=_chosen(request.gpu, world))


def quota_shortage(request: Request, world: World) -> tuple[str, str] | None:
    """QuotaExceeded with its arithmetic, for the first limit that this request would break; None when there is none."""
    mine = [active.request for active in world.active if active.request.owner == request.owner]
    for limit in world.limits:
        if limit.owners and request.owner not in limit.owners:
            continue
        for need in _quota_needs(request, mine, limit):
            if need.needed > need.free:
                return need.reason, f"quota {limit.name} of {request.owner or 'nobody'}: {need}"
    return None


def _quota_needs(request: Request, mine: list[Request], limit: Limit) -> Iterator[_Need]:
    table = (
        (1, len(mine), limit.runs, "run", 1),
        (request.cpu, sum(r.cpu for r in mine), limit.cpu, "CPU", 1000),
        (request.memory, sum(r.memory for r in mine), limit.memory, "GiB of memory", 2**30),
        (request.gpu.count, sum(r.gpu.count for r in mine), limit.gpus, "GPU", 1),
    )
    for needed, used, bound, noun, unit in table:
        if bound is not None:
            yield _Need("QuotaExceeded", needed, bound - used, bound, noun, unit)


def _host_needs(request: Request, world: World) -> tuple[_Need, ...]:
    cpu, memory, disk, gpus = world.free()
    host, ask = world.host, request.gpu
    return (
        _Need("InsufficientCPU", request.cpu, cpu, host.cpus * 1000, "CPU", 1000),
        _Need("InsufficientMemory", request.memory, memory, host.memory, "GiB of memory", 2**30),
        _Need("InsufficientDisk", request.disk, disk, host.disk_free, "GiB of disk", 2**30),
        _Need("InsufficientGPU", ask.count, len(_suited(ask, gpus)), len(_suited(ask, host.gpus)), "GPU"),
    )


def _suited(ask: GpuAsk, gpus: tuple[GpuFacts, ...]) -> list[GpuFacts]:
    return [gpu for gpu in gpus if gpu.suits(ask.vendor, ask.model, ask.memory)]


def _chosen(ask: GpuAsk, world: World) -> tuple[str, ...]:
    # The smallest that suit, so that large ones stay for those who need them.
    suited = sorted(_suited(ask, world.free()[3]), key=lambda gpu: (gpu.memory, gpu.uuid))
    return tuple(gpu.uuid for gpu in suited[: ask.count])
