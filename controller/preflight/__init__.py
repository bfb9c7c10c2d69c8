"""May it launch? One rule per module, over the spec, its plan and the facts.

Promises: every rule is asked, in the order of RULES, and every objection is reported, each with what to write
instead; a rule without objection gives one Pass. The verdict is the least of all. ``relaxed`` turns exactly the
reasons in RELAXED into caps at L0.
Does not: gather facts, or decide whether the host is free now (placement does).

To add a rule: a module with ``check(context) -> Iterator[Finding]`` whose docstring lists its reasons, a line in
RULES, a table in its test.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from controller.api.experiment import Experiment
from controller.api.status import Cap
from controller.facts.facts import Facts
from controller.preflight import (
    approval,
    command,
    commit,
    datasets,
    dependencies,
    environment,
    interpreter,
    name,
    nodes,
    paths,
    pushed,
    resources,
    sandbox,
    secrets,
    snapshot,
    submitter,
    tree,
    trust,
)
from controller.preflight.model import CeilingLike, Context, Finding, PlanLike, Verdict

Check = Callable[[Context], Iterable[Finding]]

RULES: tuple[Check, ...] = (
    name.check,
    commit.check,
    tree.check,
    pushed.check,
    submitter.check,
    snapshot.check,
    environment.check,
    dependencies.check,
    interpreter.check,
    datasets.check,
    command.check,
    paths.check,
    secrets.check,
    sandbox.check,
    resources.check,
    nodes.check,
    trust.check,  # after every rule whose refusal relaxed may turn into a cap
    approval.check,
)

RELAXED = frozenset({"DirtyTree", "NotPushed", "ImageNotPinned", "LockMissing"})
"""Never digests, never safety."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """The verdict over all findings; `caps` are the trust caps that ``relaxed`` made of refusals."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    caps: tuple[Cap, ...] = ()

    @property
    def objections(self) -> tuple[Finding, ...]:
        """The findings that stand in the way, worst first."""
        return tuple(sorted((f for f in self.findings if f.verdict is not Verdict.PASS), key=lambda f: f.verdict))


def evaluate(experiment: Experiment, plan: PlanLike, facts: Facts, ceiling: CeilingLike) -> Preflight:
    """Ask every rule.

    Args:
        experiment: the valid spec.
        plan: its plan on the runtime that would run it.
        facts: what its references and the host are.
        ceiling: the highest trust level that this launch can reach, and why not higher (trust.levels.launch_ceiling).
    """
    context = Context(experiment, plan, facts, ceiling)
    findings: list[Finding] = []
    for check in RULES:
        for finding in tuple(check(context)):
            cap = _cap(context, finding)
            findings.append(_allowed(finding) if cap else finding)
            if cap:
                context = replace(context, caps=(*context.caps, cap))
    return Preflight(min(finding.verdict for finding in findings), tuple(findings), context.caps)


def _cap(context: Context, finding: Finding) -> Cap | None:
    relaxed = context.spec.reproducibility.policy == "relaxed"
    if not relaxed or finding.reason not in RELAXED:
        return None
    return Cap(level="L0", reason=finding.reason, message=finding.message)


def _allowed(finding: Finding) -> Finding:
    return replace(
        finding, verdict=Verdict.PASS, message=f"{finding.message} (allowed by relaxed; trust is capped at L0)"
    )
