"""The plan is the one that was approved, when policy asks for approval or somebody once approved a plan.

Reasons: PlanChangedSinceApproval (Refuse: what was approved is something else), ApprovalMissing (Wait: somebody may
approve).
"""

from collections.abc import Iterator

from controller.preflight.model import Context, Finding, Rule

RULE = Rule("approval")


def check(context: Context) -> Iterator[Finding]:
    """Compares plan digests."""
    approved, plan = context.facts.approved_plans, context.plan.sha256
    name = context.experiment.metadata.name
    if approved and plan in approved:
        yield RULE.passed(f"plan {plan[:19]} is approved")
    elif approved:
        message = f"plan {plan[:19]} is not the approved {approved[-1][:19]}"
        fix = f"restore what was approved (ml diff shows what moved), or ml approve {name} again"
        yield RULE.refuse("PlanChangedSinceApproval", message, "", fix)
    elif context.facts.policy.require_approval:
        yield RULE.wait(
            "ApprovalMissing",
            "policy requires an approval and there is none",
            "",
            f"ask a reviewer for ml approve {name}",
        )
    else:
        yield RULE.passed("no approval needed")
