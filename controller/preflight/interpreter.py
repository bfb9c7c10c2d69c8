"""The Python that the process runtime will use is on this host.

Reasons: InterpreterNotFound (Wait: it may be installed).
"""

from collections.abc import Iterator

from controller.preflight.model import Context, Finding, Rule

RULE = Rule("interpreter")


def check(context: Context) -> Iterator[Finding]:
    """Judges the interpreter found, not only that one was."""
    found, wanted = context.facts.interpreter, context.spec.environment.python
    if context.runtime != "process":
        yield RULE.passed("the image brings it")
    elif found is not None and found.found and _satisfies(found.version, wanted):
        yield RULE.passed(f"{found.implementation} {found.version} on {found.platform}")
    else:
        there = found.version if found is not None else ""
        message = f"no Python {wanted or '3'} on this host" + (f"; {there} is here" if there else "")
        fix = f"install Python {wanted or '3.11'}" + (
            f', or write python: "{".".join(there.split(".")[:2])}"' if there else ""
        )
        yield RULE.wait("InterpreterNotFound", message, "spec.environment.python", fix)


def _satisfies(version: str, wanted: str | None) -> bool:
    parts = wanted.split(".") if wanted else []
    return version.split(".")[: len(parts)] == parts
