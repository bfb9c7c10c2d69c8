"""The name stands in one file only.

Reasons: NameClash (Refuse).
"""

from collections.abc import Iterator

from controller.preflight.model import Context, Finding, Rule, names

RULE = Rule("name")


def check(context: Context) -> Iterator[Finding]:
    """The files that hold a spec of this namespace and name, when there are several."""
    metadata, places = context.experiment.metadata, context.facts.places
    if len(places) > 1:
        message = f"{metadata.namespace}/{metadata.name} stands in {len(places)} files: {names(places)}"
        yield RULE.refuse("NameClash", message, "metadata.name", "rename or remove one; none of them starts before")
    else:
        yield RULE.passed("no other file has it")
