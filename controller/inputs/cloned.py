"""Inputs of specs that were read from the commits of a bare clone: `source.git.repo: "."` is that repository.

Promises: there is no work tree, so nothing is dirty but a spec whose commit is not the one that was found; what the
clone has is on the remote, so it is pushed. A relative dataset must be tracked in the commit.
Does not: fetch anything.
"""

import os
import re
from dataclasses import replace
from pathlib import Path

from controller.api.documents import Document
from controller.api.experiment import GitSource
from controller.facts.facts import DatasetFacts, GitFacts
from controller.inputs import submission as submissions
from controller.inputs.clone import SEEN
from controller.inputs.datasets import path_of
from controller.inputs.git import (
    HERE,
    Newest,
    Repository,
    elsewhere,
    hostile_entries,
    is_ancestor,
    newest_commit,
    open_repository,
)
from controller.inputs.gitcmd import GitError, Objects
from controller.inputs.history import Interest
from controller.inputs.local import InputSettings, LocalInputs
from controller.inputs.refs import ref_stamp
from controller.inputs.trees import REGULAR, folder_at, normal, shown
from controller.inputs.worktree import spec_differs
from controller.ports.inputs import Progress, Submission
from controller.ports.objectstore import ObjectStore
from controller.trust.root import APPROVALS

_MAX_APPROVAL_BYTES = 2**16
_NAME = re.compile(r"[A-Za-z0-9._-]+")


class CloneInputs(LocalInputs):
    """References of specs whose repository is the bare clone at `clone`, as of the commit that was looked at last."""

    def __init__(
        self,
        root: Path,
        base: Path,
        objects: ObjectStore,
        settings: InputSettings,
        shared: ObjectStore | None = None,
        *,
        clone: Path,
        ref: str = SEEN,
    ) -> None:
        super().__init__(root, base, objects, settings, shared)
        self._clone = clone
        self._ref = ref
        self._newest_in_clone: Newest = {}

    def fingerprint(self) -> str:
        """See Inputs."""
        return ref_stamp(self._clone, self._ref)

    def git_facts(self, document: Document, source: GitSource | None) -> GitFacts | None:
        """See Inputs."""
        if len(self._newest_in_clone) >= 4096:
            self._newest_in_clone = {}
        return clone_facts(document, source, self._clone, self._ref, self._newest_in_clone)

    def submission(self, document: Document, git: GitFacts | None) -> Submission:
        """See Inputs."""
        try:
            return submissions.committed(str(self._clone), self._ref, os.fsencode(document.file), document, git)
        except (GitError, OSError, ValueError) as error:
            return Submission(error=str(error))

    def approvals(self, namespace: str, name: str) -> tuple[bytes, ...]:
        """See Inputs: those in the commit."""
        if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
            return ()
        try:
            with Objects(str(self._clone)) as objects:
                entries = folder_at(self._ref, f"{APPROVALS}{namespace}/{name}", objects) or ()
                files = [e for e in entries if e.mode in REGULAR and b"/" not in e.path]
                named = sorted(e.path for e in files if e.path.endswith(b".dsse.json"))[: submissions.MAX_APPROVALS]
                oids = {e.path: e.oid for e in files}
                found = [objects.blob(oids[path]) or b"" for path in named]
        except GitError:
            return ()
        return tuple(data for data in found if 0 < len(data) <= _MAX_APPROVAL_BYTES)

    def _at_uri(
        self, document: Document, git: GitFacts | None, name: str, uri: str, progress: Progress
    ) -> DatasetFacts:
        """Without a work tree a relative dataset is in the commit or nowhere."""
        path = path_of(uri)
        if path.startswith("/"):
            return super()._at_uri(document, git, name, uri, progress)
        tracked = self._tracked_facts(document.file, git, name, path)
        message = f"{uri!r} is not tracked in the commit, and specs of a repository have no work tree; commit it"
        return tracked or DatasetFacts(name, found=False, message=message)

    def _top(self, document_file: str) -> Path:  # noqa: ARG002  # there is one repository for all
        return self._clone


def clone_facts(document: Document, source: GitSource | None, clone: Path, ref: str, known: Newest) -> GitFacts | None:
    """See Inputs.git_facts, for a spec of a bare clone."""
    repo, stated = source.repo if source else HERE, source.commit if source else None
    facts = GitFacts(found=True, repo=repo, ref=ref, stated=stated is not None, commit=stated, has_remote=True)
    if repo != HERE:
        return replace(facts, found=False, error=elsewhere(repo))
    try:
        repository = open_repository(clone, ref)
        if repository.tip is None:
            return replace(facts, error="nothing was fetched yet")
        interest = Interest(os.fsencode(document.file), normal(source.path) if source else None, document)
        with Objects(str(clone)) as objects:
            return _read(repository, repository.tip, interest, facts, objects, known)
    except (GitError, OSError, ValueError) as error:
        return replace(facts, error=str(error))


def _read(
    repository: Repository, tip: str, interest: Interest, facts: GitFacts, objects: Objects, known: Newest
) -> GitFacts:
    commit = facts.commit or newest_commit(repository, interest, objects, known)
    found = objects.get(commit) if commit else None
    if commit is None or found is None or found[1] != "commit":
        return replace(facts, error=f"{commit} is a {found[1]}, not a commit" if found else "")
    entries = folder_at(commit, interest.path, objects) if interest.path else ()
    contained = not facts.stated or is_ancestor(repository.top, commit, tip)
    held_against = tip if facts.stated else commit
    return replace(
        facts,
        commit=commit,
        exists=True,
        reachable=contained,
        pushed=contained,
        dirty=(shown(interest.spec),) if spec_differs(held_against, interest, objects) else (),
        path_exists=entries is not None,
        hostile=hostile_entries(entries or (), commit, objects),
    )
