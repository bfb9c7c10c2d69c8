"""run_manifest.json: what is recorded about one run, and the laws of its life cycle.

Promises: the model of design contract section "Files" (snake_case, frozen, unknown fields refused), its JSON Schema,
its bytes (RFC 8785, so that one manifest has one digest), and two lists of sentences: `lifecycle_problems` (what
contradicts itself) and `completeness` (what trust level L1 still needs).
Does not: read files, judge trust, or re-serialise bytes that were stored.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, JsonValue, StringConstraints, ValidationError

from controller.api.base import Commit, Sha256
from controller.api.canonical import canonical_bytes
from controller.api.manifest_records import (
    AttemptRecord,
    CheckpointRecord,
    DatasetRecord,
    DepsManifest,
    LogRecord,
    MetricsRecord,
    NodeRecord,
    OutputRecord,
    Record,
    ResourcesRecord,
    RuntimeRecord,
    SourceRecord,
    SubmissionRecord,
    Timestamp,
    TrustCeiling,
)

SCHEMA_ID = "https://fetchml.dev/schemas/run_manifest.schema.json"
MAX_MANIFEST_BYTES = 16 * 2**20

TERMINAL_STATES = frozenset({"completed", "failed", "cancelled"})


class RunManifest(Record):
    """Everything recorded about one run; the signed statement is about these bytes."""

    version: Literal["fetchml.dev/run-manifest/v1"] = "fetchml.dev/run-manifest/v1"
    run_id: Annotated[str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=53)]
    experiment: str = Field(min_length=1)
    """Name of the experiment."""
    namespace: str = "default"
    uid: str = Field(min_length=1)
    store: str | None = None
    """Id of the store that remembers the run: a re-run on another host has another one."""
    spec_sha256: Sha256
    plan_sha256: Sha256
    repro_policy: Literal["strict", "relaxed"]
    trust_ceiling: TrustCeiling
    state: Literal["running", "completed", "failed", "cancelled"]
    attempt: int = Field(default=1, ge=1)
    attempts: tuple[AttemptRecord, ...] = Field(default=(), strict=False)
    created_at: Timestamp
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    exit_code: int | None = None
    failure_reason: str | None = None
    """Stable CamelCase reason; required where a run failed without an exit code."""
    source: SourceRecord | None = None
    """Absent: the command needs no code, or it came from a snapshot."""
    commit_id: Commit | None = None
    submission: SubmissionRecord | None = None
    """Absent: no commit vouched for the spec, or nobody looked."""
    snapshot: Sha256 | None = None
    deps_manifest: DepsManifest | None = None
    image: str | None = None
    """The image with the digest that ran."""
    datasets: tuple[DatasetRecord, ...] = Field(default=(), strict=False)
    resources: ResourcesRecord = Field(default_factory=ResourcesRecord)
    node: NodeRecord = Field(default_factory=NodeRecord)
    runtime: RuntimeRecord
    command: tuple[str, ...] = Field(min_length=1, strict=False)
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    seed: int | None = None
    env: tuple[str, ...] = Field(default=(), strict=False)
    """Names only; values are in the plan, and secrets are nowhere."""
    checkpoints: tuple[CheckpointRecord, ...] = Field(default=(), strict=False)
    outputs: tuple[OutputRecord, ...] = Field(default=(), strict=False)
    metrics: MetricsRecord | None = None
    logs: LogRecord | None = None


class InvalidManifestError(ValueError):
    """Bytes that are not a valid run manifest; holds every problem as a sentence."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def manifest_bytes(manifest: RunManifest) -> bytes:
    """The bytes that are stored, hashed and signed: RFC 8785, absent values left out.

    Raises:
        ValueError: a number that canonical JSON cannot carry.
    """
    return canonical_bytes(manifest.model_dump(mode="json", exclude_none=True))


def load_manifest(data: bytes) -> RunManifest:
    """Read stored bytes and check the life cycle too.

    Raises:
        InvalidManifestError: as `parse_manifest`, or a broken life cycle; lists every problem.
    """
    manifest = parse_manifest(data)
    if problems := lifecycle_problems(manifest):
        raise InvalidManifestError(problems)
    return manifest


def parse_manifest(data: bytes) -> RunManifest:
    """Read stored bytes; any JSON layout is accepted, because the digest is over the bytes as they are.

    A broken life cycle is accepted: a run whose clock jumped is recorded and signed all the same, at trust level L0.

    Raises:
        InvalidManifestError: not JSON, a duplicate key or a wrong field; lists every problem.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise InvalidManifestError([f"the manifest has {len(data)} bytes; at most {MAX_MANIFEST_BYTES} are read"])
    try:
        value = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
        return RunManifest.model_validate_json(json.dumps(value, allow_nan=False))
    except ValidationError as error:
        raise InvalidManifestError([_sentence(detail) for detail in error.errors()]) from error
    except (ValueError, RecursionError) as error:
        raise InvalidManifestError([f"not JSON: {error}"]) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return value


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _sentence(detail: Any) -> str:
    place = ".".join(str(part) for part in detail["loc"]) or "the manifest"
    return f"{place}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"


def lifecycle_problems(manifest: RunManifest) -> tuple[str, ...]:
    """What contradicts itself, as sentences (none in a correct manifest).

    Running requires started_at; completed and failed require started_at, ended_at and an exit_code (or, where none
    exists, a failure_reason); cancelled requires ended_at; times are in order; attempts count from 1 and agree with
    the run.
    """
    return (*_state_problems(manifest), *_time_problems(manifest), *_attempt_problems(manifest))


def _state_problems(manifest: RunManifest) -> Iterator[str]:
    state = manifest.state
    if state != "cancelled" and manifest.started_at is None:
        yield f"a run that is {state} must have started_at"
    if state == "running":
        for name in ("ended_at", "exit_code", "failure_reason"):
            if getattr(manifest, name) is not None:
                yield f"a run that is running must not have {name}"
    elif manifest.ended_at is None:
        yield f"a run that is {state} must have ended_at"
    if state in {"completed", "failed"} and manifest.exit_code is None and not manifest.failure_reason:
        yield f"a run that is {state} must have exit_code, or failure_reason when there is none"
    if state == "completed" and (manifest.exit_code not in {0, None} or manifest.failure_reason):
        yield "a run that is completed must have exit_code 0 and no failure_reason"
    if state == "failed" and manifest.exit_code == 0 and not manifest.failure_reason:
        yield "a run that is failed with exit_code 0 must have failure_reason"


def _time_problems(manifest: RunManifest) -> Iterator[str]:
    yield from _order(manifest, ("created_at", "started_at", "ended_at"), "")
    for attempt in manifest.attempts:
        yield from _order(attempt, ("created_at", "started_at", "ended_at"), f"attempt {attempt.number}: ")


def _order(record: BaseModel, names: tuple[str, ...], prefix: str) -> Iterator[str]:
    known: list[tuple[str, datetime]] = []
    for name in names:
        text = getattr(record, name)
        if text is None:
            continue
        try:
            known.append((name, datetime.fromisoformat(text)))
        except ValueError:
            yield f"{prefix}{name} is not a real time: {text}"
    for (before, first), (after, second) in pairwise(known):
        if second < first:
            yield f"{prefix}{after} is before {before}"


def _attempt_problems(manifest: RunManifest) -> Iterator[str]:
    attempts = manifest.attempts
    if not attempts:
        return
    if [attempt.number for attempt in attempts] != list(range(1, len(attempts) + 1)):
        yield "attempts must be numbered 1, 2, 3, ... in order"
    if manifest.attempt != attempts[-1].number:
        yield f"attempt is {manifest.attempt}, but the newest of attempts is {attempts[-1].number}"
    for attempt in attempts[:-1]:
        if attempt.ended_at is None:
            yield f"attempt {attempt.number} has no ended_at although a later attempt exists"
    if manifest.state in {"completed", "failed"} and attempts[-1].exit_code != manifest.exit_code:
        yield f"exit_code is {manifest.exit_code}, but that of the newest attempt is {attempts[-1].exit_code}"


def completeness(manifest: RunManifest) -> tuple[str, ...]:
    """What trust level L1 ("recorded") still needs, as sentences; empty when the manifest is complete."""
    return (*_identity_gaps(manifest), *_evidence_gaps(manifest))


def _identity_gaps(manifest: RunManifest) -> Iterator[str]:
    if manifest.state not in TERMINAL_STATES:
        yield "state: the run has not ended"
    if manifest.source and manifest.commit_id is None:
        yield "commit_id: the code comes from git, but no commit is recorded"
    if manifest.deps_manifest and manifest.deps_manifest.sha256 is None:
        yield "deps_manifest.sha256: the dependency lock has no digest"
    if manifest.runtime.name == "process":
        if manifest.runtime.interpreter is None:
            yield "runtime.interpreter: the process runtime must record its interpreter"
    elif "@sha256:" not in (manifest.image or ""):
        yield "image: no image digest is recorded"


def _evidence_gaps(manifest: RunManifest) -> Iterator[str]:
    for dataset in manifest.datasets:
        if dataset.sha256 is None:
            yield f"datasets: {dataset.name} has no sha256"
    for name in ("machine_id", "boot_id", "kernel"):
        if not getattr(manifest.node, name):
            yield f"node.{name}: not recorded"
    if manifest.started_at and not manifest.attempts:
        yield "attempts: the run started, but no attempt is recorded"
    if manifest.started_at and manifest.logs is None:
        yield "logs: the run started, but its log is not recorded"


def manifest_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of run_manifest.json, with the required fields of each state."""
    schema = RunManifest.model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **schema,
        "title": "Run manifest",
        "allOf": [_state_rule(["running"], ["started_at"]), _ended_rule(), _state_rule(["cancelled"], ["ended_at"])],
    }


def _state_rule(states: list[str], required: list[str]) -> dict[str, Any]:
    present = {name: {"type": "string"} for name in required}
    return {"if": {"properties": {"state": {"enum": states}}}, "then": {"required": required, "properties": present}}


def _ended_rule() -> dict[str, Any]:
    rule = _state_rule(["completed", "failed"], ["started_at", "ended_at"])
    rule["then"]["anyOf"] = [
        {"required": ["exit_code"], "properties": {"exit_code": {"type": "integer"}}},
        {"required": ["failure_reason"], "properties": {"failure_reason": {"type": "string", "minLength": 1}}},
    ]
    return rule
