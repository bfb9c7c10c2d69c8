"""The words of preflight: verdicts, findings, and what a rule may see.

Promises: verdicts are ordered, so that the verdict of many findings is their least. Does not: import other pure
rooms; a plan is whatever has `content`, `sha256` and `unresolved`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from controller.api.experiment import Experiment, ExperimentSpec, Source
from controller.api.status import Cap
from controller.facts.facts import Facts

LOCAL_RUNTIMES = frozenset({"process", "docker", "podman"})
"""Runtime classes that run on the host which the facts describe."""


class Verdict(IntEnum):
    """May it launch?"""

    REFUSE = 0
    """The spec, or the data it pins, must change."""
    WAIT = 1
    """The world may change; looked at again."""
    PASS = 2

    def __str__(self) -> str:
        return self.name.capitalize()


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says. `field` is a path such as ``spec.datasets[0].sha256``; `fix` says what to write instead."""

    rule: str
    verdict: Verdict
    reason: str
    message: str
    field: str = ""
    fix: str = ""


class UnresolvedLike(Protocol):
    """A form of the command or environment that nothing will fill."""

    @property
    def field(self) -> str: ...
    @property
    def form(self) -> str: ...
    @property
    def known(self) -> tuple[str, ...]: ...


class PlanLike(Protocol):
    """What rules read of a plan (controller.plan.plan.Plan)."""

    @property
    def content(self) -> Mapping[str, Any]: ...
    @property
    def sha256(self) -> str: ...
    @property
    def unresolved(self) -> Sequence[UnresolvedLike]: ...


class CapLike(Protocol):
    """Why a trust level is not higher."""

    @property
    def level(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...


class CeilingLike(Protocol):
    """What rules read of controller.trust.levels.launch_ceiling."""

    @property
    def level(self) -> str: ...
    @property
    def caps(self) -> Sequence[CapLike]: ...


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a rule may see."""

    experiment: Experiment
    plan: PlanLike
    facts: Facts
    ceiling: CeilingLike
    """The highest trust level this launch can reach, and why not higher."""
    caps: tuple[Cap, ...] = ()
    """Caps that the rules before this one made of relaxed refusals."""

    @property
    def spec(self) -> ExperimentSpec:
        """The spec that is judged."""
        return self.experiment.spec

    @property
    def runtime(self) -> str:
        """Runtime class of the plan."""
        return str(self.plan.content["runtime"])


@dataclass(frozen=True, slots=True)
class Rule:
    """Makes the findings of one rule."""

    name: str

    def passed(self, message: str) -> Finding:
        """No objection."""
        return Finding(self.name, Verdict.PASS, "Passed", message)

    def refuse(self, reason: str, message: str, field: str, fix: str) -> Finding:
        """The spec must change."""
        return Finding(self.name, Verdict.REFUSE, reason, message, field, fix)

    def wait(self, reason: str, message: str, field: str, fix: str) -> Finding:
        """The world may change."""
        return Finding(self.name, Verdict.WAIT, reason, message, field, fix)


def names(items: Sequence[str], limit: int = 3) -> str:
    """``a, b, c and 2 more``."""
    shown = ", ".join(items[:limit])
    return f"{shown} and {len(items) - limit} more" if len(items) > limit else shown


def branch(ref: str) -> str:
    """A ref as people write it: ``main`` for ``refs/heads/main``."""
    return ref.removeprefix("refs/heads/").removeprefix("refs/remotes/")


def source_pending(source: Source, facts: Facts) -> str:
    """Why files of the source cannot be read yet (the rule about the source says so too); empty when they can."""
    git, snapshot = facts.git, facts.snapshot
    if source.git is not None:
        return "" if git is not None and git.found and git.exists else "the commit is not there"
    return "" if snapshot is not None and snapshot.found and snapshot.verified else "the snapshot is not there"
