"""Carry one attempt from intent to recorded, one durable state at a time.

Promises: safe to repeat from any state after a crash: what a state needs is done before the state is committed, and
doing it again does no harm. Nothing is created before the intent is stored; "already there" means adopt.
Does not: decide whether to launch, retry or finish (plan/decide.py does).
"""

from contextlib import suppress
from dataclasses import asdict
from typing import Any

from controller.plan.identity import attempt_name
from controller.ports import folders
from controller.ports.inputs import EnvironmentBuildError, SourceUnreadableError
from controller.ports.runtime import Observed, RuntimeRefusedError, RuntimeState
from controller.ports.store import AttemptRow, AttemptState, RunRow
from controller.reconcile.collect import collect
from controller.reconcile.context import Ports
from controller.reconcile.files import RunFiles, run_files, write_atomic
from controller.reconcile.launch import LaunchRecord
from controller.reconcile.manifest import running_manifest
from controller.reconcile.outcome import Outcome, Waiting
from controller.reconcile.stage import describe, stage
from controller.reconcile.times import timestamp

UNREADABLE = "SourceUnreadable"


def follow(ports: Ports, run: RunRow, attempt: AttemptRow) -> Outcome | None:
    """Move the attempt one state on. None: it moved, look again; Waiting: it runs."""
    match attempt.state:
        case AttemptState.INTENDED:
            return _create(ports, run, attempt)
        case AttemptState.CREATED:
            return _start(ports, run, attempt)
        case AttemptState.STARTED:
            return _look(ports, run, attempt)
        case _:
            return None


def stop(ports: Ports, run: RunRow, attempt: AttemptRow, reason: str) -> Outcome | None:
    """Ask the runtime to stop the attempt; one that never started just ends."""
    name, folder = _name(run, attempt), run_files(ports.base, run.run_id).folder
    seen = ports.runtime.inspect(name, folder)
    if seen.state in (RuntimeState.CREATED, RuntimeState.RUNNING):  # CREATED: from now on nobody can start it any more
        ports.runtime.stop(name, folder, grace=LaunchRecord(run.launch).grace)
    if seen.state in (RuntimeState.ABSENT, RuntimeState.CREATED) and attempt.state is not AttemptState.STARTED:
        ports.runtime.remove(name, folder)
        _end(ports, attempt, reason, "it had not started")
        return None
    if seen.state in (RuntimeState.CREATED, RuntimeState.RUNNING):
        return Waiting(ports.policy.poll_seconds, "Stopping", f"{reason}: SIGTERM, then SIGKILL after the grace period")
    return _start(ports, run, attempt) if attempt.state is AttemptState.CREATED else _look(ports, run, attempt)


def collect_attempt(ports: Ports, run: RunRow, attempt: AttemptRow) -> AttemptRow:
    """An ended attempt: remove leftovers, hash what it left, hash its inputs again; state collected."""
    files = run_files(ports.base, run.run_id)
    ports.runtime.remove(_name(run, attempt), files.folder)
    record = LaunchRecord(run.launch)
    secrets = _known_secrets(ports, record)
    collected = collect(ports.inputs, files, record, secrets, attempt)
    row = ports.store.advance(
        run.run_id, attempt.number, AttemptState.COLLECTED, data={**attempt.data, "collected": asdict(collected)}
    )
    discard_scratch(files, attempt.number)  # only now: a crash before the commit hashes the staged copies again
    return row


def _known_secrets(ports: Ports, record: LaunchRecord) -> dict[str, str]:
    """Values to look for in outputs; one that was withdrawn meanwhile cannot be looked for."""
    known = {}
    for secret in record.spec.secrets:
        with suppress(LookupError):
            known[secret.env] = ports.inputs.secret_value(secret.name)
    return known


def discard_scratch(files: RunFiles, number: int) -> None:
    """Remove the private copies of code and data of an attempt."""
    for scratch in (files.workspace(number), files.dataset(number, "")):
        folders.remove(scratch)


def _name(run: RunRow, attempt: AttemptRow) -> str:
    return attempt_name(run.run_id, attempt.number)


def _create(ports: Ports, run: RunRow, attempt: AttemptRow) -> Outcome | None:
    seen = ports.runtime.inspect(_name(run, attempt), run_files(ports.base, run.run_id).folder)
    never_started = seen.state in (
        RuntimeState.ABSENT,
        RuntimeState.CREATED,
    )  # what was staged may be half: stage again
    try:
        staged = _prepare(ports, run, attempt) if never_started else {}
    except SourceUnreadableError as error:
        return _withdraw(ports, run, attempt, str(error))
    if staged is not None:
        data = {"boot_id": ports.inventory.host().boot_id, **staged}
        ports.store.advance(run.run_id, attempt.number, AttemptState.CREATED, data=data)
    return None


def _withdraw(ports: Ports, run: RunRow, attempt: AttemptRow, why: str) -> Outcome | None:
    """A pinned input is damaged or missing: hold no room. A first attempt leaves no trace; a later one ends."""
    files = run_files(ports.base, run.run_id)
    ports.runtime.remove(_name(run, attempt), files.folder)
    if attempt.number == 1:
        folders.remove(files.folder)  # before the commit: a crash between the two stages again
    if ports.store.withdraw(run.run_id):
        ports.events.emit(str(run.key), "Warning", UNREADABLE, why)
        return Waiting(2.0, UNREADABLE, why, world=True)
    _end(ports, attempt, UNREADABLE, why)
    return None


def _prepare(ports: Ports, run: RunRow, attempt: AttemptRow) -> dict[str, Any] | None:
    """Stage and create; what to remember of it. None: it can never run, and has ended with the reason."""
    try:
        stamps = stage(ports, run, attempt)
        ports.runtime.create(describe(ports, run, attempt))
    except RuntimeRefusedError as refused:
        _end(ports, attempt, refused.reason, str(refused))
        return None
    except EnvironmentBuildError as error:
        if error.retryable:
            raise
        _end(ports, attempt, "EnvironmentBuildFailed", str(error))
        return None
    return {"stamps": stamps}


def _start(ports: Ports, run: RunRow, attempt: AttemptRow) -> Outcome | None:
    files = run_files(ports.base, run.run_id)
    seen = ports.runtime.inspect(_name(run, attempt), files.folder)
    never_started = seen.state in (RuntimeState.ABSENT, RuntimeState.CREATED)
    try:
        staged = _prepare(ports, run, attempt) if never_started and _unsound(ports, attempt, seen) else {}
    except SourceUnreadableError as error:
        return _withdraw(ports, run, attempt, str(error))
    if staged is None:
        return None
    if never_started:
        ports.runtime.start(describe(ports, run, attempt))
    over = seen.state is RuntimeState.EXITED  # without a time of start it never ran: the runtime could not start it
    started = seen.started_at or (None if over else timestamp(ports.clock.now()))
    row = ports.store.advance(run.run_id, attempt.number, AttemptState.STARTED, started_at=started, data=staged)
    if started:
        write_atomic(files.manifest, running_manifest(ports, run, row))
        ports.events.emit(run.run_id, "Normal", "Started", f"attempt {attempt.number} started")
    return None


def _unsound(ports: Ports, attempt: AttemptRow, seen: Observed) -> bool:
    """Must it be staged again? The private copies of code and data are not synced, so they do not outlive a reboot."""
    return seen.state is RuntimeState.ABSENT or attempt.data.get("boot_id") != ports.inventory.host().boot_id


def _look(ports: Ports, run: RunRow, attempt: AttemptRow) -> Outcome | None:
    seen = ports.runtime.inspect(_name(run, attempt), run_files(ports.base, run.run_id).folder)
    if seen.state is RuntimeState.RUNNING:
        return Waiting(ports.policy.poll_seconds, "Running", f"attempt {attempt.number} runs")
    if seen.state is RuntimeState.CREATED:  # the process that should have become the supervisor died first
        ports.runtime.start(describe(ports, run, attempt))
        return Waiting(ports.policy.poll_seconds, "Starting", f"attempt {attempt.number} is started again")
    _exited(ports, run, attempt, seen)
    return None


def _exited(ports: Ports, run: RunRow, attempt: AttemptRow, seen: Observed) -> None:
    lost = seen.state in (RuntimeState.LOST, RuntimeState.ABSENT)
    reason = seen.reason or ("RuntimeLost" if lost else "")
    ports.store.advance(
        run.run_id, attempt.number, AttemptState.EXITED,
        started_at=seen.started_at or attempt.started_at,
        ended_at=seen.ended_at or timestamp(ports.clock.now()),
        exit_code=seen.exit_code, reason=reason, message=seen.message,
        data={"sandbox": dict(seen.sandbox), "usage": dict(seen.usage)},
    )  # fmt: skip


def _end(ports: Ports, attempt: AttemptRow, reason: str, message: str) -> None:
    now = timestamp(ports.clock.now())
    ports.store.advance(
        attempt.run_id, attempt.number, AttemptState.EXITED, ended_at=now, reason=reason, message=message
    )
