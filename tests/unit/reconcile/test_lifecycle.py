"""From a saved spec to a recorded run: launching, waiting, refusing, holding, and what changes start."""

import json
from typing import Any

import pytest

from controller.api.documents import load, with_status
from controller.ports.inputs import EnvironmentBuildError
from controller.ports.runtime import AttemptSpec, RuntimeRefusedError
from controller.reconcile.outcome import Done, Stalled, Waiting
from tests.builders import dataset, git, interpreter, sha
from tests.unit.reconcile.bench import Bench, experiment

RERUN = {"annotations": {"fetchml.dev/rerun": "again"}}


def test_a_spec_runs_to_a_signed_record(bench: Bench) -> None:
    bench.put(experiment(outputs=[{"name": "out", "path": "out.txt"}], parameters={"lr": 1e-3}))
    running = bench.settle()
    assert isinstance(running, Waiting)
    assert bench.phase() == "Running"
    assert json.loads((bench.folder() / "run_manifest.json").read_bytes())["state"] == "running"
    (bench.folder() / "results" / "out.txt").write_text("42\n")
    (bench.folder() / "run.log").write_text("hi\n")
    bench.end(0)
    assert bench.settle() == Done()
    status = bench.status()
    assert status["phase"] == "Succeeded"
    assert [entry["path"] for entry in status["outputs"]] == ["out.txt"]
    assert bench.condition("ProvenanceRecorded")["status"] == "True"
    for name in ("spec.yaml", "plan.json", "run_manifest.json", "attestation.dsse.json", "verdict.dsse.json"):
        assert (bench.folder() / name).exists(), name
    assert load(bench.files["a.yaml"], "a.yaml").documents[0].model.status == status, "the status is written back"


def test_a_finished_run_is_left_alone_and_costs_no_write(bench: Bench) -> None:
    bench.outcome = 0
    bench.crash()
    bench.put(experiment(environment={"python": "3.11"}))
    bench.settle()
    status, writes = bench.status(), bench.store.writes
    bench.crash()
    bench.settle()
    assert (bench.status(), bench.store.writes) == (status, writes)
    assert list(bench.starts().values()) == [1]


def test_another_interpreter_is_another_plan_and_runs_again(bench: Bench) -> None:
    bench.outcome = 0
    bench.crash()
    bench.put(experiment(environment={"python": "3.11"}))
    bench.settle()
    bench.inputs.interpreter = interpreter(version="3.11.99")
    bench.crash()
    bench.settle()
    assert sorted(bench.starts().values()) == [1, 1], "as `ml explain` says, which looks at the same facts"


def test_a_refusal_stalls_and_says_why(bench: Bench) -> None:
    bench.put(experiment(datasets=[{"name": "d", "uri": "file:d", "sha256": sha("a")}]))
    bench.inputs.datasets["d"] = dataset("d", sha256=sha("b"))
    outcome = bench.settle()
    assert isinstance(outcome, Stalled)
    assert outcome.reason == "DatasetChecksumMismatch"
    assert bench.phase() == "Blocked"
    assert bench.condition("PreflightPassed")["reason"] == "DatasetChecksumMismatch"
    assert bench.starts() == {}
    bench.inputs.datasets["d"] = dataset("d", sha256=sha("a"))
    bench.settle()
    assert bench.phase() == "Running", "looked at again, it starts"


def test_what_the_world_may_change_is_waited_for(bench: Bench) -> None:
    bench.inputs.git = git(pushed=False)
    bench.put(experiment(source={"git": {"path": "code"}}, environment={"python": "3.11"}))
    outcome = bench.settle()
    assert isinstance(outcome, Waiting)
    assert outcome.world
    assert (bench.phase(), bench.condition("Reconciling")["reason"]) == ("Waiting", "NotPushed")
    bench.inputs.git = git()
    bench.settle()
    assert bench.phase() == "Running"


def test_suspended_starts_nothing_and_a_running_attempt_is_left_alone(bench: Bench) -> None:
    bench.put(experiment(suspend=True))
    assert isinstance(bench.settle(), Stalled)
    assert (bench.phase(), bench.condition("Stalled")["reason"]) == ("Pending", "Suspended")
    bench.put(experiment())
    bench.settle()
    bench.put(experiment(suspend=True))
    bench.settle()
    assert bench.phase() == "Running"
    bench.end(0)
    bench.settle()
    assert bench.phase() == "Succeeded"
    assert list(bench.starts().values()) == [1]


def test_a_retry_waits_while_suspended(bench: Bench) -> None:
    retries = {"retries": {"max": 1, "reasons": ["SupervisorLost"]}}
    bench.put(experiment(scheduling=retries))
    bench.settle()
    bench.put(experiment(scheduling=retries, suspend=True))
    bench.runtime.lose(bench.attempt_name())
    assert isinstance(bench.settle(), Stalled)
    assert (bench.phase(), len(bench.starts())) == ("Pending", 1)
    bench.put(experiment(scheduling=retries))
    bench.settle()
    assert (bench.phase(), len(bench.starts())) == ("Running", 2)


@pytest.mark.parametrize(
    "change",
    [{"description": "more words"}, {"scheduling": {"priority": 90}}],
    ids=["description", "priority"],
)
@pytest.mark.parametrize("ended", [True, False], ids=["finished", "running"])
def test_a_change_that_leaves_the_plan_alone_starts_nothing(
    bench: Bench, change: dict[str, object], ended: bool
) -> None:
    bench.put(experiment())
    bench.settle()
    if ended:
        bench.end(0)
        bench.settle()
    before = bench.status()
    bench.put(experiment(**change))  # type: ignore[arg-type]  # metadata or spec fields
    bench.settle()
    after = bench.status()
    assert after["observedGeneration"] == 2
    assert (after["phase"], after["run"]["id"]) == (before["phase"], before["run"]["id"])
    assert list(bench.starts().values()) == [1]


def test_labels_and_other_annotations_start_nothing(bench: Bench) -> None:
    bench.outcome = 0
    bench.crash()
    bench.put(experiment())
    bench.settle()
    bench.put(experiment(metadata={"labels": {"a": "b"}, "annotations": {"note": "x"}}))
    assert bench.settle() == Done()
    assert (bench.phase(), list(bench.starts().values())) == ("Succeeded", [1])


def test_there_and_back_starts_nothing_until_a_rerun_is_asked_for(bench: Bench) -> None:
    bench.outcome = 0
    bench.crash()
    for seed in (1, 2, 1):
        bench.put(experiment(seed=seed))
        bench.settle()
    assert (len(bench.runs()), bench.phase()) == (2, "Succeeded")
    assert bench.status()["run"]["id"] == bench.runs()[0].run_id, "the status shows the run of this plan"
    bench.put(experiment(seed=1, metadata=RERUN))
    bench.settle()
    assert len(bench.runs()) == 3
    assert set(bench.starts().values()) == {1}


def test_on_spec_change_finish_lets_the_old_run_end_first(bench: Bench) -> None:
    bench.put(experiment(seed=1))
    bench.settle()
    old = bench.attempt_name()
    bench.put(experiment(seed=2))
    outcome = bench.settle()
    assert isinstance(outcome, Waiting)
    assert (outcome.reason, bench.starts()) == ("SpecChangeWaits", {old: 1})
    bench.end(0)
    bench.settle()
    assert [run.state for run in bench.runs()] == ["succeeded", "active"]


def test_on_spec_change_replace_stops_the_old_run(bench: Bench) -> None:
    bench.put(experiment(seed=1, scheduling={"onSpecChange": "replace"}))
    bench.settle()
    bench.put(experiment(seed=2, scheduling={"onSpecChange": "replace"}))
    bench.settle()
    assert [run.state for run in bench.runs()] == ["cancelled", "active"]
    assert bench.runs()[0].result["reason"] == "SpecReplaced"


def test_a_plan_that_is_refused_replaces_nothing(bench: Bench) -> None:
    bench.put(experiment(seed=1, scheduling={"onSpecChange": "replace"}))
    bench.settle()
    bench.inputs.interpreter = interpreter(found=False)
    bench.put(experiment(seed=2, scheduling={"onSpecChange": "replace"}))
    bench.settle()
    assert bench.run().state == "active"


def test_on_spec_change_refuse_follows_the_old_run_and_refuses_the_new_plan(bench: Bench) -> None:
    bench.put(experiment(seed=1, scheduling={"onSpecChange": "refuse"}))
    bench.settle()
    bench.put(experiment(seed=2, scheduling={"onSpecChange": "refuse"}))
    outcome = bench.settle()
    assert isinstance(outcome, Waiting)
    assert outcome.reason == "SpecChangeRefused"
    bench.end(0)
    outcome = bench.settle()
    assert isinstance(outcome, Stalled)
    assert (outcome.reason, len(bench.runs())) == ("SpecChangeRefused", 1)
    bench.put(experiment(seed=2, metadata=RERUN, scheduling={"onSpecChange": "refuse"}))
    bench.settle()
    assert len(bench.runs()) == 2


def test_what_finished_elsewhere_is_believed_to_be_over_and_nothing_more(bench: Bench) -> None:
    spec = experiment().encode()
    digest = load(spec, "a.yaml").documents[0].spec_sha256
    bench.put(with_status(spec, {"phase": "Succeeded", "specSha256": digest}).decode())
    assert bench.settle() == Done()
    assert bench.starts() == {}
    assert bench.condition("ProvenanceRecorded")["reason"] == "FinishedElsewhere"
    assert bench.condition("Ready")["status"] == "Unknown", "nobody has seen it run"
    assert bench.status()["trustCaps"][0]["level"] == "L0"
    rerun = experiment(metadata={"annotations": {"fetchml.dev/rerun": "here"}}).encode()
    bench.put(with_status(rerun, bench.status()).decode())
    bench.settle()
    assert len(bench.starts()) == 1, "the way out that the message names"


def test_a_rerun_that_finished_elsewhere_stays_so_once_its_status_is_written_here(bench: Bench) -> None:
    spec = experiment(metadata={"annotations": {"fetchml.dev/rerun": "2"}}).encode()
    digest = load(spec, "a.yaml").documents[0].spec_sha256
    bench.put(with_status(spec, {"phase": "Failed", "specSha256": digest, "rerun": "2"}).decode())
    for _ in range(2):
        assert bench.settle() == Done()
        bench.put(with_status(spec, bench.status()).decode())
    assert (bench.phase(), bench.starts()) == ("Failed", {})


def test_a_status_of_another_spec_says_nothing(bench: Bench) -> None:
    spec = experiment().encode()
    bench.put(with_status(spec, {"phase": "Succeeded", "specSha256": sha("0")}).decode())
    bench.settle()
    assert len(bench.starts()) == 1


def test_what_the_runtime_refuses_fails_with_its_reason(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.put(experiment())

    def refuse(_attempt: AttemptSpec) -> None:
        raise RuntimeRefusedError("NeedsMountNamespace", "no")

    monkeypatch.setattr(bench.runtime, "create", refuse)
    bench.settle()
    assert (bench.phase(), bench.condition("Failed")["reason"]) == ("Failed", "NeedsMountNamespace")
    assert bench.condition("ProvenanceRecorded")["reason"] == "NeverStarted"


def test_an_environment_that_cannot_be_built_fails_and_one_that_may_be_later_waits(bench: Bench) -> None:
    bench.inputs.build_errors = [EnvironmentBuildError("the index is away", retryable=True)]
    bench.put(experiment())
    outcome = bench.settle()
    assert isinstance(outcome, Waiting)
    assert outcome.failed
    assert bench.attempt().state == "intended"
    bench.settle()
    assert bench.phase() == "Running"
    bench.end(0)
    bench.settle()
    bench.inputs.build_errors = [EnvironmentBuildError("no such wheel", retryable=False)]
    bench.put(experiment(seed=2))
    bench.settle()
    assert (bench.phase(), bench.condition("Failed")["reason"]) == ("Failed", "EnvironmentBuildFailed")


def test_without_a_key_the_run_is_recorded_and_the_status_says_what_is_missing(bench: Bench) -> None:
    bench.signer = None
    bench.outcome = 0
    bench.crash()
    bench.put(experiment(reproducibility={"minTrustLevel": "L0"}))
    bench.settle()
    assert bench.phase() == "Succeeded"
    assert bench.condition("ProvenanceRecorded")["reason"] == "NoSigningKey"


def test_the_wall_clock_may_jump_back(bench: Bench) -> None:
    bench.outcome = 0
    bench.crash()
    bench.put(experiment(seed=1))
    bench.settle()
    bench.clock.jump_wall(-86_400)
    bench.put(experiment(seed=2))
    bench.settle()
    assert bench.phase() == "Succeeded"
    bench.put(experiment(seed=2, description="x"))
    bench.settle()
    assert bench.status()["run"]["id"] == next(run.run_id for run in bench.runs() if run.created_at < "2026")
    assert set(bench.starts().values()) == {1}
    assert len(bench.runs()) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"description": "other words"},
        {"scheduling": {"priority": 99}},
        {"suspend": True},
        {"metadata": {"labels": {"project": "vision"}}},
        {"metadata": {"labels": {}}},
    ],
    ids=str,
)
def test_what_leaves_the_plan_alone_moves_the_generation_and_starts_nothing(
    bench: Bench, change: dict[str, Any]
) -> None:
    first = {"metadata": {"labels": {"project": "speech"}}}
    bench.put(experiment(**first))
    bench.settle()
    bench.end(0)
    bench.settle()
    before = bench.status()
    bench.put(experiment(**{**first, **change}))
    assert bench.settle() == Done()
    after = bench.status()
    assert after["observedGeneration"] == before["observedGeneration"] + 1 == 2
    assert (after["planSha256"], after["phase"], len(bench.starts())) == (before["planSha256"], "Succeeded", 1)


def test_labels_that_are_empty_are_no_labels() -> None:
    plain, empty = (load(experiment(metadata=metadata).encode(), "x").documents[0] for metadata in ({}, {"labels": {}}))
    assert plain.spec_sha256 == empty.spec_sha256
