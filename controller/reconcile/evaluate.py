"""One spec judged: facts, plan, preflight and trust ceiling. The same path for explain, queue, run and the reconciler.

Promises: reads only. Does not: place or start anything.
"""

from dataclasses import dataclass

from controller.api.base import ANNOTATION_RERUN
from controller.api.documents import Document
from controller.api.experiment import Experiment
from controller.api.status import TERMINAL_PHASES
from controller.facts.facts import Facts
from controller.placement import World
from controller.plan.decide import AttemptView, Desired, RunView, failure_reason
from controller.plan.identity import run_id
from controller.plan.plan import Plan, build_plan
from controller.ports.store import AttemptRow, ExperimentRow, RunRow
from controller.preflight import Preflight, evaluate
from controller.preflight.model import Verdict
from controller.reconcile.context import Ports
from controller.reconcile.launch import LaunchRecord
from controller.reconcile.observe import experiment_of, observe
from controller.reconcile.place import world_of
from controller.trust.levels import Judgement, launch_ceiling

UNKNOWN_UID = ""
"""uid of an experiment that no store knows yet (explain before the first reconcile)."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything known before a launch."""

    document: Document
    experiment: Experiment
    facts: Facts
    plan: Plan
    ceiling: Judgement
    preflight: Preflight


def evaluate_document(ports: Ports, document: Document, row: ExperimentRow | None) -> Evaluation:
    """Gather facts, build the plan, judge it."""
    experiment = experiment_of(document)
    facts = observe(ports, document, row)
    plan = build_plan(experiment, facts, ports.runtime.name)
    ceiling = launch_ceiling(experiment, facts, ports.runtime.name, plan.sha256)
    preflight = evaluate(experiment, plan, facts, ceiling)
    return Evaluation(document, experiment, facts, plan, ceiling, preflight)


def world_now(ports: Ports, evaluation: Evaluation) -> World:
    """What the host has left now, and the quotas in force."""
    limits = ports.standing.limits(ports.source)
    return world_of(evaluation.facts.host, ports.store, ports.policy.max_cpu, ports.policy.max_memory, limits)


def rerun_token(experiment: Experiment) -> str:
    """The value of the rerun annotation, empty without one."""
    return experiment.metadata.annotations.get(ANNOTATION_RERUN, "")


def desired_of(evaluation: Evaluation, uid: str, spec_sha256: str) -> Desired:
    """What the spec asks for, as the decision wants it."""
    experiment = evaluation.experiment
    scheduling, rerun = experiment.spec.scheduling, rerun_token(experiment)
    return Desired(
        run_id=run_id(experiment.metadata.name, uid, evaluation.plan.sha256, rerun),
        plan_sha256=evaluation.plan.sha256,
        rerun=rerun,
        suspend=experiment.spec.suspend,
        on_spec_change=scheduling.on_spec_change,
        retries_max=scheduling.retries.max,
        retry_reasons=tuple(scheduling.retries.reasons),
        admissible=evaluation.preflight.verdict is Verdict.PASS,
        finished_elsewhere=finished_elsewhere(experiment, spec_sha256),
    )


def desired_of_run(run: RunRow) -> Desired:
    """The same for an active run whose spec cannot be read or judged now: it goes on as it was launched."""
    scheduling = LaunchRecord(run.launch).spec.scheduling
    return Desired(
        run_id=run.run_id,
        plan_sha256=run.plan_sha256,
        rerun=run.rerun,
        retries_max=scheduling.retries.max,
        retry_reasons=tuple(scheduling.retries.reasons),
    )


def finished_elsewhere(experiment: Experiment, spec_sha256: str) -> str:
    """The terminal phase that a status in the file claims for this very spec and rerun token, else empty."""
    status = experiment.status or {}
    phase, said = status.get("phase", ""), (status.get("specSha256"), status.get("rerun", ""))
    return phase if phase in set(TERMINAL_PHASES) and said == (spec_sha256, rerun_token(experiment)) else ""


def view(run: RunRow, attempts: tuple[AttemptRow, ...]) -> RunView:
    """A run as the decision wants it."""
    # What an attempt left is held against it only where it ended well by itself.
    views = tuple(AttemptView(row.number, row.state.value, row.exit_code, row.reason) for row in attempts)
    ended_well = bool(views) and not failure_reason(views[-1])
    left = attempts[-1].data.get("collected", {}) if ended_well else {}
    return RunView(
        run_id=run.run_id,
        plan_sha256=run.plan_sha256,
        state=run.state,  # type: ignore[arg-type]  # the store keeps one of the four words
        rerun=run.rerun,
        cancel_requested=run.cancel_requested,
        attempts=views,
        failure=left.get("reason", ""),
    )
