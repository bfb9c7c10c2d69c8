"""Inputs on this host: the adapter that joins the modules of this room.

Promises: what the port promises. Does not: know settings; wiring passes plain values.
"""

import posixpath
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from controller.api.canonical import digest_bytes
from controller.api.catalog import Dataset
from controller.api.documents import Document
from controller.api.experiment import DatasetRef, Dependencies, GitSource, Source
from controller.facts.facts import DatasetFacts, GitFacts, InterpreterFacts, LockFacts, SecretFacts, SnapshotFacts
from controller.inputs import datasets, export, lockfile, snapshots
from controller.inputs import submission as submissions
from controller.inputs.beneath import UnsafePathError, refused
from controller.inputs.catalogue import version_of
from controller.inputs.environments import Environments
from controller.inputs.git import find_top, git_facts
from controller.inputs.gitcmd import GitError, Objects
from controller.inputs.interpreters import Interpreters
from controller.inputs.refs import refs_fingerprint
from controller.inputs.remote_data_facts import StoredData
from controller.inputs.secrets import SecretDeclaration, Secrets
from controller.inputs.statcache import StatCache
from controller.inputs.trees import address, normal
from controller.ports.inputs import Inputs, Progress, Submission, no_progress
from controller.ports.objectstore import ObjectStore

_REMEMBERED = 1024
_LOCKS = 32


@dataclass(frozen=True, slots=True)
class InputSettings:
    """What the operator says about inputs."""

    ref: str = "HEAD"
    """Ref that commits must be reachable from."""
    dataset_roots: tuple[Path, ...] = ()
    """Folders beneath which absolute file: datasets may lie."""
    secrets: Sequence[SecretDeclaration] = ()
    pythons: tuple[str, ...] = ()
    """Interpreters to try first."""
    rehash: bool = False
    """Ignore the stat cache."""


class LocalInputs(Inputs):
    """References of the specs beneath `root`; caches and environments beneath `base`/cache."""

    def __init__(
        self,
        root: Path,
        base: Path,
        objects: ObjectStore,
        settings: InputSettings | None = None,
        shared: ObjectStore | None = None,
    ) -> None:
        self._root = root
        self._base = base
        self._objects = objects
        self._settings = settings or InputSettings()
        self._cache = None if self._settings.rehash else StatCache(base / "cache" / "stat")
        self._stored = StoredData(objects, shared, base, self._cache)
        self._environments = Environments(base.absolute() / "cache" / "environments")
        self._interpreters = Interpreters(base / "cache" / "interpreters.json", self._settings.pythons)
        self._secrets = Secrets(self._settings.secrets)
        self._tracked: dict[tuple[str, str], DatasetFacts] = {}
        self._locks: dict[tuple[str, str, str], bytes] = {}
        self._newest: dict[tuple[object, ...], str | None] = {}

    def fingerprint(self) -> str:
        """See Inputs."""
        return refs_fingerprint(self._root)

    def git_facts(self, document: Document, source: GitSource | None) -> GitFacts | None:
        """See Inputs."""
        if len(self._newest) >= _REMEMBERED:
            self._newest = {}
        return git_facts(document, source, self._root, self._settings.ref or "HEAD", self._base, self._newest)

    def submission(self, document: Document, git: GitFacts | None) -> Submission:
        """See Inputs."""
        return submissions.submission(self._root, self._settings.ref or "HEAD", document, git)

    def approvals(self, namespace: str, name: str) -> tuple[bytes, ...]:
        """See Inputs."""
        return submissions.approvals(self._root, namespace, name)

    def snapshot_facts(self, sha256: str) -> SnapshotFacts:
        """See Inputs."""
        why = ""
        try:
            self._stored.bring(sha256, "snapshot", no_progress)
        except (LookupError, ValueError, OSError, snapshots.SnapshotError) as error:
            why = str(error)  # what is here decides
        facts = snapshots.snapshot_facts(self._objects, sha256)
        return facts if facts.found else replace(facts, error=why)

    def lock_facts(
        self, git: GitFacts | None, source: Source | None, dependencies: Dependencies, document_file: str = ""
    ) -> LockFacts:
        """See Inputs."""
        manifest = dependencies.manifest
        commit = git.commit if git and git.exists else None
        try:
            data = self.read_lock(document_file, source, commit, manifest)
        except LookupError as error:
            return LockFacts(manifest, found=False, error=str(error.args[0]))
        lock = lockfile.parse(data)
        return LockFacts(
            manifest, found=True, sha256=digest_bytes(data), packages=len(lock.pins), unpinned=lock.unpinned[:20]
        )

    def read_lock(self, document_file: str, source: Source | None, commit: str | None, manifest: str) -> bytes:
        """See Inputs."""
        if source is not None and source.snapshot:
            return self._in_snapshot(source.snapshot, manifest)
        if source is None or source.git is None or commit is None:
            raise LookupError("a lock is read from the source, and there is none")
        path = normal(posixpath.join(source.git.path, manifest))
        try:
            return self._blob(str(self._top(document_file)), commit, path)
        except GitError as error:
            raise LookupError(str(error)) from error

    def _in_snapshot(self, sha256: str, manifest: str) -> bytes:
        try:
            return snapshots.file_of(self._objects, sha256, normal(manifest))
        except snapshots.SnapshotError as error:
            raise LookupError(str(error)) from error

    def _blob(self, top: str, commit: str, path: str) -> bytes:
        """A file of a commit. Preflight, staging and start each ask for the same lock, which cannot change."""
        data = self._locks.get((top, commit, path))
        if data is not None:
            return data
        with Objects(top) as objects:
            data = objects.blob(address(commit, path))
        if data is None:
            raise LookupError(f"{path!r} is not a file of commit {commit[:12]}")
        if len(self._locks) >= _LOCKS:
            self._locks.clear()
        self._locks[top, commit, path] = data
        return data

    def interpreter_facts(self, version: str | None) -> InterpreterFacts:
        """See Inputs."""
        return self._interpreters.facts(version)

    def dataset_facts(
        self,
        document: Document,
        git: GitFacts | None,
        dataset: DatasetRef,
        progress: Progress = no_progress,
        catalogue: Sequence[Dataset] = (),
    ) -> DatasetFacts:
        """See Inputs."""
        try:
            version = version_of(dataset, catalogue)
            stored = self._stored.facts(dataset, version, progress)
            if stored is not None:
                return stored
            found = self._at_uri(document, git, dataset.name, version.uri if version else dataset.uri, progress)
        except UnsafePathError as error:
            return refused(dataset.name, error)
        except GitError as error:
            found = DatasetFacts(dataset.name, found=True, reason="UnreadableDataset", message=str(error))
        return replace(found, pinned=version.sha256) if version else found

    def _at_uri(
        self, document: Document, git: GitFacts | None, name: str, uri: str, progress: Progress
    ) -> DatasetFacts:
        path = datasets.path_of(uri)
        tracked = self._tracked_facts(document.file, git, name, path)
        if tracked is not None:
            return tracked
        home = self._top(document.file) if git and git.found else self._folder(document.file)
        place = datasets.place_of(path, home, self._settings.dataset_roots)
        return datasets.on_host(name, place, self._cache, lambda done, total: progress(f"hashing {name}", done, total))

    def _tracked_facts(self, document_file: str, git: GitFacts | None, name: str, path: str) -> DatasetFacts | None:
        if git is None or not git.exists or git.commit is None or path.startswith("/"):
            return None
        key = (git.commit, path)
        found = self._tracked.get(key)
        if found is None:
            with Objects(str(self._top(document_file))) as objects:
                found = datasets.in_commit(name, git.commit, path, objects)
            if found is None:
                return None
            if len(self._tracked) >= _REMEMBERED:
                self._tracked.clear()
            self._tracked[key] = found
        return replace(found, name=name)

    def rehash(self, facts: DatasetFacts, document_file: str) -> DatasetFacts:  # noqa: ARG002  # the port's signature
        """See Inputs."""
        if facts.tracked or not facts.path:
            return DatasetFacts(facts.name, found=False)
        return datasets.hash_again(facts.name, facts.path)

    def secret_facts(self, name: str, namespace: str, owner: str) -> SecretFacts:
        """See Inputs."""
        return self._secrets.facts(name, namespace, owner)

    def secret_value(self, name: str) -> str:
        """See Inputs."""
        return self._secrets.value(name)

    def export_source(self, document_file: str, source: GitSource, commit: str, destination: Path) -> None:
        """See Inputs.

        Raises:
            ExportError: an entry may not be exported, an object is missing or corrupt, or the destination is in use.
        """
        export.export_tree(str(self._top(document_file)), commit, source.path, destination)

    def export_snapshot(self, sha256: str, destination: Path) -> None:
        """See Inputs.

        Raises:
            SnapshotError: absent, damaged or not well formed.
        """
        snapshots.export_snapshot(self._objects, sha256, destination)

    def stage_dataset(self, document_file: str, git: GitFacts | None, facts: DatasetFacts, destination: Path) -> Path:
        """See Inputs.

        Raises:
            ExportError: it cannot be read in the commit.
        """
        if not facts.tracked:
            return Path(facts.path)
        if git is None or git.commit is None:
            raise export.ExportError(f"dataset {facts.name!r} is tracked, and there is no commit to read it from")
        _clear(destination)
        export.export_path(str(self._top(document_file)), git.commit, facts.path, destination)
        return destination

    def build_environment(
        self, lock: bytes | None, interpreter: InterpreterFacts, progress: Progress = no_progress
    ) -> Path:
        """See Inputs."""
        return self._environments.build(lock, interpreter, progress)

    def environment_ready(self, lock: bytes | None, interpreter: InterpreterFacts) -> bool:
        """See Inputs."""
        return self._environments.ready(lock, interpreter)

    def _folder(self, document_file: str) -> Path:
        return (self._root / document_file).parent if document_file else self._root

    def _top(self, document_file: str) -> Path:
        """The repository that holds the spec."""
        top = find_top(self._folder(document_file))
        if top is None:
            raise GitError("the spec lies in no git repository")
        return top


def _clear(destination: Path) -> None:
    if destination.is_dir() and not destination.is_symlink():
        shutil.rmtree(destination)
    else:
        destination.unlink(missing_ok=True)
