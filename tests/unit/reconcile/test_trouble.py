"""Bad neighbours and bad hosts: invalid specs, name clashes, poison, failing writes, a lost lease."""

import errno
from typing import Any

import pytest

from controller.api.documents import Document
from controller.ports.store import FencedError, StoreBusyError
from controller.reconcile.outcome import Done, Stalled, Waiting
from controller.reconcile.reconciler import MAX_HOST_BACKOFF
from tests.builders import dataset, git, sha
from tests.unit.reconcile.bench import Bench, experiment

INVALID = "apiVersion: fetchml.dev/v1alpha1\nkind: Experiment\nmetadata: {name: a}\nspec: {comand: [x]}\n"


def test_an_invalid_spec_is_stalled_with_its_place(bench: Bench) -> None:
    bench.put(experiment())
    bench.settle()
    bench.end(0)
    bench.settle()
    bench.put(INVALID)
    outcome = bench.settle()
    assert isinstance(outcome, Stalled)
    assert outcome.reason == "InvalidSpec"
    assert "a.yaml:4" in outcome.message
    assert bench.condition("Validated")["status"] == "False"


def test_a_run_goes_on_while_its_spec_is_invalid_and_can_be_cancelled(bench: Bench) -> None:
    bench.put(experiment())
    bench.settle()
    bench.put(INVALID)
    bench.settle()
    assert (bench.phase(), bench.condition("Validated")["reason"]) == ("Running", "InvalidSpec")
    bench.end(0)
    bench.settle()
    assert (bench.run().state, bench.condition("Validated")["status"]) == ("succeeded", "False")
    bench.put(experiment())
    assert bench.settle() == Done()
    assert list(bench.starts().values()) == [1]


def test_cancel_reaches_a_run_whose_spec_is_invalid(bench: Bench) -> None:
    bench.put(experiment())
    bench.settle()
    bench.put(INVALID)
    bench.store.request_cancel(bench.run().run_id)
    bench.settle()
    assert bench.run().state == "cancelled"


def test_two_specs_with_one_name_stall_both_until_one_goes(bench: Bench) -> None:
    bench.put(experiment(seed=1), "one.yaml")
    bench.put(experiment(seed=2), "two.yaml")
    outcome = bench.settle()
    assert isinstance(outcome, Stalled)
    assert outcome.reason == "NameClash"
    assert "one.yaml, two.yaml" in outcome.message
    assert bench.starts() == {}
    bench.source.remove("one.yaml")
    bench.settle()
    assert bench.phase() == "Running"


def test_a_clash_leaves_what_runs_alone(bench: Bench) -> None:
    bench.put(experiment(), "one.yaml")
    bench.settle()
    bench.put(experiment(seed=2), "two.yaml")
    bench.settle()
    assert (bench.phase(), bench.condition("Validated")["reason"]) == ("Running", "NameClash")
    bench.end(0)
    bench.settle()
    assert bench.run().state == "succeeded"


def test_a_poison_spec_backs_off_and_its_neighbours_go_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    original = bench.inputs.git_facts

    def poison(document: Document, source: object) -> object:
        if document.name == "a":
            raise RuntimeError("boom")
        return original(document, source)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(bench.inputs, "git_facts", poison)
    bench.put(experiment())
    bench.put(experiment("b"), "b.yaml")
    pauses = []
    for _ in range(12):
        outcome = bench.once("a")
        assert isinstance(outcome, Waiting)
        pauses.append(outcome.after)
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == 300
    assert (bench.phase(), bench.condition("Reconciling")["message"]) == ("Waiting", "RuntimeError: boom")
    assert "RetryAfterError" in bench.events.reasons
    bench.settle("b")
    assert bench.phase("b") == "Running"
    monkeypatch.undo()
    bench.settle("a")
    assert bench.phase() == "Running"
    monkeypatch.setattr(bench.inputs, "git_facts", poison)
    bench.put(experiment(seed=3))
    outcome = bench.once("a")
    assert isinstance(outcome, Waiting)
    assert outcome.after == 1, "a good pass forgets the failures"


def test_a_status_that_cannot_be_written_back_loses_nothing(bench: Bench) -> None:
    bench.source.refuse_writes = "the folder is read-only"
    bench.put(experiment())
    outcome = bench.settle()
    assert isinstance(outcome, Waiting)
    assert "StatusNotWritten" in bench.events.reasons
    assert bench.phase() == "Running", "the store has it"
    bench.end(0)
    outcome = bench.once()
    assert isinstance(outcome, Waiting)
    assert outcome.reason == "StatusNotWritten"
    assert bench.phase() == "Succeeded"
    bench.source.refuse_writes = ""
    assert bench.settle() == Done()
    assert bench.source.status_of("a")["phase"] == "Succeeded"


def test_a_spec_that_moved_during_the_pass_is_looked_at_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.put(experiment())
    monkeypatch.setattr(bench.source, "write_status", lambda *_: False)
    outcome = bench.once()
    assert isinstance(outcome, Waiting)
    assert outcome.after <= 0.5


@pytest.mark.parametrize("method", ["observe", "begin_run", "advance", "save_status", "finish_run"])
@pytest.mark.parametrize("error", [StoreBusyError("locked by somebody"), OSError(errno.ENOSPC, "no space left")])
def test_a_store_that_fails_for_a_while_loses_and_doubles_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, method: str, error: Exception
) -> None:
    bench.outcome = 0
    bench.crash()

    def fail(*_: object, **__: object) -> object:
        raise error

    monkeypatch.setattr(bench.store, method, fail)
    bench.put(experiment())
    for _ in range(8):
        outcome = bench.once()
    assert isinstance(outcome, Waiting)
    assert outcome.failed
    assert outcome.after <= MAX_HOST_BACKOFF
    assert any(word in outcome.message for word in ("locked by somebody", "no space left"))
    monkeypatch.undo()
    assert bench.settle() == Done()
    assert bench.phase() == "Succeeded"
    assert list(bench.starts().values()) == [1]


def test_a_record_that_cannot_be_written_is_written_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.put(experiment())
    bench.settle()
    bench.end(0)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("controller.reconcile.record.write_atomic", full)
    bench.settle()
    assert bench.run().state == "active"
    monkeypatch.undo()
    assert bench.settle() == Done()
    assert bench.condition("ProvenanceRecorded")["status"] == "True"


def test_a_fenced_reconciler_writes_nothing_more(bench: Bench) -> None:
    mine = bench.store.acquire("reconciler", "me", 10)
    assert mine is not None
    bench.store.set_fence(mine)
    bench.put(experiment())
    bench.settle()
    bench.store.release(mine)  # by force, as `ml unlock --force` does
    assert bench.store.peer().acquire("reconciler", "somebody else", 10) is not None
    bench.end(0)
    with pytest.raises(FencedError):
        bench.once()
    assert bench.run().state == "active", "the other one records it"


def test_what_is_known_from_elsewhere_is_followed_but_never_retired(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.put(experiment())
    bench.settle()
    bench.files.clear()
    bench.crash()
    bench.source.poll(None)
    monkeypatch.setattr(bench.source, "covers", lambda _place: False)
    monkeypatch.setattr(bench.source, "keys", frozenset)
    bench.settle()
    assert bench.run().state == "active"
    bench.end(0)
    bench.settle()
    assert bench.run().state == "succeeded"
    row = bench.store.experiment(bench.run().key)
    assert row is not None
    assert not row.deleted


def test_data_that_changed_during_the_run_shows_in_the_level(bench: Bench) -> None:
    bench.inputs.datasets["d"] = dataset("d", sha256=sha("a"))
    bench.inputs.rehashed["d"] = sha("b")
    bench.put(
        experiment(
            datasets=[{"name": "d", "uri": "file:d", "sha256": sha("a")}], reproducibility={"minTrustLevel": "L0"}
        )
    )
    bench.settle()
    (bench.folder() / "run.log").write_text("")
    bench.end(0)
    bench.settle()
    assert bench.phase() == "Succeeded"
    assert bench.status()["trustLevel"] < "L2"
    assert "InputsChangedDuringRun" in {cap["reason"] for cap in bench.run().result["trust"]["caps"]}


def _run_with_data(bench: Bench, **found: Any) -> None:
    bench.inputs.datasets["d"] = dataset("d", sha256=sha("a"), stamp="before", **found)
    bench.put(
        experiment(
            datasets=[{"name": "d", "uri": "file:d", "sha256": sha("a")}], reproducibility={"minTrustLevel": "L0"}
        )
    )
    bench.settle()
    (bench.folder() / "run.log").write_text("")


@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("stamp", ["before", "after"])
def test_data_edited_and_restored_during_the_run_shows_in_the_level(bench: Bench, stamp: str, *, tracked: bool) -> None:
    _run_with_data(bench, tracked=tracked)
    bench.inputs.restamped["d"] = stamp
    bench.end(0)
    bench.settle()
    caps = {cap["reason"]: cap for cap in bench.run().result["trust"]["caps"]}
    assert ("InputsTouchedDuringRun" in caps) == (stamp == "after")
    assert "InputsChangedDuringRun" not in caps
    if stamp == "after":
        assert (bench.status()["trustLevel"], caps["InputsTouchedDuringRun"]["message"][-3:]) == ("L0", ": d")


def test_a_copy_from_the_commit_that_is_not_what_was_verified_does_not_start(bench: Bench) -> None:
    bench.inputs.rehashed["d"] = sha("b")
    bench.inputs.datasets["d"] = dataset("d", sha256=sha("a"), tracked=True)
    bench.put(experiment(datasets=[{"name": "d", "uri": "file:d", "sha256": sha("a")}]))
    bench.settle()
    assert (bench.run().state, bench.starts()) == ("failed", {})
    assert bench.run().result["reason"] == "DatasetChecksumMismatch"


def _from_git(bench: Bench, name: str, **spec: Any) -> None:
    bench.inputs.git = git(repo=".")
    bench.put(
        experiment(
            name,
            source={"git": {"repo": ".", "path": "."}},
            environment={"python": "3.11"},
            resources={"cpu": "4"},
            **spec,
        ),
        f"{name}.yaml",
    )


def test_a_damaged_object_holds_no_room_and_is_tried_again(bench: Bench) -> None:
    bench.on_host(cpus=4)
    bench.inputs.unreadable = "object 12 is corrupt; git fsck"
    _from_git(bench, "a")
    for _ in range(2):
        outcome = bench.once()
        assert isinstance(outcome, Waiting)
        assert (outcome.reason, outcome.world, outcome.failed) == ("SourceUnreadable", True, False)
        assert (bench.phase(), bench.runs()) == ("Waiting", [])
        assert "git fsck" in bench.condition("Reconciling")["message"]
        assert list((bench.ports.base / "experiments").iterdir()) == []
    bench.put(experiment("b", resources={"cpu": "4"}), "b.yaml")
    bench.settle("b")
    assert bench.phase("b") == "Running"
    bench.end(0, name="b")
    bench.settle("b")
    bench.inputs.unreadable = ""
    bench.settle()
    assert bench.phase() == "Running"


def test_an_object_that_is_damaged_before_a_retry_ends_the_run(bench: Bench) -> None:
    _from_git(bench, "a", scheduling={"retries": {"max": 2, "reasons": ["NodeLost"]}})
    bench.settle()
    bench.inputs.unreadable = "object 12 is corrupt"
    bench.end(None, "NodeLost")
    bench.settle()
    assert (bench.run().state, bench.run().result["reason"]) == ("failed", "SourceUnreadable")
    assert len(bench.starts()) == 1


def test_a_document_of_another_kind_is_not_run(bench: Bench) -> None:
    bench.put("apiVersion: fetchml.dev/v1alpha1\nkind: Quota\nmetadata: {name: a}\nspec: {runs: 1}\n")
    assert bench.settle() == Done()
    assert bench.store.experiments() == []
