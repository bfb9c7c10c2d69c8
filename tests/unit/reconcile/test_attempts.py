"""Attempts: retries, deadlines, cancelling in every state, losing what runs, and checkpoints across attempts."""

import json
from dataclasses import replace
from typing import Any

import pytest

from controller.ports.runtime import Observed, RuntimeState
from controller.ports.store import ORDER, AttemptRow, AttemptState
from controller.reconcile.outcome import Done
from tests.builders import git
from tests.unit.reconcile.bench import LOST, Bench, experiment, key


def retrying(most: int, **more: Any) -> str:
    return experiment(scheduling={"retries": {"max": most, "reasons": list(LOST)}}, **more)


def test_a_lost_supervisor_is_retried_up_to_the_maximum(bench: Bench) -> None:
    bench.put(retrying(2))
    for number in (1, 2, 3):
        bench.settle()
        assert bench.attempt().number == number
        bench.runtime.lose(bench.attempt_name())
    bench.settle()
    assert (bench.phase(), bench.condition("Failed")["reason"]) == ("Failed", "SupervisorLost")
    assert list(bench.starts().values()) == [1, 1, 1]
    manifest = json.loads((bench.folder() / "run_manifest.json").read_bytes())
    assert [entry["reason"] for entry in manifest["attempts"]] == ["SupervisorLost"] * 3


@pytest.mark.parametrize(
    ("exit_code", "reason", "expected"),
    [
        (3, "", "NonZeroExit"),
        (None, "DeadlineExceeded", "DeadlineExceeded"),
        (137, "OutOfMemory", "OutOfMemory"),
        (None, "", "RuntimeLost"),
    ],
)
def test_a_reason_that_is_not_listed_is_not_retried(
    bench: Bench, exit_code: int | None, reason: str, expected: str
) -> None:
    bench.put(experiment(scheduling={"retries": {"max": 2, "reasons": ["NodeLost"]}, "deadline": "1h"}))
    bench.settle()
    bench.end(exit_code, reason)
    bench.settle()
    assert (bench.phase(), bench.condition("Failed")["reason"]) == ("Failed", expected)
    assert len(bench.starts()) == 1


def test_the_deadline_reaches_the_runtime_in_seconds(bench: Bench) -> None:
    bench.put(experiment(scheduling={"deadline": "2h"}, checkpoint={"graceSeconds": 60}))
    bench.settle()
    limits = bench.world.specs[bench.attempt_name()].limits
    assert (limits.deadline, limits.grace) == (7200.0, 60.0)


def advance_to(bench: Bench, state: AttemptState, monkeypatch: pytest.MonkeyPatch, spec: str = "") -> None:
    """Put the run into this state of its attempt, as a reconciler leaves it that died right after that commit."""
    bench.put(spec or retrying(1))
    original = bench.store.advance

    def until(run_id: str, number: int, reached: AttemptState, **values: object) -> AttemptRow:
        row = original(run_id, number, reached, **values)
        if reached is state:
            raise KeyboardInterrupt
        return row

    if state is AttemptState.INTENDED:
        monkeypatch.setattr(bench.runtime, "create", crash)
        with pytest.raises(KeyboardInterrupt):
            bench.settle()
    elif state in ORDER[1:3]:
        monkeypatch.setattr(bench.store, "advance", until)
        with pytest.raises(KeyboardInterrupt):
            bench.settle()
    else:
        bench.settle()
        bench.runtime.lose(bench.attempt_name())
        monkeypatch.setattr(bench.store, "advance", until)
        with pytest.raises(KeyboardInterrupt):
            bench.settle()
    bench.crash()
    assert bench.attempt().state is state


def crash(_attempt: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("state", ORDER)
def test_cancel_in_every_state(bench: Bench, state: AttemptState, monkeypatch: pytest.MonkeyPatch) -> None:
    advance_to(bench, state, monkeypatch)
    assert bench.store.request_cancel(bench.run().run_id)
    bench.crash()
    assert bench.settle() == Done()
    assert (bench.phase(), bench.condition("Failed")["reason"]) == ("Cancelled", "CancelRequested")
    assert bench.runtime.list(bench.store.store_id) == ()
    assert all(count == 1 for count in bench.starts().values())
    started = bool(bench.starts())
    assert bench.condition("ProvenanceRecorded")["status"] == ("True" if started else "False")
    assert (bench.folder() / "run_manifest.json").exists() == started


@pytest.mark.parametrize("state", ORDER)
def test_a_crash_after_every_state_is_taken_up_again(
    bench: Bench, state: AttemptState, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance_to(bench, state, monkeypatch)
    bench.settle()
    bench.end(0)
    assert bench.settle() == Done()
    assert bench.phase() == "Succeeded"
    assert all(count == 1 for count in bench.starts().values())


def test_one_that_was_created_but_whose_supervisor_never_came_is_cancelled_without_starting(bench: Bench) -> None:
    bench.put(experiment())
    bench.settle()
    name = bench.attempt_name()
    bench.world.seen[name] = Observed(name, RuntimeState.CREATED)
    bench.world.starts.clear()
    bench.store.request_cancel(bench.run().run_id)
    bench.settle()
    assert bench.phase() == "Cancelled"
    assert bench.starts() == {}


def test_one_whose_supervisor_died_before_it_claimed_is_started_again(bench: Bench) -> None:
    bench.put(experiment())
    bench.settle()
    name = bench.attempt_name()
    bench.world.seen[name] = replace(bench.world.seen[name], state=RuntimeState.CREATED)
    bench.settle()
    assert bench.phase() == "Running"
    assert bench.world.seen[name].state is RuntimeState.RUNNING


@pytest.mark.parametrize(("boot_id", "exports"), [("b1", 1), ("b2", 2)])
def test_private_copies_do_not_outlive_a_reboot(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, boot_id: str, exports: int
) -> None:
    bench.inputs.git = git()
    spec = retrying(1, source={"git": {"path": "code"}}, environment={"python": "3.11"})
    advance_to(bench, AttemptState.CREATED, monkeypatch, spec)
    name = bench.attempt_name()
    bench.world.seen[name] = Observed(name, RuntimeState.CREATED)
    bench.inventory.facts = replace(bench.inventory.facts, boot_id=boot_id)
    bench.settle()
    assert bench.phase() == "Running"
    assert sum(call.startswith("export ") for call in bench.inputs.calls) == exports


def test_one_that_could_never_be_started_has_no_time_of_start(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    advance_to(bench, AttemptState.CREATED, monkeypatch)
    name = bench.attempt_name()
    bench.world.seen[name] = Observed(name, RuntimeState.EXITED, reason="StartFailed", message="no such program")
    bench.settle()
    assert bench.attempt().started_at is None
    assert bench.condition("Failed")["reason"] == "StartFailed"
    assert bench.condition("ProvenanceRecorded")["reason"] == "NeverStarted"


def test_the_machine_forgot_a_started_attempt(bench: Bench) -> None:
    bench.put(retrying(1))
    bench.settle()
    bench.runtime.forget(bench.attempt_name())
    bench.settle()
    assert bench.store.attempts(bench.run().run_id)[0].reason == "RuntimeLost"
    assert bench.attempt().number == 2


def test_deleting_the_spec_cancels_its_run_and_keeps_its_history(bench: Bench) -> None:
    bench.put(experiment())
    bench.settle()
    bench.delete()
    bench.settle()
    assert bench.run().state == "cancelled"
    assert bench.run().result["reason"] == "SpecDeleted"
    assert bench.store.experiments() == []
    assert (bench.folder() / "attestation.dsse.json").exists()
    bench.put(experiment())
    bench.settle()
    assert (bench.phase(), len(bench.runs())) == ("Cancelled", 1), "the same spec is the same run, and that is over"


def test_a_deletion_that_is_not_confirmed_leaves_the_run_alone(bench: Bench) -> None:
    bench.put(experiment())
    bench.settle()
    bench.source.remove("a.yaml")
    bench.settle()
    assert bench.run().state == "active"
    bench.end(0)
    bench.settle()
    assert bench.run().state == "succeeded", "it is followed to its end"


def test_earlier_results_and_log_are_kept_and_checkpoints_are_handed_on(bench: Bench) -> None:
    bench.put(retrying(2, checkpoint={"graceSeconds": 1}))
    bench.settle()
    for number, files in ((1, 0), (2, 3), (3, 5)):
        assert bench.attempt().number == number
        (bench.folder() / "results" / "who.txt").write_text(f"attempt {number}")
        (bench.folder() / "run.log").write_text(f"log {number}")
        for count in range(files):
            (bench.folder() / "checkpoints" / f"{count}.npz").write_text("x")
        if number < 3:
            bench.runtime.lose(bench.attempt_name())
            bench.settle()
    bench.end(0)
    bench.settle()
    folder = bench.folder()
    for number in (1, 2):
        assert (folder / "attempts" / str(number) / "results" / "who.txt").read_text() == f"attempt {number}"
        assert (folder / "attempts" / str(number) / "run.log").read_text() == f"log {number}"
    assert (folder / "results" / "who.txt").read_text() == "attempt 3"
    manifest = json.loads((folder / "run_manifest.json").read_bytes())
    assert manifest["checkpoints"] == [
        {"attempt": 1, "files": 0},
        {"attempt": 2, "files": 3},
        {"attempt": 3, "files": 5, "resumed_from": 2},
    ]


def test_without_checkpoints_there_is_no_lineage(bench: Bench) -> None:
    bench.put(experiment())
    bench.settle()
    bench.end(0)
    bench.settle()
    assert json.loads((bench.folder() / "run_manifest.json").read_bytes())["checkpoints"] == []
    assert not (bench.folder() / "checkpoints").exists()
    assert bench.store.experiment(key()) is not None
