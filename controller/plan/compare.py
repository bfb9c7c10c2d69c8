"""What differs between two runs: provenance first, then parameters, environment, metrics, outputs.

Promises: every field of both plans and of what the manifests add is in exactly one section, the equal ones included;
a number that both sides have gets a delta (b minus a). A pure function of records that were read.
Does not: say whether a run was reproduced (controller/trust/comparison.py does, and is signed), or believe the
records: each side carries what verification said.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controller.api.manifest import RunManifest
from controller.plan.diff import flattened
from controller.plan.plan import Plan

SECTIONS = ("provenance", "parameters", "environment", "metrics", "outputs")
_ENVIRONMENT = ("env", "environment", "resources", "sandbox", "runtime", "secrets", "checkpoints")
_SKIPPED = ("apiVersion", "kind")


@dataclass(frozen=True, slots=True)
class Side:
    """One run, as its records say."""

    manifest: RunManifest
    plan: Plan
    level: str
    """Trust level of its verdict; empty without one."""
    objections: tuple[str, ...] = ()
    """Why it does not verify; empty when it does."""


@dataclass(frozen=True, slots=True)
class Row:
    """One field of both runs; None means that this side does not have it."""

    field: str
    a: Any
    b: Any
    delta: float | None = None
    """b minus a, where both are numbers."""

    @property
    def same(self) -> bool:
        """Equal as JSON values (where true is not 1)."""
        return isinstance(self.a, bool) == isinstance(self.b, bool) and bool(self.a == self.b)

    @property
    def ratio(self) -> float | None:
        """delta relative to a; None where a is 0 or it is no number."""
        ratio = self.delta / abs(self.a) if self.delta is not None and self.a else None
        return ratio if ratio is not None and math.isfinite(ratio) else None

    def as_dict(self) -> dict[str, Any]:
        """JSON as `ml compare` prints it."""
        numbers = {"delta": self.delta, "ratio": self.ratio}
        known = {key: value for key, value in numbers.items() if value is not None}
        return {"field": self.field, "a": self.a, "b": self.b, "same": self.same, **known}


Comparison = Mapping[str, tuple[Row, ...]]
"""Section to rows; the sections are SECTIONS, in that order."""


def compare(a: Side, b: Side) -> Comparison:
    """Both runs, field by field."""
    one, other = _fields(a), _fields(b)
    found = {}
    for section in SECTIONS:
        names = list(dict.fromkeys([*one[section], *other[section]]))
        found[section] = tuple(_row(name, one[section].get(name), other[section].get(name)) for name in names)
    return found


def same_plan(comparison: Comparison) -> bool:
    """Did both run the very same plan?"""
    return next(row.same for row in comparison["provenance"] if row.field == "planSha256")


def _row(name: str, a: Any, b: Any) -> Row:
    delta = float(b) - float(a) if _is_number(a) and _is_number(b) else math.nan
    return Row(name, a, b, delta if math.isfinite(delta) else None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fields(side: Side) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    found["provenance"] |= dict(_identity(side))
    for path, value in flattened("", side.plan.content):
        if path not in _SKIPPED:
            found[_section(path)][path] = value
    found["provenance"] |= dict(_inputs(side.manifest))
    found["environment"] |= dict(_node(side.manifest))
    found["metrics"] |= dict(sorted(side.manifest.metrics.last.items())) if side.manifest.metrics else {}
    found["outputs"] |= dict(_outputs(side.manifest))
    return found


def _section(path: str) -> str:
    head = path.partition(".")[0].partition("[")[0]
    if head == "parameters":
        return head
    return "environment" if head in _ENVIRONMENT else "provenance"


def _identity(side: Side) -> Iterator[tuple[str, Any]]:
    manifest = side.manifest
    yield "planSha256", manifest.plan_sha256
    yield "specSha256", manifest.spec_sha256
    yield "verified", not side.objections
    yield "trustLevel", side.level or None
    yield "policy", manifest.repro_policy
    yield "state", manifest.state
    yield "exitCode", manifest.exit_code


def _inputs(manifest: RunManifest) -> Iterator[tuple[str, Any]]:
    for dataset in manifest.datasets:
        yield f"datasets[{dataset.name}].sha256After", dataset.sha256_after


def _node(manifest: RunManifest) -> Iterator[tuple[str, Any]]:
    node = manifest.node
    yield from {
        "node.hostname": node.hostname, "node.machineId": node.machine_id, "node.os": node.os,
        "node.kernel": node.kernel, "node.arch": node.arch, "node.cpuModel": node.cpu_model, "node.cpus": node.cpus,
        "node.memory": node.memory, "node.cuda": node.cuda or None, "node.cudnn": node.cudnn or None,
        "sandbox.launcher": manifest.runtime.sandbox.get("launcher"),
        "controllerVersion": manifest.runtime.controller_version,
    }.items()  # fmt: skip
    for index, gpu in enumerate(node.gpus):
        yield f"node.gpus[{index}].model", gpu.model
        yield f"node.gpus[{index}].driver", gpu.driver


def _outputs(manifest: RunManifest) -> Iterator[tuple[str, Any]]:
    for output in sorted(manifest.outputs, key=lambda output: output.path):
        yield output.path, output.sha256
