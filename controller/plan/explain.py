"""`ml explain` as JSON: what will run, whether it may, how far it can be trusted, and where it waits.

Promises: exactly the object of the design contract, from values that the reconciler's own path computed; the same
inputs give the same object. Does not: compute any of them, or print. Inputs are protocols, because preflight, trust
and placement are rooms beside this one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from controller.api.base import API_VERSION
from controller.api.canonical import digest_bytes
from controller.api.experiment import Experiment
from controller.api.problems import Position
from controller.plan.diff import FieldChange
from controller.plan.plan import Plan


class DocumentLike(Protocol):
    """A loaded document whose model is an Experiment."""

    @property
    def file(self) -> str: ...
    def position(self, path: str) -> Position:
        """Line and column of a field."""


class FindingLike(Protocol):
    """What one preflight rule says."""

    @property
    def rule(self) -> str: ...
    @property
    def verdict(self) -> object: ...
    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def field(self) -> str: ...
    @property
    def fix(self) -> str: ...


class PreflightLike(Protocol):
    """controller.preflight.Preflight."""

    @property
    def verdict(self) -> object: ...
    @property
    def findings(self) -> Sequence[FindingLike]: ...
    @property
    def caps(self) -> Sequence["CapLike"]: ...


class CapLike(Protocol):
    """Why a trust level is not higher."""

    @property
    def level(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...


class TrustLike(Protocol):
    """controller.trust.levels.Judgement."""

    @property
    def level(self) -> str: ...
    @property
    def caps(self) -> Sequence[CapLike]: ...


class PlacementLike(Protocol):
    """controller.placement.Placement."""

    @property
    def fits(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def ahead(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Judged:
    """What the other pure rooms said about one plan."""

    facts_sha256: str
    preflight: PreflightLike
    trust: TrustLike
    placement: PlacementLike


def explanation(
    document: DocumentLike, experiment: Experiment, plan: Plan, judged: Judged, changes: Sequence[FieldChange] = ()
) -> dict[str, Any]:
    """The object that ``ml explain -o json`` prints.

    Args:
        document: where the spec stands, for lines and columns.
        experiment: the document's model.
        plan: what would run.
        judged: what preflight, trust and placement said about it.
        changes: what differs from the plan of the newest run.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": "Explanation",
        "experiment": f"{experiment.metadata.namespace}/{experiment.metadata.name}",
        "specSha256": digest_bytes(experiment.canonical()),
        "factsSha256": judged.facts_sha256,
        "plan": dict(plan.content),
        "planSha256": plan.sha256,
        "preflight": {
            "verdict": str(judged.preflight.verdict),
            "rules": [_rule(document, finding) for finding in judged.preflight.findings],
        },
        "trust": _trust(judged.trust, judged.preflight.caps),
        "placement": _placement(experiment, plan, judged.placement),
        "queue": _queue(experiment, judged.placement),
        "changes": [change.as_dict() for change in changes],
    }


def _rule(document: DocumentLike, finding: FindingLike) -> dict[str, Any]:
    position = document.position(finding.field) if finding.field else None
    return {
        "rule": finding.rule,
        "verdict": str(finding.verdict),
        "reason": finding.reason,
        "message": finding.message,
        "field": finding.field,
        "file": document.file,
        "line": position.line if position else None,
        "column": position.column if position else None,
        "fix": finding.fix,
    }


def _trust(trust: TrustLike, relaxed: Sequence[CapLike]) -> dict[str, Any]:
    known = {cap.reason for cap in trust.caps}
    caps = [*trust.caps, *(cap for cap in relaxed if cap.reason not in known)]
    return {
        "level": min([trust.level, *(cap.level for cap in relaxed)]),
        "caps": [{"level": cap.level, "reason": cap.reason, "message": cap.message} for cap in caps],
    }


def _placement(experiment: Experiment, plan: Plan, placement: PlacementLike) -> dict[str, Any]:
    return {
        "target": experiment.spec.scheduling.target,
        "runtime": plan.content["runtime"],
        "fits": placement.fits,
        "reason": placement.reason,
        "message": placement.message,
    }


def _queue(experiment: Experiment, placement: PlacementLike) -> dict[str, Any]:
    scheduling = experiment.spec.scheduling
    return {
        "name": scheduling.queue,
        "priority": scheduling.priority,
        "position": placement.ahead + 1,
        "ahead": placement.ahead,
    }
