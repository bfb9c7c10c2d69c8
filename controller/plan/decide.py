"""What to do with an experiment: the pure difference between what its spec asks for and what its runs are.

Promises: one action per look, from plain values only; applying it and looking again converges. A run that exists is
never launched again, whatever became of its process; two runs of one experiment are never active together.
Does not: run preflight, placement or anything else, and does not know stores or runtimes.

Rules, first match wins:
 1. The spec is gone: stop the active run, then finish it as cancelled.
 2. Cancel was requested: the same.
 3. The active run is of the wanted plan: follow it; when its attempt ended, finish it or retry it (allowed reasons,
    at most `max` further attempts, not while suspended).
 4. The active run is of another plan: under ``finish`` follow it to the end of its attempt (no retry: its successor
    waits); under ``replace`` stop it once the new plan has passed preflight; under ``refuse`` follow it, and say that
    the change is refused.
 5. The wanted run is over: nothing. A -> B -> A starts nothing without a new rerun token.
 6. Under ``refuse``, a run of another plan with the same rerun token has succeeded: refuse.
 7. The store knows no run, and the file says that this spec finished: FinishedElsewhere.
 8. Suspended: hold. Otherwise: launch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

RunState = Literal["active", "succeeded", "failed", "cancelled"]

ENDED = frozenset({"exited", "collected", "recorded"})
"""Attempt states in which nothing of it runs any more."""


class Kind(StrEnum):
    """What is to be done with a run."""

    NOTHING = "nothing"
    LAUNCH = "launch"
    """Preflight, place, and begin the wanted run."""
    FOLLOW = "follow"
    """Carry the newest attempt of `run_id` on to its next state."""
    STOP = "stop"
    """Stop the newest attempt of `run_id`."""
    RETRY = "retry"
    """Begin one more attempt of `run_id`."""
    FINISH = "finish"
    """Record `run_id` as `outcome`."""
    HOLD = "hold"
    """Start nothing while suspended."""
    REFUSE = "refuse"
    """Start nothing until the spec changes."""


@dataclass(frozen=True, slots=True)
class Desired:
    """What the spec asks for."""

    run_id: str
    """Of (uid, plan, rerun token)."""
    plan_sha256: str
    rerun: str = ""
    suspend: bool = False
    on_spec_change: Literal["finish", "replace", "refuse"] = "finish"
    retries_max: int = 0
    retry_reasons: tuple[str, ...] = ()
    admissible: bool = True
    """Preflight passed: a plan that may not start replaces nothing."""
    finished_elsewhere: str = ""
    """Terminal phase of a status block in the file with matching name, specSha256 and rerun token, else empty."""


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One attempt as the store has it."""

    number: int
    state: str
    exit_code: int | None = None
    reason: str = ""
    """Why it ended without (or beside) an exit code."""


@dataclass(frozen=True, slots=True)
class RunView:
    """One run as the store has it; attempts in order."""

    run_id: str
    plan_sha256: str
    state: RunState
    rerun: str = ""
    cancel_requested: bool = False
    attempts: tuple[AttemptView, ...] = ()
    failure: str = ""
    """A reason to fail it although its command exited with 0 (OutputMissing, SecretInOutput), else empty."""


@dataclass(frozen=True, slots=True)
class Action:
    """What to do, and what to say. `reason` is a stable CamelCase word, `message` a sentence."""

    kind: Kind
    run_id: str
    reason: str
    message: str
    outcome: str = ""
    """Of FINISH: succeeded, failed or cancelled."""
    held: str = ""
    """Why the wanted plan does not start beside this action: SpecChangeWaits, SpecChangeRefused, or empty."""


def decide(desired: Desired | None, runs: Sequence[RunView]) -> Action:
    """The next action for one experiment.

    Args:
        desired: what its valid spec asks for; None when the spec is gone.
        runs: the runs of its uid, newest first.
    """
    active = next((run for run in runs if run.state == "active"), None)
    if active is not None:
        return _drive(desired, active)
    if desired is None:
        return Action(Kind.NOTHING, "", "SpecDeleted", "the spec is gone and nothing of it runs")
    return _start(desired, runs)


def _start(desired: Desired, runs: Sequence[RunView]) -> Action:
    run = desired.run_id
    same = next((other for other in runs if other.run_id == run), None)
    if same is not None:
        return Action(
            Kind.NOTHING,
            run,
            "AlreadyFinished",
            f"run {run} {same.state}; a new fetchml.dev/rerun annotation starts it again",
        )
    kept = next((other for other in runs if other.state == "succeeded" and other.rerun == desired.rerun), None)
    if desired.on_spec_change == "refuse" and kept is not None:
        return Action(Kind.REFUSE, run, "SpecChangeRefused", _refused(f"run {kept.run_id} of another plan succeeded"))
    if desired.finished_elsewhere and not runs:
        said = f"the file says {desired.finished_elsewhere}, which this store cannot confirm"
        message = f"{said}; a new fetchml.dev/rerun annotation runs it here"
        return Action(Kind.NOTHING, "", "FinishedElsewhere", message)
    if desired.suspend:
        return Action(Kind.HOLD, run, "Suspended", "spec.suspend is true: nothing is started")
    return Action(Kind.LAUNCH, run, "PlanIsNew", f"no run of plan {desired.plan_sha256[:19]} exists")


def _drive(desired: Desired | None, active: RunView) -> Action:
    if desired is None:
        return _stop(active, "SpecDeleted", "the spec is gone")
    if active.cancel_requested:
        return _stop(active, "CancelRequested", "a user cancelled it")
    if active.run_id == desired.run_id:
        return _follow(active, desired)
    if desired.on_spec_change == "replace" and desired.admissible and not desired.suspend:
        return _stop(active, "SpecReplaced", "the spec changed and spec.scheduling.onSpecChange is replace")
    going_on = _follow(active, replace(desired, retries_max=0))
    if desired.on_spec_change == "refuse":
        return replace(
            going_on, held="SpecChangeRefused", message=_refused(f"run {active.run_id} of another plan is active")
        )
    return replace(going_on, held="SpecChangeWaits", message=f"the new plan waits until run {active.run_id} ends")


def _refused(why: str) -> str:
    return (
        f"{why} and spec.scheduling.onSpecChange is refuse; restore the spec, or set a new fetchml.dev/rerun annotation"
    )


def _stop(run: RunView, reason: str, why: str) -> Action:
    if _ended(run):
        return Action(Kind.FINISH, run.run_id, reason, why, outcome="cancelled")
    return Action(Kind.STOP, run.run_id, reason, why)


def _ended(run: RunView) -> bool:
    return not run.attempts or run.attempts[-1].state in ENDED


def _follow(run: RunView, desired: Desired) -> Action:
    if not run.attempts:
        return Action(Kind.RETRY, run.run_id, "AttemptMissing", "the run has no attempt yet")
    last = run.attempts[-1]
    if last.state not in ENDED:
        return Action(Kind.FOLLOW, run.run_id, "AttemptActive", f"attempt {last.number} is {last.state}")
    reason = run.failure or failure_reason(last)
    if not reason:
        return Action(Kind.FINISH, run.run_id, "Completed", f"attempt {last.number} exited with 0", outcome="succeeded")
    return _after_failure(run, last, reason, desired)


def _after_failure(run: RunView, last: AttemptView, reason: str, desired: Desired) -> Action:
    used = len(run.attempts) - 1
    ended = f"attempt {last.number} ended: {reason}" + (
        "" if last.exit_code is None else f" (exit code {last.exit_code})"
    )
    if reason not in desired.retry_reasons:
        return Action(Kind.FINISH, run.run_id, reason, f"{ended}; not retried for this reason", outcome="failed")
    if used >= desired.retries_max:
        return Action(
            Kind.FINISH, run.run_id, reason, f"{ended}; {used} of {desired.retries_max} retries used", outcome="failed"
        )
    if desired.suspend:
        return Action(Kind.HOLD, run.run_id, "Suspended", f"{ended}; the retry waits while spec.suspend is true")
    return Action(Kind.RETRY, run.run_id, reason, f"{ended}; retry {used + 1} of {desired.retries_max}")


def failure_reason(attempt: AttemptView) -> str:
    """Why an ended attempt is a failure, empty when it is none."""
    if attempt.reason:
        return attempt.reason
    return "" if attempt.exit_code == 0 else "NonZeroExit" if attempt.exit_code is not None else "RuntimeLost"
