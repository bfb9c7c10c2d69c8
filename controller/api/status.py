"""What the reconciler writes back, and the laws that every status obeys.

Promises: phases, condition types and the laws as a function (`violations`). Does not: compute a status (reconcile
does). Each condition documents its polarity and when it is present.
"""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from controller.api.base import Model


class Phase(StrEnum):
    """A summary for people; conditions are the truth."""

    PENDING = "Pending"
    BLOCKED = "Blocked"
    WAITING = "Waiting"
    QUEUED = "Queued"
    LAUNCHING = "Launching"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


TERMINAL_PHASES = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED})

READY = "Ready"
"""Positive; always present. True: the observed generation is finished and recorded (kstatus)."""
RECONCILING = "Reconciling"
"""Abnormal-true; present only while progress is being made (kstatus)."""
STALLED = "Stalled"
"""Abnormal-true; present only when nothing will happen until somebody changes something (kstatus)."""
VALIDATED = "Validated"
"""Positive; always present. The document passes the schema and the semantic checks."""
PREFLIGHT_PASSED = "PreflightPassed"
"""Positive; present once preflight ran for this generation."""
QUOTA_RESERVED = "QuotaReserved"
"""Positive; present once the run was placed or is queued."""
ADMITTED = "Admitted"
"""Positive; present once the run may start."""
LAUNCHED = "Launched"
"""Positive; present once an attempt was created."""
COMPLETE = "Complete"
"""Positive; present (True) when the run ended with exit code 0 and every required output."""
FAILED = "Failed"
"""Abnormal-true; present (True) when the run ended otherwise."""
PROVENANCE_RECORDED = "ProvenanceRecorded"
"""Positive; present once a run ended. False carries the reason why there is no provenance."""


class Condition(Model):
    """One observation, as in Kubernetes metav1.Condition."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""
    observed_generation: int = 0
    last_transition_time: str = ""


class Cap(Model):
    """Why the trust level is not higher."""

    level: str
    reason: str
    message: str


class Resolved(Model):
    """What the references of the spec were resolved to."""

    commit: str | None = None
    image_digest: str | None = None
    deps_manifest_sha256: str | None = None
    snapshot_sha256: str | None = None
    datasets: tuple[dict[str, str], ...] = Field(default=(), strict=False)


class RunStatus(Model):
    """The run of this plan, newest attempt."""

    id: str
    attempt: int = 1
    runtime: str = "process"
    node: str | None = None
    gpus: tuple[str, ...] = Field(default=(), strict=False)
    started_at: str | None = None
    ended_at: str | None = None
    exit_code: int | None = None


class Provenance(Model):
    """Where the evidence lies, relative to the repository, and what it says."""

    manifest: str | None = None
    manifest_sha256: str | None = None
    attestation: str | None = None
    verdict: str | None = None
    key_id: str | None = None


class ExperimentStatus(Model):
    """The whole status block."""

    phase: Phase
    observed_generation: int
    conditions: tuple[Condition, ...] = Field(default=(), strict=False)
    spec_sha256: str | None = Field(default=None, alias="specSha256")
    plan_sha256: str | None = Field(default=None, alias="planSha256")
    rerun: str | None = None
    """Value of the rerun annotation that this status is about; absent without one."""
    repro_policy: str | None = None
    trust_level: str | None = None
    trust_caps: tuple[Cap, ...] = Field(default=(), strict=False)
    resolved: Resolved | None = None
    run: RunStatus | None = None
    outputs: tuple[dict[str, Any], ...] = Field(default=(), strict=False)
    metrics: dict[str, Any] = Field(default_factory=dict)
    provenance: Provenance | None = None

    def as_dict(self) -> dict[str, Any]:
        """The camelCase JSON that is written back; empty parts are left out."""
        dumped: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        pruned: dict[str, Any] = _without_empty(dumped)
        return pruned


def _without_empty(value: Any) -> Any:
    """The same without empty texts, lists and mappings; numbers and false stay."""
    if isinstance(value, dict):
        kept = {key: _without_empty(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in ("", [], {}, None)}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value


def violations(status: ExperimentStatus) -> tuple[str, ...]:
    """The laws this status breaks (none in a correct program); run on every status that tests produce.

    After fluxcd/pkg runtime/conditions/check: Reconciling and Stalled never coexist, Ready is False or Unknown beside
    them, Succeeded implies ProvenanceRecorded or a reason why not, and one condition per type.
    """
    by_type = {condition.type: condition for condition in status.conditions}
    true = {name for name, condition in by_type.items() if condition.status == "True"}
    broken = []
    if len(by_type) != len(status.conditions):
        broken.append("a condition type appears twice")
    if READY not in by_type:
        broken.append("Ready is absent")
    if {RECONCILING, STALLED} <= true:
        broken.append("Reconciling and Stalled are both True")
    if READY in true and true & {RECONCILING, STALLED}:
        broken.append("Ready is True beside Reconciling or Stalled")
    if status.phase in {Phase.SUCCEEDED, Phase.FAILED} and PROVENANCE_RECORDED not in by_type:
        broken.append(f"{status.phase} without ProvenanceRecorded or its reason")
    if {COMPLETE, FAILED} <= true:
        broken.append("Complete and Failed are both True")
    if any(condition.observed_generation > status.observed_generation for condition in status.conditions):
        broken.append("a condition is newer than observedGeneration")
    return tuple(broken)
