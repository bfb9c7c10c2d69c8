"""The run reaches no more than policy allows.

Reasons (Refuse): NetworkNotAllowed.
"""

from collections.abc import Iterator

from controller.preflight.model import Context, Finding, Rule

RULE = Rule("sandbox")


def check(context: Context) -> Iterator[Finding]:
    """Judges spec.sandbox.network."""
    if context.spec.sandbox.network == "none":
        yield RULE.passed("no network")
    elif context.facts.policy.network_full_allowed:
        yield RULE.passed("network allowed by policy")
    else:
        fix = "write network: none and pin downloads as datasets, or ask for a TrustPolicy rule with allowNetwork"
        yield RULE.refuse("NetworkNotAllowed", "no policy allows network: full here", "spec.sandbox.network", fix)
