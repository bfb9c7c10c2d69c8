"""The plan is the one that was approved, when policy asks for approval or somebody once approved a plan.

Where policy names approvers, only a signed approval by one of them counts, and never the submitter's own.

Reasons: PlanChangedSinceApproval (Refuse: what was approved is something else), ApprovalMissing (Wait: somebody may
approve).
"""

from collections.abc import Iterator

from controller.facts.facts import Subjects
from controller.preflight.model import Context, Finding, Rule

RULE = Rule("approval")


def check(context: Context) -> Iterator[Finding]:
    """Compares plan digests."""
    facts, plan, name = context.facts, context.plan.sha256, context.experiment.metadata.name
    approved = (*(facts.approved_plans or ()), *(each.plan_sha256 for each in facts.approvals))
    if approved and plan not in approved:
        message = f"plan {plan[:19]} is not the approved {approved[-1][:19]}"
        fix = f"restore what was approved (ml diff shows what moved), or run ml approve on the file of {name}"
        yield RULE.refuse("PlanChangedSinceApproval", message, "", fix)
    elif lacking := [rule for rule in facts.policy.approvers if not _approved(context, rule)]:
        message = f"policy requires a signed approval by {_named(lacking[0])}, and there is none"
        fix = f"let one of them, who did not submit it, run ml approve on the file of {name}"
        yield RULE.wait("ApprovalMissing", message, "", fix)
    elif facts.policy.require_approval and not approved:
        message = "policy requires an approval and there is none"
        yield RULE.wait("ApprovalMissing", message, "", f"ask a reviewer to run ml approve on the file of {name}")
    elif approved:
        yield RULE.passed(f"plan {plan[:19]} is approved")
    else:
        yield RULE.passed("no approval needed")


def _approved(context: Context, rule: Subjects) -> bool:
    """Has somebody whom the rule names, other than a submitter, signed this plan?"""
    return any(
        each.plan_sha256 == context.plan.sha256
        and each.owner not in context.facts.submission.signers
        and any(subject.allows(each.owner, each.key_id) for subject in rule)
        for each in context.facts.approvals
    )


def _named(rule: Subjects) -> str:
    return " or ".join(subject.user or subject.key_id[:19] for subject in rule if subject.user or subject.key_id) or (
        "somebody, but names nobody"
    )
