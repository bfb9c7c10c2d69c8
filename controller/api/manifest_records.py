"""The parts of a run manifest: attempts, inputs, node, runtime, outputs.

Promises: strict, frozen models in snake_case; unknown fields are refused. Does not: judge whether the parts agree
(controller/api/manifest.py does).
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from controller.api.base import Commit, Sha256

Timestamp = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$")
]
"""RFC 3339 in UTC, such as 2026-01-02T03:04:05.678Z."""
Level = Literal["L0", "L1", "L2", "L3", "L4"]


def _result_path(path: str) -> str:
    parts = path.split("/")
    if {"", ".", ".."} & set(parts) or any(ord(character) < 32 for character in path):
        raise ValueError(f"{path!r} must be a plain path beneath the results folder")
    return path


ResultPath = Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(_result_path)]


class Record(BaseModel):
    """Base of every part: strict, frozen, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class TrustCap(Record):
    """Why the level is not higher, as known at launch."""

    level: Level
    """The highest level that this cap allows."""
    reason: str
    message: str


class TrustCeiling(Record):
    """What the run could reach at most when it was launched."""

    level: Level
    caps: tuple[TrustCap, ...] = Field(default=(), strict=False)


class AttemptRecord(Record):
    """One attempt of the run."""

    number: int = Field(ge=1)
    created_at: Timestamp | None = None
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    exit_code: int | None = None
    reason: str = ""
    """Stable reason of an end without (or beside) an exit code, such as SupervisorLost."""
    message: str = ""
    runtime: str = ""


class SourceRecord(Record):
    """Where the code came from."""

    repo: str
    """As written in the spec; "." is the repository that holds the spec."""
    path: str = "."


class SubmissionRecord(Record):
    """Whose signatures the spec rested on at launch."""

    commits: tuple[Commit, ...] = Field(min_length=1, strict=False)
    """The commits that brought the spec as it stood."""
    signers: tuple[str, ...] = Field(strict=False)
    """Who signed each, by the reconciler's trust root; empty where that was not shown."""
    keys: tuple[str, ...] = Field(strict=False)
    """Fingerprints, likewise."""


class DepsManifest(Record):
    """The dependency lock, read at the commit."""

    manifest: str
    sha256: Sha256 | None = None


class DatasetRecord(Record):
    """One input, hashed before and after the run."""

    name: str
    uri: str
    sha256: Sha256 | None = None
    """What the spec pins and what was verified before the launch."""
    sha256_after: Sha256 | None = None
    """Hashed again after the run; absent when it could not be read."""
    touched: bool | None = None
    """A file of it was written, touched or replaced between the two; absent when that was not compared."""
    size: int = Field(default=0, ge=0)
    files: int = Field(default=0, ge=0)
    mount_path: str = ""


class ResourcesRecord(Record):
    """What was asked for, and what the run was given."""

    requested: dict[str, JsonValue] = Field(default_factory=dict)
    granted: dict[str, JsonValue] = Field(default_factory=dict)


class GpuRecord(Record):
    """One GPU of the node."""

    uuid: str
    model: str = ""
    memory: int = Field(default=0, ge=0)
    """Bytes."""
    driver: str = ""


class NodeRecord(Record):
    """The machine that ran it."""

    hostname: str = ""
    machine_id: str = ""
    boot_id: str = ""
    kernel: str = ""
    os: str = ""
    arch: str = ""
    cpu_model: str = ""
    cpus: int = Field(default=0, ge=0)
    memory: int = Field(default=0, ge=0)
    """Bytes."""
    gpus: tuple[GpuRecord, ...] = Field(default=(), strict=False)
    cuda: str = ""
    """CUDA version as seen inside the run; empty without a GPU."""
    cudnn: str = ""


class InterpreterRecord(Record):
    """The Python that ran, as recorded by the process runtime."""

    version: str
    implementation: str = "cpython"
    platform: str = ""


class RuntimeRecord(Record):
    """What ran it, and what isolation was observed inside the run."""

    name: str = Field(min_length=1)
    """process, docker, podman, kubernetes or slurm."""
    controller_version: str = ""
    """Version of the reconciler that recorded this."""
    reconciler_uid: int | None = Field(default=None, ge=0)
    """User id of the reconciler, who can read the signing key."""
    interpreter: InterpreterRecord | None = None
    sandbox: dict[str, JsonValue] = Field(default_factory=dict)
    """Facts read inside the run (ports/runtime.py, Observed.sandbox); empty when none were observed."""
    usage: dict[str, JsonValue] = Field(default_factory=dict)


class CheckpointRecord(Record):
    """Which attempt found checkpoints that another had left."""

    attempt: int = Field(ge=1)
    resumed_from: int | None = Field(default=None, ge=1)
    """The attempt before it; absent when the folder was empty."""
    files: int = Field(default=0, ge=0)


class OutputRecord(Record):
    """One file of the results folder, hashed when it was collected."""

    name: str = ""
    """Name of the output in the spec; empty for a file that no output declares."""
    path: ResultPath
    """Relative to the results folder."""
    sha256: Sha256
    size: int = Field(default=0, ge=0)
    required: bool = False


class MetricsRecord(Record):
    """metrics.jsonl as the run left it, with the last value of each metric."""

    sha256: Sha256
    size: int = Field(default=0, ge=0)
    lines: int = Field(default=0, ge=0)
    last: dict[str, JsonValue] = Field(default_factory=dict)


class LogRecord(Record):
    """run.log as it was collected."""

    sha256: Sha256
    size: int = Field(default=0, ge=0)
    truncated: bool = False
    """True: the cap was reached and the rest was dropped."""
