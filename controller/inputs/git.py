"""Facts of the repository that holds a spec, read from its objects.

Promises: never raises for a bad reference or a broken repository (the facts say what is wrong); no network; nothing
written; no program of the repository's configuration runs (gitcmd.py). Does not: fetch other repositories:
source.git.repo other than "." is answered with what to do instead.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from controller.api.documents import Document
from controller.api.experiment import GitSource
from controller.facts.facts import GitFacts
from controller.inputs.gitcmd import GitError, Objects, git
from controller.inputs.history import Interest, newest
from controller.inputs.trees import address, hostile, lfs_pointers, list_tree, normal
from controller.inputs.worktree import dirty

HERE = "."


@dataclass(frozen=True, slots=True)
class Repository:
    """An opened repository: where it is and where its ref stands."""

    top: str
    """Real path of the work tree."""
    ref: str
    """Full name of the ref, or HEAD when detached."""
    tip: str | None
    """Commit of the ref; None when it has none yet."""
    head: str | None
    """Commit that is checked out."""
    shallow: frozenset[str]
    """Commits whose parents were not fetched."""


def find_top(start: Path) -> Path | None:
    """The nearest folder at or above `start` that holds .git (a file in worktrees); None when there is none."""
    folder = Path(os.path.realpath(start))
    return next((place for place in (folder, *folder.parents) if os.path.lexists(place / ".git")), None)


def open_repository(top: Path, ref: str) -> Repository:
    """Open the repository at `top`.

    Raises:
        GitError: not a repository, somebody else's (safe.directory), or of a kind that we cannot read (SHA-256 ids).
    """
    facts = ["--show-object-format", "--is-shallow-repository", "--git-path", "shallow"]
    _, output = git(str(top), "rev-parse", *facts)
    kind, is_shallow, shallow_file = os.fsdecode(output).split("\n")[:3]
    if kind != "sha1":
        raise GitError(
            f"the repository uses {kind} object ids; only SHA-1 is supported (git init --object-format=sha1)"
        )
    tip, name = _resolve(top, ref)
    head = tip if ref == "HEAD" else _resolve(top, "HEAD")[0]
    shallow = (top / shallow_file).read_text().split() if is_shallow == "true" else []
    return Repository(str(top), name, tip, head, frozenset(shallow))


def _resolve(top: Path, ref: str) -> tuple[str | None, str]:
    """Commit and full name of a ref."""
    status, output = git(
        str(top), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}", ok=(0, 1, 128)
    )
    _, name = git(str(top), "rev-parse", "--quiet", "--symbolic-full-name", "--end-of-options", ref, ok=(0, 1, 128))
    lines = [line for line in name.decode().split("\n") if line and line != "--end-of-options"]
    return (output.decode().strip() if status == 0 else None), (lines[0] if lines and status == 0 else ref)


def git_facts(document: Document, source: GitSource | None, root: Path, ref: str, base: Path) -> GitFacts | None:
    """See Inputs.git_facts; `root` is what document.file is relative to, `base` the base path."""
    repo = source.repo if source else HERE
    if repo != HERE:
        return GitFacts(found=False, repo=repo, stated=bool(source and source.commit), error=_elsewhere(repo))
    file = root / document.file
    top = find_top(file.parent)
    if top is None:
        why = "the spec lies in no git repository; run git init and commit it, or leave source.git out"
        return None if source is None else GitFacts(found=False, repo=repo, stated=source.commit is not None, error=why)
    try:
        repository = open_repository(top, ref)
    except (GitError, OSError, ValueError) as error:
        return GitFacts(found=False, repo=repo, stated=bool(source and source.commit), error=str(error))
    return _facts_of(repository, _interest(document, source, file, top, base), source)


def _elsewhere(repo: str) -> str:
    return f'source.git.repo {repo!r} is not supported yet; put the spec into that repository and write repo: "."'


def _interest(document: Document, source: GitSource | None, file: Path, top: Path, base: Path) -> Interest:
    spec = os.path.relpath(Path(os.path.realpath(file.parent), file.name), top)
    own = os.path.relpath(os.path.realpath(base), top)
    return Interest(os.fsencode(spec), normal(source.path) if source else None, document, os.fsencode(own))


def _facts_of(repository: Repository, interest: Interest, source: GitSource | None) -> GitFacts:
    stated = source.commit if source else None
    facts = GitFacts(found=True, repo=HERE, ref=repository.ref, stated=stated is not None, commit=stated)
    if repository.tip is None:
        spec = (interest.spec.decode("utf-8", "backslashreplace"),)
        return replace(facts, dirty=spec, error=f"{repository.ref} has no commit yet; run git add and git commit")
    try:
        with Objects(repository.top) as objects:
            return _read(repository, interest, facts, objects)
    except (GitError, OSError) as error:
        return replace(facts, error=str(error))


def _read(repository: Repository, interest: Interest, facts: GitFacts, objects: Objects) -> GitFacts:
    top, tip = repository.top, repository.tip or ""
    commit = facts.commit or newest(top, tip, interest, objects)
    found = objects.get(commit) if commit else None
    has_remote, pushed = _remotes(top, commit if found and found[1] == "commit" else None)
    facts = replace(facts, has_remote=has_remote, pushed=pushed)
    if commit is None or found is None or found[1] != "commit":
        why = f"{commit} is a {found[1]}, not a commit" if found else ""
        return replace(facts, error=why, dirty=_dirty(repository, interest, facts, tip, objects))
    if not facts.stated and commit in repository.shallow:
        return replace(facts, error=_SHALLOW)
    path_exists, bad = _tree_facts(top, commit, interest.path, objects)
    return replace(
        facts,
        commit=commit,
        exists=True,
        reachable=not facts.stated or is_ancestor(top, commit, tip),
        dirty=_dirty(repository, interest, facts, commit, objects),
        path_exists=path_exists,
        hostile=bad,
    )


_SHALLOW = (
    "this clone is shallow, so the commit that last changed the spec may lie beyond it; "
    "run git fetch --unshallow, or write source.git.commit"
)


def _dirty(
    repository: Repository, interest: Interest, facts: GitFacts, commit: str, objects: Objects
) -> tuple[str, ...]:
    """A stated commit is older than the spec that states it: then the work tree is held against what is checked out."""
    base = repository.head if facts.stated and repository.head else commit
    return dirty(repository.top, base, interest, objects)


def _tree_facts(top: str, commit: str, path: str | None, objects: Objects) -> tuple[bool, tuple[str, ...]]:
    """Is there a folder at `path`, and what of it may not be exported (at most 20)?"""
    if path is None:
        return True, ()
    found = objects.get(address(commit, path))
    if found is None or found[1] != "tree":
        return False, ()
    entries = list_tree(top, found[0])
    return True, (hostile(entries, objects) + lfs_pointers(entries, objects, commit))[:20]


def is_ancestor(top: str, commit: str, tip: str) -> bool:
    """Is `commit` contained in `tip`?"""
    status, _ = git(top, "merge-base", "--is-ancestor", commit, tip, ok=(0, 1))
    return status == 0


def _remotes(top: str, commit: str | None) -> tuple[bool, bool]:
    """(has a remote, the commit is contained in a remote-tracking ref)."""
    if commit:
        shape = ("--count=1", "--format=%(refname)", f"--contains={commit}")
        if git(top, "for-each-ref", *shape, "refs/remotes")[1]:
            return True, True
    return bool(git(top, "remote")[1].strip()), False
