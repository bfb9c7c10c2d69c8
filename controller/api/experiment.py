"""The Experiment kind: what a researcher writes.

Promises: the schema of design contract section "Spec", defaults included. Does not: check anything that needs the world
(that is preflight), or substitute ``$(...)`` (that is plan).
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, StringConstraints, model_validator

from controller.api.base import (
    ByteQuantity,
    Commit,
    CpuQuantity,
    Duration,
    EnvName,
    Model,
    Name,
    Resource,
    Sha256,
)

RETRY_REASONS = (
    "NodeLost",
    "RuntimeLost",
    "SupervisorLost",
    "Preempted",
    "OutOfMemory",
    "DeadlineExceeded",
    "NonZeroExit",
)
RetryReason = Literal[
    "NodeLost", "RuntimeLost", "SupervisorLost", "Preempted", "OutOfMemory", "DeadlineExceeded", "NonZeroExit"
]

_RESERVED_MOUNTS = ("/workspace", "/results", "/checkpoints")


def _relative_path(path: str) -> str:
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or "\0" in path or "\n" in path:
        raise ValueError(f"{path!r} must be a relative path without '..'")
    return path


def _mount_path(path: str) -> str:
    parts = path.split("/")
    if not path.startswith("/") or ".." in parts or "" in parts[1:] or "\n" in path or "\0" in path:
        raise ValueError(f"{path!r} must be a plain absolute path such as /data/digits")
    if path in _RESERVED_MOUNTS or parts[1] in {
        "proc",
        "sys",
        "dev",
        "etc",
        "usr",
        "bin",
        "sbin",
        "lib",
        "lib64",
        "tmp",
        "run",
    }:
        raise ValueError(f"{path!r} is reserved; mount beneath /data")
    return path


RelativePath = Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_relative_path)]
MountPath = Annotated[str, StringConstraints(min_length=2, max_length=255), AfterValidator(_mount_path)]
Argument = Annotated[str, StringConstraints(max_length=65536)]


class GitSource(Model):
    """Code at a commit of a git repository."""

    repo: str = Field(default=".", min_length=1, max_length=1024)
    """URL, path, or "." for the repository that holds the spec."""
    commit: Commit | None = None
    """Full commit id. Left out: the newest commit that changed this spec or the path."""
    path: RelativePath = "."
    """Folder of the repository that becomes /workspace."""


class Source(Model):
    """Where the code comes from: git, or a snapshot; exactly one."""

    git: GitSource | None = None
    snapshot: Sha256 | None = None
    """Digest of a content-addressed snapshot made by `ml sync`."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "Source":
        if (self.git is None) == (self.snapshot is None):
            raise ValueError("write exactly one of git and snapshot")
        return self


class Dependencies(Model):
    """A hash-pinned lock file in the source."""

    manifest: RelativePath
    """Path of the lock, relative to source.git.path."""
    sha256: Sha256 | None = None
    """Digest of the lock file; required under strict."""


class Environment(Model):
    """What the command runs in."""

    image: str | None = Field(default=None, min_length=1, max_length=512)
    """Container image, pinned as name@sha256:<64 hex>."""
    python: Annotated[str, StringConstraints(pattern=r"^3\.[0-9]{1,2}(\.[0-9]{1,2})?$")] | None = None
    """Python version for the process runtime, such as "3.11"."""
    dependencies: Dependencies | None = None


class SecretRef(Model):
    """A secret that the operator declared in settings, given to the run as an environment variable."""

    name: Name
    env: EnvName


class DatasetRef(Model):
    """An input whose bytes are pinned."""

    name: Name
    uri: str = Field(min_length=1, max_length=2048)
    """file:<path from the repository's root>, or an absolute file: URI beneath dataset_roots."""
    sha256: Sha256 | None = None
    """Digest of the file, or of the folder as coreutils computes it. Required: preflight refuses its absence."""
    mount_path: MountPath | None = None
    """Where the run finds it; /data/<name> by default."""


class Output(Model):
    """A file that the run leaves in the results folder."""

    name: Name
    path: RelativePath
    required: bool = True
    """A missing required output fails the run."""


class Checkpoint(Model):
    """Keep the checkpoints folder across attempts."""

    grace_seconds: int = Field(default=30, ge=0, le=3600)
    """Seconds between SIGTERM and SIGKILL."""


class Gpu(Model):
    """GPUs of one node."""

    count: int = Field(default=1, ge=0, le=64)
    vendor: Literal["nvidia", "amd", "apple", "none"] = "nvidia"
    model: Annotated[str, StringConstraints(max_length=64)] | None = None
    memory: ByteQuantity | None = None


class Resources(Model):
    """What one node of the run is given; also its limits."""

    cpu: CpuQuantity = "1"
    memory: ByteQuantity = "1Gi"
    disk: ByteQuantity = "1Gi"
    nodes: int = Field(default=1, ge=1, le=1024)
    gpu: Gpu | None = None


class Reproducibility(Model):
    """How strict preflight is, and which trust level the run must be able to reach."""

    policy: Literal["strict", "relaxed"] = "strict"
    min_trust_level: Literal["L0", "L1", "L2", "L3", "L4"] | None = None
    """L1 under strict and L0 under relaxed when left out."""
    tolerances: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Metric name to the difference that `ml reproduce` still calls equal."""

    @property
    def required_level(self) -> str:
        """The minimum trust level in force."""
        return self.min_trust_level or ("L1" if self.policy == "strict" else "L0")


class Retries(Model):
    """Further attempts, for these reasons only."""

    max: int = Field(default=2, ge=0, le=100)
    reasons: tuple[RetryReason, ...] = Field(default=("NodeLost", "RuntimeLost", "SupervisorLost"), strict=False)


class Scheduling(Model):
    """Where and when it runs; nothing here changes the result."""

    target: Name = "local"
    queue: Name = "default"
    priority: int = Field(default=50, ge=0, le=1000)
    deadline: Duration | None = None
    """Of one attempt; time in the queue does not count."""
    retries: Retries = Field(default_factory=Retries)
    on_spec_change: Literal["finish", "replace", "refuse"] = "finish"
    """What happens to a running experiment when its plan changes."""


class Sandbox(Model):
    """What the run may reach."""

    network: Literal["none", "full"] = "none"
    """full needs the operator's policy."""


class ExperimentSpec(Model):
    """Everything a run needs, by reference and digest."""

    description: str = Field(default="", max_length=4096)
    owner: str = Field(default="", max_length=128)
    """Whom quota and audit count."""
    source: Source | None = None
    """Absent: the command needs no code."""
    environment: Environment = Field(default_factory=Environment)
    command: tuple[Argument, ...] = Field(min_length=1, max_length=1024, strict=False)
    """Program and arguments; never a shell line. $(params.x) $(seed) $(workspace) $(results) $(checkpoints)
    $(data.name)."""
    parameters: dict[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=128)], JsonValue
    ] = Field(default_factory=dict)
    seed: int | None = Field(default=None, ge=0, le=2**53 - 1)
    env: dict[EnvName, Annotated[str, StringConstraints(max_length=65536)]] = Field(default_factory=dict)
    secrets: tuple[SecretRef, ...] = Field(default=(), max_length=64, strict=False)
    datasets: tuple[DatasetRef, ...] = Field(default=(), max_length=256, strict=False)
    outputs: tuple[Output, ...] = Field(default=(), max_length=1024, strict=False)
    checkpoint: Checkpoint | None = None
    resources: Resources = Field(default_factory=Resources)
    reproducibility: Reproducibility = Field(default_factory=Reproducibility)
    scheduling: Scheduling = Field(default_factory=Scheduling)
    sandbox: Sandbox = Field(default_factory=Sandbox)
    suspend: bool = False
    """True: nothing new is started; a running attempt is left alone."""


class Experiment(Resource):
    """One experiment: code, environment, data, parameters and command, all pinned."""

    kind: Literal["Experiment"]
    spec: ExperimentSpec
