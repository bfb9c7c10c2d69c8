"""A run manifest is complete, consistent and readable, or every reason why not is said in a sentence."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from controller.api.canonical import canonical_bytes
from controller.api.manifest import (
    MAX_MANIFEST_BYTES,
    InvalidManifestError,
    RunManifest,
    completeness,
    lifecycle_problems,
    load_manifest,
    manifest_bytes,
    manifest_schema,
)
from tests.fakes.signed_run import content, manifest_of

ROOT = Path(__file__).parents[3]
GOOD = manifest_of(content())
VALUES: dict[str, Any] = json.loads(manifest_bytes(GOOD))
ATTEMPT = VALUES["attempts"][0]
SCHEMA = jsonschema.Draft202012Validator(manifest_schema())


def changed(**changes: Any) -> dict[str, Any]:
    """The values with fields replaced; None takes a field away."""
    return {key: value for key, value in (VALUES | changes).items() if value is not None}


def problems(values: dict[str, Any]) -> tuple[str, ...]:
    """What loading these values says is wrong."""
    with pytest.raises(InvalidManifestError) as caught:
        load_manifest(canonical_bytes(values))
    return caught.value.problems


def test_the_committed_schema_is_current() -> None:
    committed = json.loads((ROOT / "schemas" / "run_manifest.schema.json").read_text())
    assert committed == json.loads(json.dumps(manifest_schema())), "run: make generate"


def test_stored_bytes_read_back_to_the_same_manifest_and_the_same_bytes() -> None:
    data = manifest_bytes(GOOD)
    assert load_manifest(data) == GOOD
    assert manifest_bytes(load_manifest(data)) == data
    assert canonical_bytes(json.loads(data)) == data
    assert load_manifest(json.dumps(VALUES, indent=4).encode()) == GOOD


def test_a_manifest_cannot_be_changed_in_memory() -> None:
    with pytest.raises(ValueError, match="frozen"):
        GOOD.state = "failed"  # type: ignore[misc]  # the point of the test


def test_the_json_schema_accepts_what_the_model_accepts() -> None:
    SCHEMA.check_schema(SCHEMA.schema)
    SCHEMA.validate(VALUES)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"state": "running"}, "a run that is running must not have ended_at"),
        ({"state": "running", "started_at": None}, "a run that is running must have started_at"),
        ({"started_at": None}, "a run that is completed must have started_at"),
        ({"ended_at": None}, "a run that is completed must have ended_at"),
        ({"state": "cancelled", "ended_at": None}, "a run that is cancelled must have ended_at"),
        ({"exit_code": None}, "a run that is completed must have exit_code, or failure_reason when there is none"),
        ({"exit_code": 1}, "a run that is completed must have exit_code 0 and no failure_reason"),
        ({"failure_reason": "X"}, "a run that is completed must have exit_code 0 and no failure_reason"),
        ({"state": "failed"}, "a run that is failed with exit_code 0 must have failure_reason"),
        (
            {"state": "failed", "exit_code": None},
            "a run that is failed must have exit_code, or failure_reason when there is none",
        ),
        ({"started_at": "2026-01-02T03:04:04Z"}, "started_at is before created_at"),
        ({"ended_at": "2026-01-02T03:04:06Z"}, "ended_at is before started_at"),
        ({"ended_at": "2026-02-30T03:04:06Z"}, "ended_at is not a real time: 2026-02-30T03:04:06Z"),
        ({"attempt": 2}, "attempt is 2, but the newest of attempts is 1"),
        ({"attempts": [ATTEMPT | {"number": 2}]}, "attempts must be numbered 1, 2, 3, ... in order"),
        ({"attempts": [ATTEMPT | {"exit_code": 3}]}, "exit_code is 0, but that of the newest attempt is 3"),
        (
            {"attempts": [ATTEMPT | {"ended_at": "2026-01-02T03:04:06Z"}]},
            "attempt 1: ended_at is before started_at",
        ),
        (
            {"attempt": 2, "attempts": [{"number": 1}, ATTEMPT | {"number": 2}]},
            "attempt 1 has no ended_at although a later attempt exists",
        ),
    ],
)
def test_a_broken_life_cycle_is_said_in_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    assert sentence in problems(changed(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "running", "ended_at": None, "exit_code": None, "attempts": [ATTEMPT | {"ended_at": None}]},
        {"state": "failed", "exit_code": 3, "attempts": [ATTEMPT | {"exit_code": 3}]},
        {"state": "failed", "failure_reason": "OutputMissing"},
        {
            "state": "failed",
            "exit_code": None,
            "failure_reason": "SupervisorLost",
            "attempts": [{key: value for key, value in ATTEMPT.items() if key != "exit_code"}],
        },
        {"state": "cancelled", "started_at": None, "exit_code": None, "attempts": None},
    ],
)
def test_every_state_has_a_valid_manifest(changes: dict[str, Any]) -> None:
    values = changed(**changes)
    assert load_manifest(canonical_bytes(values)).state == values["state"]
    SCHEMA.validate(values)


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "running", "started_at": None, "ended_at": None, "exit_code": None},
        {"started_at": None},
        {"ended_at": None},
        {"exit_code": None},
        {"state": "failed", "exit_code": None},
        {"state": "cancelled", "ended_at": None},
    ],
)
def test_the_json_schema_knows_what_each_state_requires(changes: dict[str, Any]) -> None:
    values = changed(**changes)
    assert problems(values)
    assert not SCHEMA.is_valid(values)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"note": 1}, "note: extra inputs are not permitted"),
        ({"node": {"colour": "red"}}, "node.colour: extra"),
        ({"plan_sha256": "sha256:123"}, "plan_sha256: "),
        ({"run_id": "../x"}, "run_id: "),
        ({"run_id": None}, "run_id: field required"),
        ({"attempt": "1"}, "attempt: "),
        ({"created_at": "2026-01-02T03:04:05+00:00"}, "created_at: "),
        ({"created_at": "2026-01-02 03:04:05Z"}, "created_at: "),
        ({"state": "succeeded"}, "state: "),
        ({"command": []}, "command: "),
        ({"version": "v2"}, "version: "),
        ({"outputs": [VALUES["outputs"][0] | {"path": "../../etc/passwd"}]}, "must be a plain path beneath"),
        ({"outputs": [VALUES["outputs"][0] | {"path": "/etc/passwd"}]}, "must be a plain path beneath"),
        ({"outputs": [VALUES["outputs"][0] | {"path": "a//b"}]}, "must be a plain path beneath"),
        ({"outputs": [VALUES["outputs"][0] | {"path": "a\nb"}]}, "must be a plain path beneath"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], words: str) -> None:
    assert any(words in problem for problem in problems(changed(**changes)))


def test_all_problems_come_at_once() -> None:
    found = problems(changed(attempt="1", state="done", note=1))
    assert {problem.split(":")[0] for problem in found} == {"attempt", "state", "note"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "the manifest: "),
        (b'{"state": NaN}', "NaN is not a JSON number"),
        (b'{"state": 1e999}', "not JSON"),
        (b'{"state": "running", "state": "completed"}', "a key appears twice"),
        (b"[" * 200_000, "not JSON"),
        (b" " * (MAX_MANIFEST_BYTES + 1), "at most"),
    ],
)
def test_what_is_no_manifest_is_refused_with_a_reason(data: bytes, words: str) -> None:
    with pytest.raises(InvalidManifestError, match=words):
        load_manifest(data)


def test_a_good_manifest_is_complete() -> None:
    assert lifecycle_problems(GOOD) == ()
    assert completeness(GOOD) == ()


@pytest.mark.parametrize(
    ("changes", "gap"),
    [
        ({"state": "running", "ended_at": None, "exit_code": None}, "state: the run has not ended"),
        ({"commit_id": None}, "commit_id: the code comes from git, but no commit is recorded"),
        ({"deps_manifest": {"manifest": "x"}}, "deps_manifest.sha256: the dependency lock has no digest"),
        ({"runtime": {"name": "process"}}, "runtime.interpreter: the process runtime must record its interpreter"),
        ({"runtime": {"name": "docker"}, "image": "busybox"}, "image: no image digest is recorded"),
        ({"datasets": [{"name": "d", "uri": "file:d"}]}, "datasets: d has no sha256"),
        ({"node": VALUES["node"] | {"machine_id": ""}}, "node.machine_id: not recorded"),
        ({"attempts": None}, "attempts: the run started, but no attempt is recorded"),
        ({"logs": None}, "logs: the run started, but its log is not recorded"),
    ],
)
def test_what_l1_still_needs_is_said(changes: dict[str, Any], gap: str) -> None:
    manifest = RunManifest.model_validate_json(json.dumps(changed(**changes)))
    assert gap in completeness(manifest)
