"""Small builders of the values that tests need: each has defaults that pass, and keyword overrides.

`experiment(**spec)` takes the spec's fields as a YAML author writes them (camelCase). `facts(experiment)` are the
facts under which that experiment passes preflight; override one to make one thing wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from controller.api.base import API_VERSION
from controller.api.experiment import Experiment
from controller.api.problems import Position
from controller.facts.facts import (
    DatasetFacts,
    Facts,
    GitFacts,
    GpuFacts,
    HostFacts,
    InterpreterFacts,
    LockFacts,
    SandboxFacts,
    SecretFacts,
    SnapshotFacts,
)

COMMIT = "c0ffee0123456789c0ffee0123456789c0ffee01"


def sha(letter: str = "a") -> str:
    """A digest of 64 times one hex digit."""
    return "sha256:" + letter * 64


def experiment(
    name: str = "digits",
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> Experiment:
    """A valid Experiment; `command` is ``[python, train.py]`` unless given."""
    return Experiment.model_validate(
        {
            "apiVersion": API_VERSION,
            "kind": "Experiment",
            "metadata": {"name": name, "labels": dict(labels or {}), "annotations": dict(annotations or {})},
            "spec": {"command": ["python", "train.py"], **spec},
        }
    )


def full_experiment(**overrides: Any) -> Experiment:
    """An Experiment that uses nearly every field and passes on `host()` with `facts(...)`."""
    spec = {
        "description": "baseline",
        "owner": "alice",
        "source": {"git": {"repo": ".", "path": "examples/digits"}},
        "environment": {"python": "3.11", "dependencies": {"manifest": "requirements.lock", "sha256": sha("d")}},
        "command": ["python", "train.py", "--lr", "$(params.lr)", "--data", "$(data.digits)", "--seed", "$(seed)"],
        "parameters": {"lr": 1e-3, "epochs": 10},
        "seed": 7,
        "env": {"OMP_NUM_THREADS": "1"},
        "secrets": [{"name": "wandb", "env": "WANDB_API_KEY"}],
        "datasets": [{"name": "digits", "uri": "file:data/digits.csv.gz", "sha256": sha("e")}],
        "outputs": [{"name": "model", "path": "model.npz"}],
        "checkpoint": {"graceSeconds": 60},
        "resources": {"cpu": "2", "memory": "2Gi", "disk": "1Gi"},
    }
    return experiment(**{**spec, **overrides})


def git(**overrides: Any) -> GitFacts:
    """A clean, pushed commit on main."""
    good = GitFacts(
        found=True,
        repo=".",
        commit=COMMIT,
        exists=True,
        reachable=True,
        ref="main",
        path_exists=True,
        has_remote=True,
        pushed=True,
    )
    return replace(good, **overrides)


def interpreter(**overrides: Any) -> InterpreterFacts:
    """CPython 3.11.2 on linux-x86_64."""
    good = InterpreterFacts(
        requested="3.11",
        found=True,
        version="3.11.2",
        platform="linux-x86_64",
        path="/usr/bin/python3.11",
        prefix="/usr",
    )
    return replace(good, **overrides)


def gpu(number: int = 0, **overrides: Any) -> GpuFacts:
    """One A100 with 40 GiB."""
    return replace(GpuFacts(uuid=f"GPU-{number}", model="NVIDIA A100-SXM4-40GB", memory=40 * 2**30), **overrides)


def host(**overrides: Any) -> HostFacts:
    """8 CPUs, 16 GiB of memory, 100 GiB of disk, no GPU, full sandbox."""
    good = HostFacts(
        hostname="box",
        machine_id="m1",
        boot_id="b1",
        kernel="6.1.0",
        os="Debian 12",
        arch="x86_64",
        cpu_model="cpu",
        cpus=8,
        memory=16 * 2**30,
        disk_free=100 * 2**30,
        sandbox=SandboxFacts("bwrap", mount_namespace=True, network_namespace=True, seccomp=True),
    )
    return replace(good, **overrides)


def facts(of: Experiment | None = None, **overrides: Any) -> Facts:
    """Facts under which `of` passes: everything it names exists and has the stated digest."""
    spec = (of or experiment()).spec
    source, lock = spec.source, spec.environment.dependencies
    good = Facts(
        host=host(),
        git=git(commit=source.git.commit or COMMIT) if source and source.git else None,
        snapshot=SnapshotFacts(source.snapshot, found=True, verified=True) if source and source.snapshot else None,
        lock=LockFacts(lock.manifest, found=True, sha256=lock.sha256 or sha("d"), packages=3) if lock else None,
        interpreter=interpreter(),
        datasets=tuple(dataset(d.name, sha256=d.sha256 or sha("e")) for d in spec.datasets),
        secrets=tuple(SecretFacts(s.name, declared=True, allowed=True) for s in spec.secrets),
    )
    return replace(good, **overrides)


def dataset(name: str = "digits", **overrides: Any) -> DatasetFacts:
    """One verified file of 1,000 bytes."""
    return replace(DatasetFacts(name, found=True, sha256=sha("e"), size=1000, files=1), **overrides)


@dataclass(frozen=True)
class StubDocument:
    """What stands for a loaded Document where only file, model and positions matter."""

    model: Experiment
    file: str = "specs/digits.yaml"
    positions: Mapping[str, Position] = field(default_factory=dict)

    def position(self, path: str) -> Position:
        """The given position, else line 1."""
        return self.positions.get(path, Position())
