"""The steps of one reconcile, in order.

Promises: each step fills in `Work` and returns None to go on, or an outcome that ends the pass; running all of them
again from the start is always right. Does not: write the status (reconciler.py does, at its one exit).
"""

from collections.abc import Callable
from dataclasses import asdict, replace

from controller.api.documents import Document
from controller.api.experiment import Experiment
from controller.api.problems import InvalidDocumentError
from controller.placement import Placement, Request, request_of
from controller.plan.decide import Action, Desired, Kind, RunView, decide
from controller.ports.store import AttemptRow, AttemptState, ExperimentRow, RunRow
from controller.preflight.model import Verdict
from controller.reconcile import attempt as attempts
from controller.reconcile.context import Ports, Work
from controller.reconcile.evaluate import (
    Evaluation,
    desired_of,
    desired_of_run,
    evaluate_document,
    rerun_token,
    view,
    world_now,
)
from controller.reconcile.launch import LaunchRecord, launch_record
from controller.reconcile.observe import experiment_of
from controller.reconcile.outcome import Done, Outcome, Stalled, Waiting
from controller.reconcile.place import try_place
from controller.reconcile.record import finish
from controller.reconcile.times import timestamp

MAX_TRANSITIONS = 100
"""Transitions in one pass; more means that something does not converge."""


def identify(ports: Ports, work: Work) -> Outcome | None:
    """Which document is it, and which row? Invalid, clashing and missing documents end here, unless something runs."""
    work.row = ports.store.experiment(work.key)
    documents = _documents(ports, work)
    if len(documents) > 1:
        work.clash = tuple(sorted(document.file for document in documents))
        # A name that was never seen needs a row for its status, or the clash would be told to nobody.
        work.row = work.row or ports.store.observe(work.key, documents[0].spec_sha256, documents[0].file)
    elif documents:
        work.document = documents[0]
        work.row = ports.store.observe(work.key, work.document.spec_sha256, work.document.file)
    work.run = _active(ports, work)
    work.foreign = work.document is None and work.row is not None and not ports.source.covers(work.row.place)
    if work.run is None and work.problems:
        return Stalled("InvalidSpec", str(work.problems[0]))
    if work.run is None and work.clash:
        return Stalled("NameClash", f"{work.key} stands in {', '.join(work.clash)}; rename or remove one")
    return None


def retire(ports: Ports, work: Work) -> Outcome | None:
    """A spec that is gone: its active run is cancelled, its history stays. One that may come back is left alone."""
    if work.document or work.problems or work.clash or work.foreign:
        return None
    if work.key in ports.source.keys():  # noqa: SIM118  # a source is no mapping
        return (
            None
            if work.run
            else Waiting(2.0, "DeletionUnconfirmed", "the spec is missing; nothing is done until that is confirmed")
        )
    outcome = _settle(ports, work)
    if isinstance(outcome, Done) and work.row and not work.row.deleted:
        ports.store.mark_deleted(work.key)
    return outcome


def judge(ports: Ports, work: Work) -> Outcome | None:
    """Facts, plan and preflight of the document; remembered while a run is active: following it costs nothing."""
    if work.document is None or work.row is None:
        return None
    finished = None if work.run else _finished(ports, work)
    if finished is not None:
        work.run = finished
        work.attempt = ports.store.attempts(finished.run_id)[-1]
        return Done()
    remembered = ports.judged.get(work.key)
    if work.run and remembered and remembered.document.user_sha256 == work.document.user_sha256:
        _take(work, remembered)
    else:
        _judge_afresh(ports, work, work.document)
    return None


def act(ports: Ports, work: Work) -> Outcome | None:
    """Decide and do, until nothing more can be done now."""
    outcome = _settle(ports, work)
    if not (work.run and work.run.state == "active"):
        ports.judged.pop(work.key, None)
    return outcome


STEPS: tuple[Callable[[Ports, Work], Outcome | None], ...] = (identify, retire, judge, act)


def _documents(ports: Ports, work: Work) -> tuple[Document, ...]:
    try:
        return ports.source.get(work.key)
    except InvalidDocumentError as error:
        work.problems = error.problems
        return ()


def _active(ports: Ports, work: Work) -> RunRow | None:
    if work.row is None:
        return None
    active = ports.store.runs(uid=work.row.uid, active=True, limit=1)
    return ports.store.run(active[0].run_id) if active else None


def _finished(ports: Ports, work: Work) -> RunRow | None:
    """The finished run of this very spec and rerun token, where its plan cannot have become another: then no dataset
    has to be hashed again to know that nothing is to be done."""
    assert work.row is not None  # noqa: S101  # judge looked
    assert work.document is not None  # noqa: S101  # judge looked
    experiment = experiment_of(work.document)
    newest = next(iter(ports.store.runs(uid=work.row.uid, limit=1)), None)
    if newest is None or newest.state == "active" or newest.rerun != rerun_token(experiment):
        return None
    same = newest.launch.get("spec_sha256") == work.row.spec_sha256 and _plan_stands(ports, experiment, newest)
    return newest if same else None


def _plan_stands(ports: Ports, experiment: Experiment, run: RunRow) -> bool:
    """Is what a plan takes from outside its spec still the same: the commit where none is stated, the interpreter?"""
    source, environment = experiment.spec.source, experiment.spec.environment
    if source is not None and source.git is not None and source.git.commit is None:
        return False
    if environment.image:
        return "@sha256:" in environment.image
    found, used = ports.inputs.interpreter_facts(environment.python), LaunchRecord(run.launch).interpreter
    return used is not None and replace(found, path="", prefix="") == replace(used, path="", prefix="")


def _judge_afresh(ports: Ports, work: Work, document: Document) -> None:
    evaluation = evaluate_document(ports, document, work.row)
    ports.judged[work.key] = evaluation
    work.fresh = True
    _take(work, evaluation)


def _take(work: Work, evaluation: Evaluation) -> None:
    work.evaluation = evaluation
    work.facts, work.plan = evaluation.facts, evaluation.plan
    work.preflight, work.ceiling = evaluation.preflight, evaluation.ceiling


def _desired(ports: Ports, work: Work) -> Desired | None:
    if work.evaluation is not None and work.row is not None:
        return desired_of(work.evaluation, work.row.uid, work.row.spec_sha256)
    kept = work.problems or work.clash or work.foreign or work.key in ports.source.keys()  # noqa: SIM118  # a source is no mapping
    return desired_of_run(work.run) if work.run and kept else None


def _settle(ports: Ports, work: Work) -> Outcome:
    """Apply decisions until one of them ends the pass."""
    if work.row is None:
        return Done()
    for _ in range(MAX_TRANSITIONS):
        _catch_up(ports, work)
        action = decide(_desired(ports, work), _views(ports, work))
        if action.kind is Kind.LAUNCH and work.document is not None and not work.fresh:
            _judge_afresh(ports, work, work.document)  # what was remembered while a run was active may have moved
            continue
        outcome = _APPLY[action.kind](ports, work, action)
        if outcome is not None:
            _catch_up(ports, work)
            return outcome
    raise RuntimeError(
        f"{work.key}: {MAX_TRANSITIONS} transitions in one pass; the last: {action.kind}, {action.reason}"
    )


def _catch_up(ports: Ports, work: Work) -> None:
    """Read run and attempt afresh; an attempt that has ended is collected before anything is decided about it."""
    if work.run is None:
        return
    work.run = ports.store.run(work.run.run_id)
    rows = ports.store.attempts(work.run.run_id) if work.run else ()
    work.attempt = rows[-1] if rows else None
    if work.run and work.attempt and work.run.state == "active" and work.attempt.state is AttemptState.EXITED:
        work.attempt = attempts.collect_attempt(ports, work.run, work.attempt)


def _views(ports: Ports, work: Work) -> tuple[RunView, ...]:
    assert work.row is not None  # noqa: S101  # _settle looked
    runs = ports.store.runs(uid=work.row.uid)
    return tuple(view(run, tuple(ports.store.attempts(run.run_id)) if run.state == "active" else ()) for run in runs)


_Apply = Callable[[Ports, Work, Action], Outcome | None]


def _nothing(ports: Ports, work: Work, action: Action) -> Outcome | None:
    work.elsewhere = action.reason == "FinishedElsewhere"
    work.run = ports.store.run(action.run_id) if action.run_id else None
    return Done()


def _leave_finished(work: Work) -> None:
    """What is said now is about another plan than that of the run that just ended."""
    if work.run and work.run.state != "active":
        work.run = work.attempt = None


def _launch(ports: Ports, work: Work, action: Action) -> Outcome | None:
    evaluation = work.evaluation
    assert evaluation is not None  # noqa: S101  # only a judged spec is launched
    assert work.row is not None  # noqa: S101  # _settle looked
    _leave_finished(work)
    objection = _objection(evaluation)
    if objection is not None:
        return objection
    request = request_of(evaluation.experiment, action.run_id, timestamp(ports.clock.now()))
    with ports.placing:
        world = world_now(ports, evaluation)
        placed = try_place(ports.line, world, work.key, request)
        if not placed.fits:
            work.placement = placed.message
            return Waiting(30.0, "WaitingForCapacity", f"{placed.reason}: {placed.message}")
        work.run = _intent(work.row, request, placed, evaluation)
        work.attempt = ports.store.begin_run(work.run, ports.runtime.name)
    ports.events.emit(str(work.key), "Normal", "Launching", f"run {action.run_id}: {action.message}")
    return None


def _objection(evaluation: Evaluation) -> Outcome | None:
    if not evaluation.preflight.objections:
        return None
    worst = evaluation.preflight.objections[0]
    if worst.verdict is Verdict.REFUSE:
        return Stalled(worst.reason, worst.message)
    return Waiting(2.0, worst.reason, worst.message, world=True)


def _intent(row: ExperimentRow, request: Request, placed: Placement, evaluation: Evaluation) -> RunRow:
    launch = launch_record(evaluation.document, evaluation.experiment, evaluation.facts, evaluation.ceiling)
    return RunRow(
        run_id=request.run_id,
        uid=row.uid,
        key=row.key,
        plan_sha256=evaluation.plan.sha256,
        rerun=rerun_token(evaluation.experiment),
        state="active",
        created_at=request.created_at,
        plan=evaluation.plan.data,
        spec=evaluation.experiment.canonical(),
        launch=launch | {"spec_sha256": row.spec_sha256, "request": asdict(request), "gpus": list(placed.gpus)},
    )


def _now(work: Work) -> tuple[RunRow, AttemptRow]:
    assert work.run is not None  # noqa: S101  # decide saw an active run
    assert work.attempt is not None  # noqa: S101  # every run is stored with its first attempt
    return work.run, work.attempt


def _follow(ports: Ports, work: Work, action: Action) -> Outcome | None:
    outcome = attempts.follow(ports, *_now(work))
    if isinstance(outcome, Waiting) and outcome.world:
        with ports.placing:
            ports.line.serve()  # it was withdrawn, and what it held is free
    return (
        Waiting(outcome.after, action.held, action.message) if action.held and isinstance(outcome, Waiting) else outcome
    )


def _stop(ports: Ports, work: Work, action: Action) -> Outcome | None:
    return attempts.stop(ports, *_now(work), action.reason)


def _retry(ports: Ports, work: Work, action: Action) -> Outcome | None:
    run, attempt = _now(work)
    ports.store.advance(run.run_id, attempt.number, AttemptState.RECORDED)
    work.attempt = ports.store.begin_attempt(run.run_id, ports.runtime.name)
    ports.events.emit(run.run_id, "Warning", action.reason, action.message)
    return None


def _finish(ports: Ports, work: Work, action: Action) -> Outcome | None:
    run, _ = _now(work)
    finish(ports, run, action)
    with ports.placing:
        ports.line.serve()  # what the run held is free from this commit on
    return None


def _hold(_ports: Ports, work: Work, action: Action) -> Outcome | None:
    _leave_finished(work)
    return Stalled(action.reason, action.message)


_APPLY: dict[Kind, _Apply] = {
    Kind.NOTHING: _nothing, Kind.LAUNCH: _launch, Kind.FOLLOW: _follow, Kind.STOP: _stop,
    Kind.RETRY: _retry, Kind.FINISH: _finish, Kind.HOLD: _hold, Kind.REFUSE: _hold,
}  # fmt: skip
