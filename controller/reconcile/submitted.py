"""Facts about people: who brought the spec, who approved its plan, and whether they could reach the signing key.

Promises: reads only; whatever cannot be shown is a fact that says so. Does not: judge.
"""

from dataclasses import dataclass

from controller.api.documents import Document
from controller.facts.facts import ApprovalFacts, GitFacts, SubmissionFacts
from controller.ports.inputs import Submission
from controller.reconcile.context import Ports
from controller.trust.commits import CommitSigner


@dataclass(frozen=True, slots=True)
class Submitted:
    """Everything about the people of one spec."""

    submission: SubmissionFacts
    approvals: tuple[ApprovalFacts, ...]
    by_reconciler: bool
    """It was not shown that the submitter is somebody who cannot read the signing key."""
    why: str = ""
    """What stands in the way, if it is more than that they are one user."""


def submitted(ports: Ports, document: Document, git: GitFacts | None) -> Submitted:
    """Ask git and the trust root; the history is read only where the trust root names signers."""
    metadata = document.model.metadata
    try:
        found = ports.inputs.submission(document, git)
        submission = _submission(ports, found)
        approvals = _approvals(ports, metadata.namespace, metadata.name)
    except (OSError, ValueError) as error:  # a trust root that cannot be read vouches for nobody
        why = f"the trust root cannot be used: {error}"
        return Submitted(SubmissionFacts(reason="TrustRootInvalid", message=why), (), by_reconciler=True, why=why)
    within, why = _within_reach(ports, found, submission)
    return Submitted(submission, approvals, within, why)


def _submission(ports: Ports, found: Submission) -> SubmissionFacts:
    if not ports.trust.names_signers():
        return SubmissionFacts(reason="CommitNotSigned", message="the trust root names nobody who may sign commits")
    if not found.commits:
        return SubmissionFacts(reason="CommitNotSigned", message=found.error)
    signers = [ports.trust.signer_of(data) for _, data in found.commits]
    bad = next((signer for signer in signers if not signer.owner), CommitSigner())
    return SubmissionFacts(
        commits=tuple(oid for oid, _ in found.commits),
        signers=tuple(signer.owner for signer in signers),
        keys=tuple(signer.key for signer in signers),
        reason=bad.reason,
        message=bad.message,
    )


def _approvals(ports: Ports, namespace: str, name: str) -> tuple[ApprovalFacts, ...]:
    """Those whose signature counts; what does not verify is no approval, whoever put it there."""
    envelopes = ports.inputs.approvals(namespace, name)
    if not envelopes:
        return ()
    from controller.trust.approval import ApprovalError, read_approval  # the cryptography library costs 50 ms

    root, valid = ports.trust.root(), []
    for envelope in envelopes:
        try:
            approval = read_approval(envelope, root)
        except ApprovalError as error:
            ports.events.emit(f"{namespace}/{name}", "Warning", error.reason, f"an approval does not count: {error}")
            continue
        if approval.experiment == f"{namespace}/{name}":
            valid.append(ApprovalFacts(approval.plan_sha256, approval.owner, approval.key_id))
    return tuple(valid)


def _within_reach(ports: Ports, found: Submission, submission: SubmissionFacts) -> tuple[bool, str]:
    """Whether the signing key may be within the submitter's reach, and why that is not ruled out.

    Shown by the system: the spec's file belongs to a user who cannot read the key's. Or, where the spec was read from
    a commit, by the trust root of the operator: every signer is somebody else than the key's owner.
    """
    key = ports.signer.key_facts() if ports.signer else None
    if key is None or not key.private:
        return True, "that nobody else can read the key file was not shown" if ports.signer else ""
    if found.file_owner is not None:
        return found.file_owner in (0, key.owner_uid), ""
    if not ports.trust.of_operator:
        return True, "the trust root lies in the repository, where submitters write (set trust_root)"
    if not submission.signed:
        return True, "nobody is shown to have signed the commit that brought the spec"
    owner = ports.trust.root().owner(ports.signer.key_id) if ports.signer else ""
    if not owner or owner in submission.signers:
        return True, f"the trust root does not name another owner of the key than {', '.join(submission.signers)}"
    return False, ""
