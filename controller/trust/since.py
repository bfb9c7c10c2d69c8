"""What others signed about a run: approvals of its plan, and a comparison with a re-run elsewhere.

Promises: bytes in, evidence and checks out; what lies beside the run and does not verify fails a check, it is never
passed over. The re-run's manifest is held against its own attestation, and the comparison is derived again.
Does not: open paths, or judge a level.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from controller.api.manifest import InvalidManifestError
from controller.trust.approval import FOLDER as APPROVALS
from controller.trust.approval import Approval, ApprovalError, read_approval, reviewers
from controller.trust.comparison import COMPARISON, RERUN_ATTESTATION, RERUN_MANIFEST, ComparisonError, read_comparison
from controller.trust.levels import Later
from controller.trust.records import Check, Files, failed, opened, record
from controller.trust.root import TrustRoot
from controller.trust.statement import provenance_statement


@dataclass(frozen=True, slots=True)
class About:
    """The run that is verified."""

    experiment: str
    """namespace/name."""
    plan_sha256: str
    manifest: bytes
    key_id: str
    """Who signed its attestation."""
    tolerances: Mapping[str, float]
    """Of its spec."""


def later_of(files: Files, root: TrustRoot, about: About, checks: list[Check]) -> Later:
    """The evidence; appends what was checked."""
    approvals = approvals_of(files, root, about, checks)
    people = reviewers(approvals, about.plan_sha256)
    if COMPARISON not in files:
        return Later(people)
    return _reproduction(files, root, about, people, checks)


def approvals_of(files: Files, root: TrustRoot, about: About, checks: list[Check]) -> tuple[Approval, ...]:
    """The approvals beside a run that count."""
    found = []
    for name in sorted(name for name in files if name.startswith(APPROVALS)):
        data = record(files, name, "approval", checks)
        try:
            approval = read_approval(data, root) if data is not None else None
        except ApprovalError as error:
            checks.append(failed("approval", error.reason, str(error), name))
            continue
        if approval is None:
            continue
        if (approval.plan_sha256, approval.experiment) != (about.plan_sha256, about.experiment):
            checks.append(failed("approval", "ApprovalInvalid", "the approval is of another plan", name))
            continue
        found.append(approval)
        who = approval.owner or f"the key {approval.key_id}, whose owner nobody names"
        checks.append(Check("approval", ok=True, message=f"the plan was approved by {who}", file=name))
    return tuple(found)


def _reproduction(files: Files, root: TrustRoot, about: About, people: tuple[str, ...], checks: list[Check]) -> Later:
    name = "reproduction"
    rerun = record(files, RERUN_MANIFEST, name, checks)
    attestation = opened(record(files, RERUN_ATTESTATION, name, checks), RERUN_ATTESTATION, root, checks, check=name)
    comparison = opened(
        record(files, COMPARISON, name, checks), COMPARISON, root, checks, check=name, uses=("comparisons", "runs")
    )
    if rerun is None or attestation is None or comparison is None:
        return Later(people, why="the evidence of the re-run does not verify")
    try:
        _attested(rerun, attestation.payload)
        found = read_comparison(comparison.payload, about.manifest, rerun, about.tolerances)
    except (ComparisonError, InvalidManifestError) as error:
        checks.append(failed(name, "ComparisonInvalid", str(error), COMPARISON))
        return Later(people, why=str(error))
    second = comparison.key_id != about.key_id and "comparisons" in root.uses(comparison.key_id)
    why = _why(reproduced=found.reproduced, elsewhere=found.elsewhere, second=second)
    checks.append(Check(name, ok=True, message=why or "a re-run elsewhere gave the same", file=COMPARISON))
    return Later(people, found.reproduced and found.elsewhere, second, why)


def _attested(manifest: bytes, payload: bytes) -> None:
    if provenance_statement(manifest) != payload:
        raise ComparisonError("the re-run's attestation does not say what its manifest says")


def _why(*, reproduced: bool, elsewhere: bool, second: bool) -> str:
    """What keeps a valid comparison from counting for L4; empty when nothing does."""
    gaps = {
        "the re-run gave something else": not reproduced,
        "the re-run was not on another machine with another store": not elsewhere,
        "the comparison is not signed by a second key that may sign comparisons": not second,
    }
    return "; ".join(text for text, is_so in gaps.items() if is_so)
