"""The words of placement: requests, what the host has free, quotas and answers.

Promises: plain frozen values; requests order by priority (high first), then age, then run id. Does not: look at the
host.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from controller.api.base import byte_count, cores
from controller.api.catalog import Quota
from controller.api.experiment import Experiment
from controller.facts.facts import GpuFacts, HostFacts


@dataclass(frozen=True, slots=True)
class GpuAsk:
    """GPUs that a run asks for; `memory` in bytes, of each."""

    count: int = 0
    vendor: str = "nvidia"
    model: str | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One run that wants to start.

    `cpu` in millicores, memory and disk in bytes; `created_at` sorts as text (RFC 3339 UTC).
    """

    run_id: str
    owner: str
    priority: int
    created_at: str
    cpu: int
    memory: int
    disk: int
    gpu: GpuAsk = field(default_factory=GpuAsk)

    @property
    def order(self) -> tuple[int, str, str]:
        """Sort key: who comes first."""
        return (-self.priority, self.created_at, self.run_id)


@dataclass(frozen=True, slots=True)
class Active:
    """One run that holds its share now; `gpus` are UUIDs."""

    request: Request
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limit:
    """A quota as numbers; None: unlimited. Empty `owners`: every owner. Each owner is counted alone."""

    name: str
    owners: tuple[str, ...] = ()
    cpu: int | None = None
    memory: int | None = None
    gpus: int | None = None
    runs: int | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """May it start now? `message` holds the arithmetic; `gpus` are the UUIDs it gets when it fits."""

    fits: bool
    reason: str
    message: str
    ahead: int = 0
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class World:
    """A snapshot: the host, what runs on it, and the quotas."""

    host: HostFacts
    active: tuple[Active, ...] = ()
    limits: tuple[Limit, ...] = ()

    def free(self) -> tuple[int, int, int, tuple[GpuFacts, ...]]:
        """Millicores, bytes of memory, bytes of disk and healthy GPUs that nothing holds.

        An active run counts with all the disk it asked for, although it may have written some of it already: a run is
        never promised space that another was promised.
        """
        held = {uuid for active in self.active for uuid in active.gpus}
        asked = [active.request for active in self.active]
        return (
            self.host.cpus * 1000 - sum(request.cpu for request in asked),
            self.host.memory - sum(request.memory for request in asked),
            self.host.disk_free - sum(request.disk for request in asked),
            tuple(gpu for gpu in self.host.gpus if gpu.healthy and gpu.uuid not in held),
        )


def request_of(experiment: Experiment, run_id: str, created_at: str) -> Request:
    """What a run of this experiment asks for."""
    spec = experiment.spec
    gpu = spec.resources.gpu
    asked = GpuAsk()
    if gpu is not None and gpu.vendor != "none":
        asked = GpuAsk(gpu.count, gpu.vendor, gpu.model, byte_count(gpu.memory) if gpu.memory else None)
    return Request(
        run_id=run_id,
        owner=spec.owner,
        priority=spec.scheduling.priority,
        created_at=created_at,
        cpu=round(cores(spec.resources.cpu) * 1000),
        memory=byte_count(spec.resources.memory),
        disk=byte_count(spec.resources.disk),
        gpu=asked,
    )


def limits_of(quotas: Iterable[Quota]) -> tuple[Limit, ...]:
    """Quota objects as numbers."""
    return tuple(map(_limit, quotas))


def _limit(quota: Quota) -> Limit:
    spec = quota.spec
    return Limit(
        name=quota.metadata.name,
        owners=spec.owners,
        cpu=None if spec.cpu is None else round(cores(spec.cpu) * 1000),
        memory=None if spec.memory is None else byte_count(spec.memory),
        gpus=spec.gpus,
        runs=spec.runs,
    )
