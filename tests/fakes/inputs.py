"""Inputs whose facts a test sets, and whose staging writes small real files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from controller.api.canonical import digest_bytes
from controller.api.catalog import Dataset
from controller.api.documents import Document
from controller.api.experiment import DatasetRef, Dependencies, GitSource, Source
from controller.facts.facts import DatasetFacts, GitFacts, InterpreterFacts, LockFacts, SecretFacts, SnapshotFacts
from controller.ports.inputs import (
    EnvironmentBuildError,
    Inputs,
    Progress,
    SourceUnreadableError,
    Submission,
    no_progress,
)

PYTHON = InterpreterFacts("3.11", True, "3.11.2", "cpython", "linux-x86_64", "/usr/bin/python3.11", "/usr")


@dataclass
class FakeInputs(Inputs):
    """Set a field to change what is found; `calls` lists what was staged, in order."""

    root: Path
    """Environments lie beneath it; give a temporary folder."""
    git: GitFacts | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    """The exported tree: path to content."""
    locks: Mapping[str, bytes] = field(default_factory=dict)
    """Manifest to bytes."""
    interpreter: InterpreterFacts = PYTHON
    datasets: dict[str, DatasetFacts] = field(default_factory=dict)
    """By dataset name; one that is missing here is found with exactly the digest that the spec states."""
    rehashed: dict[str, str | None] = field(default_factory=dict)
    """By dataset name: what it has after the run; the same as before when missing."""
    restamped: dict[str, str] = field(default_factory=dict)
    """By dataset name: its stamp after the run; the same as before when missing."""
    snapshots: dict[str, SnapshotFacts] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    denied: frozenset[str] = frozenset()
    """Secrets that are declared but not for this subject."""
    build_errors: list[EnvironmentBuildError] = field(default_factory=list)
    """Raised by the next builds, first first."""
    unreadable: str = ""
    """Why nothing can be exported; empty: it can."""
    calls: list[str] = field(default_factory=list)
    submitted: Submission = field(default_factory=lambda: Submission(error="nobody submitted it"))
    approved: list[bytes] = field(default_factory=list)
    """Approvals beside every experiment."""
    refs: str = ""
    """Set it to say that a ref moved."""

    def fingerprint(self) -> str:
        """As set."""
        return self.refs

    def git_facts(self, document: Document, source: GitSource | None) -> GitFacts | None:
        """As set."""
        return self.git

    def submission(self, document: Document, git: GitFacts | None) -> Submission:
        """As set."""
        return self.submitted

    def approvals(self, namespace: str, name: str) -> tuple[bytes, ...]:
        """As set."""
        return tuple(self.approved)

    def snapshot_facts(self, sha256: str) -> SnapshotFacts:
        """As set; absent otherwise."""
        return self.snapshots.get(sha256, SnapshotFacts(sha256, found=False))

    def lock_facts(
        self, git: GitFacts | None, source: Source | None, dependencies: Dependencies, document_file: str = ""
    ) -> LockFacts:
        """From `locks`; every line counts as a pinned package."""
        data = self.locks.get(dependencies.manifest)
        if data is None:
            return LockFacts(dependencies.manifest, found=False)
        return LockFacts(dependencies.manifest, True, digest_bytes(data), len(data.splitlines()))

    def interpreter_facts(self, version: str | None) -> InterpreterFacts:
        """As set."""
        return self.interpreter

    def dataset_facts(
        self,
        document: Document,
        git: GitFacts | None,
        dataset: DatasetRef,
        progress: Progress = no_progress,
        catalogue: Sequence[Dataset] = (),
    ) -> DatasetFacts:
        """As set, else as the spec says."""
        return self.datasets.get(dataset.name) or DatasetFacts(
            dataset.name, True, dataset.sha256, 1, 1, path=str(self._dataset(dataset.name))
        )

    def rehash(self, facts: DatasetFacts, document_file: str) -> DatasetFacts:
        """As set, else unchanged."""
        sha256 = self.rehashed.get(facts.name, facts.sha256)
        return replace(facts, sha256=sha256, stamp=self.restamped.get(facts.name, facts.stamp))

    def secret_facts(self, name: str, namespace: str, owner: str) -> SecretFacts:
        """Declared when it has a value, allowed unless denied."""
        return SecretFacts(
            name, declared=name in self.secrets, allowed=name in self.secrets and name not in self.denied
        )

    def secret_value(self, name: str) -> str:
        """As set (LookupError otherwise)."""
        return self.secrets[name]

    def export_source(self, document_file: str, source: GitSource, commit: str, destination: Path) -> None:
        """Write `files`."""
        self.calls.append(f"export {commit}:{source.path}")
        if self.unreadable:
            raise SourceUnreadableError(self.unreadable)
        self._write(destination)

    def export_snapshot(self, sha256: str, destination: Path) -> None:
        """Write `files`."""
        self.calls.append(f"export {sha256}")
        self._write(destination)

    def stage_dataset(self, document_file: str, git: GitFacts | None, facts: DatasetFacts, destination: Path) -> Path:
        """The host path, or a one-byte file when tracked."""
        self.calls.append(f"stage {facts.name}")
        if not facts.tracked:
            return Path(facts.path)
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_bytes(b"x")
        return destination

    def build_environment(
        self, lock: bytes | None, interpreter: InterpreterFacts, progress: Progress = no_progress
    ) -> Path:
        """An empty folder; or the next of `build_errors`."""
        if self.build_errors:
            raise self.build_errors.pop(0)
        place = self._environment(lock)
        if not place.exists():
            self.calls.append("build")
            place.mkdir(parents=True)
        return place

    def environment_ready(self, lock: bytes | None, interpreter: InterpreterFacts) -> bool:
        """Was it built?"""
        return self._environment(lock).exists()

    def read_lock(self, document_file: str, source: Source | None, commit: str | None, manifest: str) -> bytes:
        """From `locks`."""
        return self.locks[manifest]

    def _environment(self, lock: bytes | None) -> Path:
        return self.root / "environments" / (digest_bytes(lock)[7:19] if lock is not None else "bare")

    def _dataset(self, name: str) -> Path:
        place = self.root / "datasets" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
        return place

    def _write(self, destination: Path) -> None:
        destination.mkdir(parents=True, exist_ok=True)
        for path, data in self.files.items():
            (destination / path).parent.mkdir(parents=True, exist_ok=True)
            (destination / path).write_bytes(data)
