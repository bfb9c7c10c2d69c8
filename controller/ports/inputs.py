"""What a spec refers to: git objects, locks, interpreters, datasets, snapshots, secrets.

Promises: the ``*_facts`` methods only look (no network but the operator's own object store, nothing written but
objects and caches) and never raise for a bad reference: the facts say what is wrong. The staging methods build what a
run gets, from the commit or snapshot, never from the working tree.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.api.catalog import Dataset
from controller.api.documents import Document
from controller.api.experiment import DatasetRef, Dependencies, GitSource, Source
from controller.facts.facts import DatasetFacts, GitFacts, InterpreterFacts, LockFacts, SecretFacts, SnapshotFacts

Progress = Callable[[str, int, int], None]
"""what, done, total (bytes or files; total 0 = unknown)."""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class DatasetPlace:
    """Where a run finds a dataset on the host, after staging."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Submission:
    """What vouches for a spec, unverified."""

    commits: tuple[tuple[str, bytes], ...] = ()
    """Id and bytes of each commit whose signature the spec as it stands rests on."""
    error: str = ""
    """Why there is none."""
    file_owner: int | None = None
    """User id that owns the file the spec was read from; None when it was read from a commit."""


class Inputs(ABC):
    """Looks at references and stages them."""

    @abstractmethod
    def git_facts(self, document: Document, source: GitSource | None) -> GitFacts | None:
        """Facts of the source's repository; None when the spec names none and lies in none."""

    def submission(self, document: Document, git: GitFacts | None) -> Submission:  # noqa: ARG002  # the port's default
        """The commits that vouch for the spec as it stands."""
        return Submission(error="nothing is known about who submitted it")

    def approvals(self, namespace: str, name: str) -> tuple[bytes, ...]:  # noqa: ARG002  # the port's default
        """Signed approvals that lie beside the specs for this experiment, unverified."""
        return ()

    def fingerprint(self) -> str:
        """Moves when HEAD, a branch or a remote-tracking ref may have moved; cheap enough for every second."""
        return ""

    @abstractmethod
    def snapshot_facts(self, sha256: str) -> SnapshotFacts:
        """Is it in the object store, and does it verify?"""

    @abstractmethod
    def lock_facts(
        self, git: GitFacts | None, source: Source | None, dependencies: Dependencies, document_file: str = ""
    ) -> LockFacts:
        """The lock as it stands in the snapshot, or in the commit, in the repository of `document_file` (of the root
        when empty)."""

    @abstractmethod
    def interpreter_facts(self, version: str | None) -> InterpreterFacts:
        """The interpreter that `environment.python` names (any 3.x >= 3.9 when None)."""

    @abstractmethod
    def dataset_facts(
        self,
        document: Document,
        git: GitFacts | None,
        dataset: DatasetRef,
        progress: Progress = no_progress,
        catalogue: Sequence[Dataset] = (),
    ) -> DatasetFacts:
        """Find and hash it (through the stat cache). `catalogue` has the entries that a dataset: uri may name."""

    @abstractmethod
    def rehash(self, facts: DatasetFacts, document_file: str) -> DatasetFacts:
        """Hash what lies at `facts.path` on this host now, ignoring the cache; no sha256 when it cannot be read.

        A tracked dataset has no place on the host but the copy that was staged: pass
        ``replace(facts, tracked=False, path=<that copy>)``.
        """

    @abstractmethod
    def secret_facts(self, name: str, namespace: str, owner: str) -> SecretFacts:
        """Is it declared, and may this subject use it?"""

    @abstractmethod
    def secret_value(self, name: str) -> str:
        """The value, at launch only.

        Raises:
            LookupError: not declared or not readable.
        """

    @abstractmethod
    def export_source(self, document_file: str, source: GitSource, commit: str, destination: Path) -> None:
        """Write commit:path to an empty folder: files with their executable bit, symlinks that stay inside."""

    @abstractmethod
    def export_snapshot(self, sha256: str, destination: Path) -> None:
        """The same from the object store."""

    @abstractmethod
    def stage_dataset(self, document_file: str, git: GitFacts | None, facts: DatasetFacts, destination: Path) -> Path:
        """Where the run reads it: the host path, or `destination` (replaced) filled from the commit when tracked."""

    @abstractmethod
    def build_environment(
        self, lock: bytes | None, interpreter: InterpreterFacts, progress: Progress = no_progress
    ) -> Path:
        """The venv of this lock, interpreter and platform; built once (hash-checked, wheels only), shared, read-only.

        Raises:
            EnvironmentBuildError: pip's words, shortened.
        """

    @abstractmethod
    def environment_ready(self, lock: bytes | None, interpreter: InterpreterFacts) -> bool:
        """Is it built already?"""

    @abstractmethod
    def read_lock(self, document_file: str, source: Source | None, commit: str | None, manifest: str) -> bytes:
        """The lock's bytes in the snapshot or at the commit (LookupError when absent)."""


class SourceUnreadableError(Exception):
    """What the plan pinned cannot be read now: an object of a repository or store is missing or damaged.

    The text says which and what to do. Trying again helps only once somebody has mended it.
    """


class EnvironmentBuildError(Exception):
    """The environment could not be built; `retryable` when the network or index failed rather than the lock."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        self.retryable = retryable
        super().__init__(message)
