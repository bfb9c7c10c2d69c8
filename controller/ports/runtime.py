"""How attempts are started, seen and stopped.

Promises for every adapter, checked by tests/contract/test_runtime.py on the fake and each real one:
create and start are idempotent by name; inspect tells the truth after any crash; a run outlives the reconciler;
nothing that is not this store's is ever touched.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class RuntimeState(StrEnum):
    """What the runtime knows of an attempt."""

    ABSENT = "absent"
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    LOST = "lost"
    """It was started and can never report its end (supervisor killed, host rebooted)."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A read-only input of the run."""

    source: Path
    target: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds of one attempt."""

    cpu: float
    memory: int
    """Bytes."""
    disk: int
    """Bytes, per file and in all."""
    processes: int = 1024
    open_files: int = 4096
    deadline: float | None = None
    """Seconds."""
    grace: float = 30.0
    """Seconds between SIGTERM and SIGKILL."""
    log_bytes: int = 64 * 2**20


@dataclass(frozen=True, slots=True)
class AttemptSpec:
    """Everything a runtime needs to start one attempt."""

    name: str
    """fetchml-<run-id>-<attempt>, at most 63 characters."""
    run_id: str
    number: int
    store_id: str
    plan_sha256: str
    run_dir: Path
    """experiments/<run-id>; the runtime keeps its own records in run_dir/attempts/<number>/."""
    argv: tuple[str, ...]
    """Still with $(workspace), $(results), $(checkpoints) and $(data.name): only the runtime knows those paths."""
    env: Mapping[str, str]
    """As argv; values may hold the same four forms."""
    workspace: Path | None
    """Exported code on the host, read-write for the run (a private copy)."""
    results: Path
    checkpoints: Path | None
    log: Path
    environment: Path | None
    """venv on the host, read-only for the run."""
    interpreter_prefix: Path | None
    """Installation folder of the interpreter; bound read-only where it is not beneath /usr."""
    mounts: tuple[Mount, ...]
    limits: Limits
    network: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Environment name to value. Never written to disk and never on a command line."""
    mount_names: Mapping[str, str] = field(default_factory=dict)
    """Dataset name to mount target, for $(data.name)."""
    image: str = ""
    """name@sha256:<64 hex>; empty for the process runtime."""
    gpus: tuple[str, ...] = ()
    """UUIDs of the GPUs that were given to it."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What is so about an attempt, as the runtime sees it now."""

    name: str
    state: RuntimeState
    run_id: str = ""
    number: int = 0
    exit_code: int | None = None
    reason: str = ""
    """Stable reason of a failure without (or beside) an exit code: SupervisorLost, NodeLost, DeadlineExceeded,
    OutOfMemory, Stopped, StartFailed, ..."""
    message: str = ""
    started_at: str | None = None
    ended_at: str | None = None
    sandbox: Mapping[str, Any] = field(default_factory=dict)
    """Facts read inside the run: caps, no_new_privs, seccomp, uid_map, interfaces, root_read_only, limits with their
    enforcers, launcher."""
    usage: Mapping[str, Any] = field(default_factory=dict)
    """max_rss (bytes), cpu_seconds, as far as seen."""


class Runtime(ABC):
    """One way to run attempts."""

    name: str
    """Runtime class as it stands in plans and manifests: process, docker, podman, kubernetes, slurm."""

    def expect(self, name: str, run_dir: Path, store_id: str) -> None:  # noqa: B027  # a hint that need not be taken
        """An attempt of that name is about to be staged and created: get ready. Best effort; nothing of it lasts."""

    @abstractmethod
    def create(self, attempt: AttemptSpec) -> None:
        """Make the attempt known, not yet running. An attempt of that name that exists already is adopted.

        Raises:
            RuntimeRefusedError: this runtime can never run it (reason and message inside).
        """

    @abstractmethod
    def start(self, attempt: AttemptSpec) -> None:
        """Start what create made. Starting twice starts once."""

    @abstractmethod
    def inspect(self, name: str, run_dir: Path) -> Observed:
        """The present state; never raises for an unknown name (ABSENT)."""

    @abstractmethod
    def stop(self, name: str, run_dir: Path, *, grace: float) -> None:
        """SIGTERM, `grace` seconds, SIGKILL; returns at once. Stopping what ended is nothing."""

    @abstractmethod
    def remove(self, name: str, run_dir: Path) -> None:
        """Remove leftovers (processes, scratch), never records, log, results or checkpoints."""

    @abstractmethod
    def list(self, store_id: str) -> tuple[Observed, ...]:
        """Everything of this store that is running now, whether or not a record of it exists."""

    @abstractmethod
    def wait(self, timeout: float) -> None:
        """Return early when some attempt may have ended; at the latest after `timeout` seconds."""


class RuntimeRefusedError(Exception):
    """This runtime cannot run the attempt; retrying will not help."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)
