"""The host has what the run asks for, if it were alone. Whether it is free now is placement's question.

Reasons: InsufficientCPU, InsufficientMemory, InsufficientGPU, InvalidResources (Refuse: it can never fit here);
InsufficientDisk and, for GPUs that are there but unhealthy, InsufficientGPU (Wait).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from controller.preflight.model import LOCAL_RUNTIMES, Context, Finding, Rule

RULE = Rule("resources")
_ELSEWHERE = "set spec.scheduling.target to a kubernetes or slurm target"


def check(context: Context) -> Iterator[Finding]:
    """Judges runtimes that run on this host; elsewhere the engine decides."""
    if context.runtime not in LOCAL_RUNTIMES:
        yield RULE.passed(f"{context.runtime} decides")
        return
    asked = context.plan.content["resources"]
    objections = (*_amounts(context, asked), *_gpus(context, asked))
    yield from objections or (RULE.passed(f"fits on {context.facts.host.hostname}"),)


def _amounts(context: Context, asked: Mapping[str, Any]) -> Iterator[Finding]:
    host = context.facts.host
    for key, name in (("cpuMillis", "cpu"), ("memoryBytes", "memory")):
        if asked[key] == 0:
            yield RULE.refuse(
                "InvalidResources",
                f"a run with no {name} cannot start",
                f"spec.resources.{name}",
                "ask for more than 0",
            )
    if asked["cpuMillis"] > host.cpus * 1000:
        message = f"needs {asked['cpuMillis'] / 1000:g} CPUs, the host has {host.cpus}"
        yield RULE.refuse(
            "InsufficientCPU", message, "spec.resources.cpu", f'write cpu: "{host.cpus}" or less, or {_ELSEWHERE}'
        )
    if asked["memoryBytes"] > host.memory:
        message = f"needs {size(asked['memoryBytes'])} of memory, the host has {size(host.memory)}"
        fix = f"write memory: {host.memory // 2**20}Mi or less, or {_ELSEWHERE}"
        yield RULE.refuse("InsufficientMemory", message, "spec.resources.memory", fix)
    if asked["diskBytes"] > host.disk_free:
        message = f"needs {size(asked['diskBytes'])} of disk, {size(host.disk_free)} are free where the runs lie"
        yield RULE.wait("InsufficientDisk", message, "spec.resources.disk", "free space (ml prune), or ask for less")


def _gpus(context: Context, asked: Mapping[str, Any]) -> Iterator[Finding]:
    gpu = asked.get("gpu")
    if gpu is None:
        return
    host = context.facts.host
    suited = [g for g in host.gpus if g.suits(gpu["vendor"], gpu.get("model"), gpu.get("memoryBytes"))]
    healthy = [g for g in suited if g.healthy]
    if len(healthy) >= gpu["count"]:
        return
    message = f"needs {gpu['count']} {_described(gpu)}, the host has {len(suited)}"
    if len(suited) >= gpu["count"]:
        why = next(g.why for g in suited if not g.healthy) or "unhealthy"
        message += f" of which {len(suited) - len(healthy)} cannot be used: {why}"
        yield RULE.wait(
            "InsufficientGPU", message, "spec.resources.gpu", "ask the operator to repair or reset it (ml doctor)"
        )
    else:
        there = ", ".join(sorted({g.model for g in host.gpus})) or "no GPU"
        yield RULE.refuse(
            "InsufficientGPU", f"{message} ({there})", "spec.resources.gpu", f"ask for what is here, or {_ELSEWHERE}"
        )


def _described(gpu: Mapping[str, Any]) -> str:
    memory = f" with {size(gpu['memoryBytes'])}" if gpu.get("memoryBytes") else ""
    return f"{gpu.get('model') or gpu['vendor']} GPU(s){memory}"


def size(count: int) -> str:
    """Bytes for people: ``1.5 GiB``."""
    for unit, power in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << power:
            return f"{count / (1 << power):.4g} {unit}"
    return f"{count} B"
