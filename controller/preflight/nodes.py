"""A run on this host has one node.

Reasons (Refuse): MultiNodeNotSupported.
"""

from collections.abc import Iterator

from controller.preflight.model import LOCAL_RUNTIMES, Context, Finding, Rule

RULE = Rule("nodes")


def check(context: Context) -> Iterator[Finding]:
    """Judges spec.resources.nodes."""
    nodes = context.spec.resources.nodes
    if nodes == 1:
        yield RULE.passed("one node")
    elif context.runtime not in LOCAL_RUNTIMES:
        yield RULE.passed(f"{nodes} nodes on {context.runtime}")
    else:
        message = f"the {context.runtime} runtime runs on one node, the spec asks for {nodes}"
        fix = "write nodes: 1, or set spec.scheduling.target to a kubernetes or slurm target"
        yield RULE.refuse("MultiNodeNotSupported", message, "spec.resources.nodes", fix)
