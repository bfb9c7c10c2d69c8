"""The run can reach the trust level that spec and policy require; known before the launch, not after it.

Reasons (Refuse): TrustLevelUnreachable.
"""

from collections.abc import Iterator

from controller.preflight.model import CapLike, Context, Finding, Rule

RULE = Rule("trust")

JUDGED_ELSEWHERE = frozenset(
    {
        "CommitNotFound",
        "CommitNotReachable",
        "DirtyTree",
        "NotPushed",
        "SnapshotNotVerified",
        "ImageNotPinned",
        "LockMissing",
        "InterpreterNotRecorded",
        "DatasetNotVerified",
    }
)
"""Caps whose cause another rule objects to. Counting them here would turn its Wait into a refusal, and say one thing
twice; where ``relaxed`` lets the cause pass, the cap comes back through Context.caps."""


def check(context: Context) -> Iterator[Finding]:
    """Compares the required level with the ceiling and with the caps that relaxed rules made."""
    by_spec, by_policy = context.spec.reproducibility.required_level, context.facts.policy.min_trust_level
    required = max(by_spec, by_policy)
    caps = tuple(_caps(context))
    reachable = min((cap.level for cap in caps), default="L4" if context.ceiling.caps else context.ceiling.level)
    if reachable >= required:
        yield RULE.passed(f"{required} required, up to {reachable} reachable")
        return
    causes = (
        "; ".join(f"{cap.reason}: {cap.message}" for cap in caps if cap.level < required)
        or f"this launch reaches {reachable}"
    )
    who = "policy" if by_policy > by_spec else "the spec"
    fix = (
        "ask the operator, whose policy requires it"
        if by_policy > reachable
        else f"write minTrustLevel: {reachable}, or remove the causes"
    )
    message = f"{who} requires {required}, this launch can reach {reachable} ({causes})"
    yield RULE.refuse("TrustLevelUnreachable", message, "spec.reproducibility.minTrustLevel", fix)


def _caps(context: Context) -> Iterator[CapLike]:
    yield from (cap for cap in context.ceiling.caps if cap.reason not in JUDGED_ELSEWHERE)
    yield from context.caps
