"""From a spec and facts to the plan: what will run, as canonical bytes with one digest.

Promises: `build_plan` is total and pure; the plan holds everything that can change the result of a run and nothing
that cannot.
In the plan: commit and path or snapshot, image, requested Python and the interpreter found, lock digest, command and
environment (parameters and seed filled in), parameters, seed, secret names, dataset digests and mount paths, outputs,
whether checkpoints are kept, resources (in millicores and bytes, so that ``2`` and ``2000m`` are one plan), sandbox
and runtime class.
Not in the plan: name, labels, description, owner, where the repository or a dataset lies, target, queue, priority,
retries, tolerances, policy, and deadline and grace: they can cut a run short (it then fails and has no result), never
change what a finished run computed.

Does not: judge. A reference that was not found is simply absent; preflight refuses it. A digest is always over stored
bytes.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.api.base import API_VERSION, byte_count, cores
from controller.api.canonical import MAX_INTEGER, canonical_bytes, digest_bytes
from controller.api.experiment import DatasetRef, Environment, Experiment, ExperimentSpec, Gpu, Resources
from controller.facts.facts import Facts
from controller.plan.substitute import expand_params, forms


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A ``$(form)`` that nothing will fill: where it stands, its name, and the names that would work there."""

    field: str
    form: str
    known: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan. `data` are the RFC 8785 bytes that `sha256` is over; `content` is what they say (do not change it)."""

    content: Mapping[str, Any] = field(compare=False)
    data: bytes = field(repr=False)
    sha256: str
    unresolved: tuple[Unresolved, ...] = field(default=(), compare=False)
    """Never part of the bytes; empty in every plan that passes preflight."""


def build_plan(experiment: Experiment, facts: Facts, runtime: str) -> Plan:
    """The plan of this experiment on a runtime class (process, docker, podman, kubernetes, slurm).

    Raises:
        ValueError: a parameter that RFC 8785 cannot carry; the loader refuses those, so only hand-made models get here.
    """
    content = _without_none(_content(experiment.spec, facts, runtime))
    data = canonical_bytes(content)
    return Plan(content, data, digest_bytes(data), tuple(_unresolved(experiment.spec, content)))


def load_plan(data: bytes) -> Plan:
    """A plan from its stored bytes; its digest is over exactly these bytes.

    Raises:
        ValueError: not a plan, or not in canonical form (so it was not written by `build_plan`).
    """
    content = json.loads(data, parse_int=_stored_integer)
    if not isinstance(content, dict) or (content.get("apiVersion"), content.get("kind")) != (API_VERSION, "Plan"):
        raise ValueError(f"not a plan: expected apiVersion {API_VERSION} and kind Plan")
    if canonical_bytes(content) != data:
        raise ValueError("not a plan: its bytes are not in canonical form (RFC 8785)")
    return Plan(content, data, digest_bytes(data))


def _stored_integer(text: str) -> int | float:
    # RFC 8785 writes the float 1e20 with all its digits; read as an integer it could not be written again.
    value = int(text)
    return value if abs(value) <= MAX_INTEGER else float(text)


def _content(spec: ExperimentSpec, facts: Facts, runtime: str) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "Plan",
        "source": _source(spec, facts),
        "environment": _environment(spec.environment, facts, runtime),
        "command": [expand_params(text, spec.parameters, spec.seed) for text in spec.command],
        "parameters": dict(spec.parameters),
        "seed": spec.seed,
        "env": {name: expand_params(text, spec.parameters, spec.seed) for name, text in spec.env.items()},
        "secrets": sorted(({"name": s.name, "env": s.env} for s in spec.secrets), key=lambda s: (s["env"], s["name"])),
        "datasets": [
            {"name": d.name, "sha256": _digest(d, facts), "mountPath": d.mount_path or f"/data/{d.name}"}
            for d in sorted(spec.datasets, key=lambda d: d.name)
        ],
        "outputs": [
            {"name": o.name, "path": o.path, "required": o.required} for o in sorted(spec.outputs, key=lambda o: o.name)
        ],
        "checkpoints": spec.checkpoint is not None,
        "resources": _resources(spec.resources),
        "sandbox": {"network": spec.sandbox.network},
        "runtime": runtime,
    }


def _digest(dataset: DatasetRef, facts: Facts) -> str | None:
    """What the spec states, or the catalogue entry that it names."""
    entry = next((found.pinned for found in facts.datasets if found.name == dataset.name), None)
    return dataset.sha256 or entry


def _source(spec: ExperimentSpec, facts: Facts) -> dict[str, Any] | None:
    if spec.source is None:
        return None
    if spec.source.git is None:
        return {"snapshot": spec.source.snapshot}
    resolved = facts.git.commit if facts.git is not None else None
    return {"commit": spec.source.git.commit or resolved, "path": spec.source.git.path}


def _environment(environment: Environment, facts: Facts, runtime: str) -> dict[str, Any]:
    found = facts.interpreter if runtime == "process" else None
    lock = environment.dependencies
    return {
        "image": _image(environment, facts),
        "python": environment.python,
        "interpreter": None
        if found is None or not found.found
        else {"implementation": found.implementation, "version": found.version, "platform": found.platform},
        "dependencies": None
        if lock is None
        else {"manifest": lock.manifest, "sha256": (facts.lock.sha256 if facts.lock else None) or lock.sha256},
    }


def _image(environment: Environment, facts: Facts) -> str | None:
    """name@sha256:..., however the spec names it; as it is written where nothing resolved it."""
    found = facts.image
    if environment.image is None or found is None or found.sha256 is None:
        return environment.image
    head, slash, last = environment.image.partition("@")[0].rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}@{found.sha256}"


def _resources(resources: Resources) -> dict[str, Any]:
    return {
        "cpuMillis": _integer(cores(resources.cpu) * 1000),
        "memoryBytes": _integer(byte_count(resources.memory)),
        "diskBytes": _integer(byte_count(resources.disk)),
        "nodes": resources.nodes,
        "gpu": _gpu(resources.gpu),
    }


def _gpu(gpu: Gpu | None) -> dict[str, Any] | None:
    if gpu is None or gpu.count == 0 or gpu.vendor == "none":
        return None
    memory = None if gpu.memory is None else _integer(byte_count(gpu.memory))
    return {"count": gpu.count, "vendor": gpu.vendor, "model": gpu.model, "memoryBytes": memory}


def _integer(value: float) -> int:
    # Clamped to what JSON numbers carry exactly; no host has 8 PiB, so preflight refuses the clamped value all
    # the same.
    return min(round(value), MAX_INTEGER)


def _unresolved(spec: ExperimentSpec, content: Mapping[str, Any]) -> Iterator[Unresolved]:
    places = _places(spec)
    known = places | {f"params.{name}" for name in spec.parameters} | ({"seed"} if spec.seed is not None else set())
    texts = {f"spec.command[{index}]": text for index, text in enumerate(content["command"])}
    texts |= {f"spec.env.{name}": text for name, text in content["env"].items()}
    for place, text in texts.items():
        for form in forms(text):
            if form not in places:
                yield Unresolved(place, form, tuple(sorted(known)))


def _places(spec: ExperimentSpec) -> set[str]:
    """The forms that stage 2 can fill for this spec."""
    places = {"results"} | {f"data.{dataset.name}" for dataset in spec.datasets}
    if spec.source is not None:
        places.add("workspace")
    if spec.checkpoint is not None:
        places.add("checkpoints")
    return places


def _without_none(content: dict[str, Any]) -> dict[str, Any]:
    """Absent parts are left out, in our own structure only: a null or empty parameter of the user stays."""
    return {
        key: value if key == "parameters" else _pruned(value) for key, value in content.items() if value is not None
    }


def _pruned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _pruned(item) for key, item in value.items() if item is not None}
    return [_pruned(item) for item in value] if isinstance(value, list) else value
