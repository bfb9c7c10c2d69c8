"""An approval: one person's signed word that a plan may run.

Promises: an in-toto statement whose subject is the plan by digest; what counts is opened under a key that the trust
root allows to approve, and says which experiment and plan it is about. Whose word it is follows from the key alone.
Does not: sign, read files, or decide how many approvals are enough.
"""

import json
from dataclasses import dataclass
from typing import Any

from controller.api.canonical import hex_of
from controller.trust.envelope import EnvelopeError, open_envelope
from controller.trust.root import APPROVALS, TrustRoot
from controller.trust.statement import PLAN, STATEMENT_TYPE, statement_bytes

APPROVAL_TYPE = "https://fetchml.dev/approval/v1"
FOLDER = APPROVALS


class ApprovalError(ValueError):
    """Not an approval that counts. `reason` is stable."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval whose signature verifies."""

    plan_sha256: str
    experiment: str
    """namespace/name."""
    key_id: str
    owner: str
    """Who holds the key, as the trust root says; empty when it does not."""
    at: str
    """When, as the approver states it."""


def approval_statement(experiment: str, plan_sha256: str, at: str, comment: str = "") -> bytes:
    """The statement (RFC 8785 bytes, a DSSE payload); `at` is RFC 3339 UTC, `experiment` namespace/name."""
    predicate = {"experiment": experiment, "approvedAt": at} | ({"comment": comment} if comment else {})
    return statement_bytes({PLAN: hex_of(plan_sha256)}, APPROVAL_TYPE, predicate)


def approval_name(plan_sha256: str, key_id: str) -> str:
    """The file name of an approval: one for each plan and key."""
    return f"{hex_of(plan_sha256)[:16]}-{key_id[:16]}.dsse.json"


def read_approval(envelope: bytes, root: TrustRoot) -> Approval:
    """Verify an approval against the trust root.

    Raises:
        ApprovalError: the signature does not count (reasons of `open_envelope`), or it is no approval
            (ApprovalInvalid).
    """
    try:
        opened = open_envelope(envelope, root.keys_for("approvals"), root.revoked)
    except EnvelopeError as error:
        raise ApprovalError(error.reason, str(error)) from error
    plan, predicate = _parts(opened.payload)
    experiment, at = predicate.get("experiment"), predicate.get("approvedAt")
    if not isinstance(experiment, str) or not isinstance(at, str):
        raise ApprovalError("ApprovalInvalid", "the approval does not say of what and when")
    return Approval(plan, experiment, opened.key_id, root.owner(opened.key_id), at)


def _parts(payload: bytes) -> tuple[str, dict[str, Any]]:
    """The plan's digest and the predicate."""
    try:
        statement = json.loads(payload)
        (subject,) = statement["subject"]
        digest, predicate = subject["digest"]["sha256"], statement["predicate"]
        kinds = statement["_type"], statement["predicateType"], subject["name"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ApprovalError("ApprovalInvalid", "the payload is not a statement about one plan") from error
    if kinds != (STATEMENT_TYPE, APPROVAL_TYPE, PLAN) or not isinstance(predicate, dict):
        raise ApprovalError("ApprovalInvalid", f"the payload is not a statement of type {APPROVAL_TYPE}")
    return f"sha256:{digest}", predicate


def reviewers(approvals: tuple[Approval, ...], plan_sha256: str) -> tuple[str, ...]:
    """The distinct, known people who approved a plan."""
    return tuple(sorted({each.owner for each in approvals if each.plan_sha256 == plan_sha256 and each.owner}))
