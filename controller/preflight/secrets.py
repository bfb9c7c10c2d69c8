"""Every secret was declared by the operator, and this subject may use it.

Reasons (Refuse): SecretNotDeclared, SecretNotAllowed.
"""

from collections.abc import Iterator

from controller.facts.facts import SecretFacts
from controller.preflight.model import Context, Finding, Rule

RULE = Rule("secrets")


def check(context: Context) -> Iterator[Finding]:
    """What the facts do not know is not declared."""
    by_name = {facts.name: facts for facts in context.facts.secrets}
    objections = [
        finding
        for index, secret in enumerate(context.spec.secrets)
        for finding in _objections(
            f"spec.secrets[{index}].name",
            by_name.get(secret.name) or SecretFacts(secret.name, declared=False, allowed=False),
        )
    ]
    yield from objections or [
        RULE.passed(f"{len(context.spec.secrets)} allowed" if context.spec.secrets else "no secrets")
    ]


def _objections(field: str, facts: SecretFacts) -> Iterator[Finding]:
    if not facts.declared:
        message = f"no secret {facts.name!r} is declared in the operator's settings"
        yield RULE.refuse("SecretNotDeclared", message, field, "ask the operator to declare it, or correct the name")
    elif not facts.allowed:
        message = f"this namespace and owner may not use the secret {facts.name!r}"
        yield RULE.refuse(
            "SecretNotAllowed", message, field, "ask the operator to allow it for this namespace and owner"
        )
