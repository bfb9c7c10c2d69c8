"""The one exit: from the work on a key to the status that is written back.

Promises: pure; whatever happened, the result obeys the laws of controller/api/status.py. Does not: write anything.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Literal

from controller.api import status as api
from controller.api.status import Cap, Condition, ExperimentStatus, Phase, Provenance, Resolved, RunStatus
from controller.ports.store import AttemptRow, AttemptState, RunRow
from controller.preflight import Preflight
from controller.reconcile.context import Work
from controller.reconcile.evaluate import rerun_token
from controller.reconcile.launch import resolved
from controller.reconcile.observe import experiment_of
from controller.reconcile.outcome import Outcome, Stalled, Waiting

_RUN_PHASE = {"succeeded": Phase.SUCCEEDED, "failed": Phase.FAILED, "cancelled": Phase.CANCELLED}
_LAUNCHING = {AttemptState.INTENDED, AttemptState.CREATED}


def status_of(work: Work, now: str) -> ExperimentStatus:
    """The whole status after this pass. `now` is an RFC 3339 time for conditions that changed."""
    generation = work.row.generation if work.row else 0
    previous = (work.row.status or {}) if work.row else {}
    raw = list(_conditions(work))
    return ExperimentStatus(
        phase=phase_of(work),
        observed_generation=generation,
        conditions=tuple(_condition(entry, previous, generation, now) for entry in raw),
        spec_sha256=work.row.spec_sha256 if work.row else None,
        plan_sha256=work.run.plan_sha256 if work.run else (work.plan.sha256 if work.plan else None),
        rerun=_rerun(work) or None,
        repro_policy=experiment_of(work.document).spec.reproducibility.policy if work.document else None,
        **_trust(work),
        resolved=_resolved(work),
        run=_run(work),
        **_results(work),
    )


def _rerun(work: Work) -> str:
    if work.run:
        return work.run.rerun
    return rerun_token(experiment_of(work.document)) if work.document else ""


def phase_of(work: Work) -> Phase:
    """The summary of everything else."""
    if work.run and work.run.state in _RUN_PHASE:
        return _RUN_PHASE[work.run.state]
    if work.run and isinstance(work.outcome, Stalled):
        return Phase.PENDING  # a retry that is held while the spec is suspended: nothing runs
    if work.run and work.attempt:
        return Phase.LAUNCHING if work.attempt.state in _LAUNCHING else Phase.RUNNING
    if work.elsewhere and work.document and work.document.model.status:
        return Phase(work.document.model.status["phase"])
    if isinstance(work.outcome, Stalled):
        return Phase.PENDING if work.outcome.reason == "Suspended" else Phase.BLOCKED
    if work.placement:
        return Phase.QUEUED
    return Phase.WAITING if isinstance(work.outcome, Waiting) else Phase.PENDING


_Entry = tuple[str, Literal["True", "False", "Unknown"], str, str]
"""type, status, reason, message"""


def _conditions(work: Work) -> Iterator[_Entry]:
    yield _ready(work)
    yield from _progress(work)
    yield _validated(work)
    if work.run and work.run.state in _RUN_PHASE:
        yield (api.PREFLIGHT_PASSED, "True", "Passed", "")  # or it would not have been launched
    elif work.preflight is not None:
        yield _preflight(work.preflight)
    yield from _launch(work)
    if work.run and work.run.state in _RUN_PHASE:
        yield from _ended(work.run)
    elif work.elsewhere:
        yield (
            api.PROVENANCE_RECORDED,
            "False",
            "FinishedElsewhere",
            "this store does not know the run; its trust is unverified",
        )


def _ready(work: Work) -> _Entry:
    run = work.run
    if run and run.state == "succeeded":
        return (api.READY, "True", "Succeeded", f"run {run.run_id} succeeded")
    if run and run.state in _RUN_PHASE:
        return (
            api.READY,
            "False",
            str(run.result.get("reason") or run.state.capitalize()),
            str(run.result.get("message", "")),
        )
    if work.elsewhere:
        return (
            api.READY,
            "Unknown",
            "FinishedElsewhere",
            "unverified: the file says so, this store never ran it; a new fetchml.dev/rerun annotation runs it here",
        )
    reason, message = _why(work.outcome)
    return (api.READY, "False", reason or "Progressing", message)


def _progress(work: Work) -> Iterator[_Entry]:
    run, outcome = work.run, work.outcome
    if run and run.state in ("failed", "cancelled"):
        yield (
            api.STALLED,
            "True",
            str(run.result.get("reason") or run.state.capitalize()),
            "change the spec, or set fetchml.dev/rerun, to run again",
        )
    elif isinstance(outcome, Stalled) and not (run and run.state == "active"):
        yield (api.STALLED, "True", outcome.reason, outcome.message)
    elif isinstance(outcome, Waiting) or (run and run.state == "active"):
        reason, message = _why(outcome)
        yield (api.RECONCILING, "True", reason or "Progressing", message)


def _why(outcome: Outcome | None) -> tuple[str, str]:
    return (outcome.reason, outcome.message) if isinstance(outcome, Waiting | Stalled) else ("", "")


def _validated(work: Work) -> _Entry:
    if work.problems:
        return (api.VALIDATED, "False", "InvalidSpec", "; ".join(str(problem) for problem in work.problems[:5]))
    if work.clash:
        return (api.VALIDATED, "False", "NameClash", f"{work.key} stands in {', '.join(work.clash)}")
    return (api.VALIDATED, "True", "Valid", "")


def _preflight(preflight: Preflight) -> _Entry:
    if not preflight.objections:
        return (api.PREFLIGHT_PASSED, "True", "Passed", "")
    worst = preflight.objections[0]
    return (api.PREFLIGHT_PASSED, "False", worst.reason, worst.message)


def _launch(work: Work) -> Iterator[_Entry]:
    if work.placement:
        yield (api.QUOTA_RESERVED, "False", "WaitingForCapacity", work.placement)
    if work.run is None:
        return
    yield (api.QUOTA_RESERVED, "True", "Reserved", "")
    yield (api.ADMITTED, "True", "Admitted", "")
    if work.attempt and work.attempt.state is not AttemptState.INTENDED:
        yield (api.LAUNCHED, "True", "Launched", f"attempt {work.attempt.number}")


def _ended(run: RunRow) -> Iterator[_Entry]:
    reason, message = str(run.result.get("reason") or ""), str(run.result.get("message", ""))
    if run.state == "succeeded":
        yield (api.COMPLETE, "True", "Succeeded", "")
    else:
        yield (api.FAILED, "True", reason or run.state.capitalize(), message)
    why_not = run.result.get("provenance_missing")
    if why_not:
        yield (api.PROVENANCE_RECORDED, "False", str(why_not), str(run.result.get("provenance_message", "")))
    else:
        yield (api.PROVENANCE_RECORDED, "True", "Signed", "")


def _condition(entry: _Entry, previous: Mapping[str, Any], generation: int, now: str) -> Condition:
    type_, status, reason, message = entry
    old = next((item for item in previous.get("conditions", ()) if item["type"] == type_), None)
    since = old["lastTransitionTime"] if old and old["status"] == status else now
    return Condition(
        type=type_,
        status=status,
        reason=reason,
        message=message,
        observed_generation=generation,
        last_transition_time=since,
    )


def _trust(work: Work) -> dict[str, Any]:
    if work.run and "trust" in work.run.result:
        trust = work.run.result["trust"]
        binding = (cap for cap in trust["caps"] if cap["level"] == trust["level"])  # the verdict file has them all
        return {"trust_level": trust["level"], "trust_caps": tuple(Cap(**cap) for cap in binding)}
    if work.elsewhere:
        return {
            "trust_caps": (
                Cap(level="L0", reason="Unverified", message="the status in the file is output, never evidence"),
            )
        }
    if work.run:
        ceiling = work.run.launch["trust_ceiling"]
        return {"trust_caps": tuple(Cap(**cap) for cap in ceiling["caps"] if cap["level"] == ceiling["level"])}
    if work.ceiling:
        return {"trust_caps": tuple(Cap(**asdict(cap)) for cap in work.ceiling.binding)}
    return {}


def _resolved(work: Work) -> Resolved | None:
    """Of the run that is shown, else of the spec as it is judged now."""
    if work.run:
        return Resolved(**work.run.launch["resolved"])
    return Resolved(**resolved(work.facts)) if work.facts else None


def _run(work: Work) -> RunStatus | None:
    run, attempt = work.run, work.attempt
    if run is None:
        return None
    return RunStatus(
        id=run.run_id,
        attempt=attempt.number if attempt else 1,
        runtime=attempt.runtime if attempt else "process",
        node=run.launch.get("node"),
        started_at=_started(attempt),
        ended_at=attempt.ended_at if attempt else None,
        exit_code=attempt.exit_code if attempt else None,
    )


def _started(attempt: AttemptRow | None) -> str | None:
    return attempt.started_at if attempt else None


def _results(work: Work) -> dict[str, Any]:
    if work.run is None or not work.run.result:
        return {}
    result = work.run.result
    return {
        "outputs": tuple(result.get("outputs", ())),
        "metrics": dict(result.get("metrics", {})),
        "provenance": Provenance(**result["provenance"]) if result.get("provenance") else None,
    }
