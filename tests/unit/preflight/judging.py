"""How the tables of this folder ask one rule, and how they write whole answers down."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from controller.api.experiment import Experiment
from controller.facts.facts import Facts
from controller.plan.plan import build_plan
from controller.preflight.model import CapLike, Context, Finding, Verdict
from tests.builders import facts as good_facts

REFUSE, WAIT, PASS = Verdict.REFUSE, Verdict.WAIT, Verdict.PASS


@dataclass(frozen=True)
class Ceiling:
    """A trust ceiling."""

    level: str = "L4"
    caps: tuple[CapLike, ...] = ()


def judged(
    rule: ModuleType, experiment: Experiment, facts: Facts | None = None, runtime: str = "process", **context: Any
) -> list[tuple[Any, ...]]:
    """(verdict, reason, message, field, fix) of every finding of one rule; a Pass as (PASS, message)."""
    facts = facts or good_facts(experiment)
    seen = Context(experiment, build_plan(experiment, facts, runtime), facts, **{"ceiling": Ceiling(), **context})
    return [_written(rule, finding) for finding in rule.check(seen)]


def _written(rule: ModuleType, finding: Finding) -> tuple[Any, ...]:
    assert finding.rule == rule.RULE.name == rule.__name__.rpartition(".")[2]
    if finding.verdict is PASS:
        assert (finding.reason, finding.field, finding.fix) == ("Passed", "", "")
        return (PASS, finding.message)
    assert finding.fix, "every objection says what to write instead"
    assert finding.reason in (rule.__doc__ or "") or rule.__name__.endswith("datasets"), "reasons are documented"
    return (finding.verdict, finding.reason, finding.message, finding.field, finding.fix)


def cases(*rows: tuple[Any, ...]) -> pytest.MarkDecorator:
    """Parametrize `experiment, facts, expected` by named rows."""
    return pytest.mark.parametrize(
        ("experiment", "facts", "expected"), [pytest.param(*row[1:], id=row[0]) for row in rows]
    )
