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
from controller.inputs.gitcmd import Asked, GitError, Objects, git
from controller.inputs.history import Interest, newest
from controller.inputs.trees import Entry, folder_at, hostile, lfs_pointers, normal
from controller.inputs.worktree import Base, ask_listing, dirty

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
    index: Path
    """git's index file."""
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
    if ref.startswith("-"):
        raise GitError(f"{ref!r} is no name of a ref")
    questions = ["--show-object-format", "--is-shallow-repository", "--git-path", "shallow", "--git-path", "index"]
    try:
        _, output = git(str(top), "rev-parse", *questions, f"{ref}^{{commit}}", "--symbolic-full-name", ref)
    except GitError:
        _, output = git(str(top), "rev-parse", *questions)  # no such ref yet; or this fails with the real reason
    kind, is_shallow, shallow_file, index, *tip = os.fsdecode(output).splitlines()
    if kind != "sha1":
        raise GitError(
            f"the repository uses {kind} object ids; only SHA-1 is supported (git init --object-format=sha1)"
        )
    shallow = (top / shallow_file).read_text().split() if is_shallow == "true" else []
    return Repository(
        top=str(top),
        ref=tip[1] if len(tip) > 1 else ref,
        tip=tip[0] if tip else None,
        index=top / index,
        shallow=frozenset(shallow),
    )


Newest = dict[tuple[object, ...], str | None]
"""Answers of `newest`, which cannot change for a complete history."""


def git_facts(
    document: Document, source: GitSource | None, root: Path, ref: str, base: Path, known: Newest | None = None
) -> GitFacts | None:
    """See Inputs.git_facts; `root` is what document.file is relative to, `base` the base path."""
    repo = source.repo if source else HERE
    if repo != HERE:
        return GitFacts(found=False, repo=repo, stated=bool(source and source.commit), error=elsewhere(repo))
    file = root / document.file
    top = find_top(file.parent)
    if top is None:
        why = "the spec lies in no git repository; run git init and commit it, or leave source.git out"
        return None if source is None else GitFacts(found=False, repo=repo, stated=source.commit is not None, error=why)
    try:
        repository = open_repository(top, ref)
    except (GitError, OSError, ValueError) as error:
        return GitFacts(found=False, repo=repo, stated=bool(source and source.commit), error=str(error))
    interest = _interest(document, source, file, top, base)
    return _facts_of(repository, interest, source, {} if known is None else known)


def elsewhere(repo: str) -> str:
    """Why a repository other than the spec's own is not looked at."""
    return f'source.git.repo {repo!r} is not supported yet; put the spec into that repository and write repo: "."'


def _interest(document: Document, source: GitSource | None, file: Path, top: Path, base: Path) -> Interest:
    spec = os.path.relpath(Path(os.path.realpath(file.parent), file.name), top)
    own = os.path.relpath(os.path.realpath(base), top)
    return Interest(os.fsencode(spec), normal(source.path) if source else None, document, os.fsencode(own))


def _facts_of(repository: Repository, interest: Interest, source: GitSource | None, known: Newest) -> GitFacts:
    stated = source.commit if source else None
    facts = GitFacts(found=True, repo=HERE, ref=repository.ref, stated=stated is not None, commit=stated)
    if repository.tip is None and (damaged := _unread(repository)):
        return replace(facts, error=f"commit {damaged} of {repository.ref} is missing or corrupt", unreadable=True)
    if repository.tip is None:
        spec = (interest.spec.decode("utf-8", "backslashreplace"),)
        return replace(facts, dirty=spec, error=f"{repository.ref} has no commit yet; run git add and git commit")
    try:
        # What does not depend on each other is asked at once: a git process costs 2.5 ms.
        with (
            ask_listing(repository.top, interest) as listing,
            Asked(repository.top, "remote") as remote,
            Objects(repository.top) as objects,
        ):
            commit = facts.commit or newest_commit(repository, interest, objects, known)
            return _read(repository, interest, facts, commit, _Questions(objects, listing, remote))
    except (GitError, OSError) as error:
        return replace(facts, error=str(error), unreadable=True)


def _unread(repository: Repository) -> str:
    """What the ref names although it could not be read; empty when it names nothing yet."""
    status, name = git(repository.top, "rev-parse", "--verify", "--quiet", repository.ref, ok=(0, 1, 128))
    return name.decode().strip() if status == 0 else ""


@dataclass(frozen=True, slots=True)
class _Questions:
    """git processes under way."""

    objects: Objects
    listing: Asked | None
    remote: Asked


def newest_commit(repository: Repository, interest: Interest, objects: Objects, known: Newest) -> str | None:
    """`newest`, remembered in `known`."""
    top, tip, document = repository.top, repository.tip or "", interest.document
    name = (document.of == 1, document.kind, document.namespace, document.name)
    key = (top, tip, interest.spec, interest.path, interest.base, *name)
    if repository.shallow or key not in known:
        known[key] = found = newest(top, tip, interest, objects)
        return found
    return known[key]


def _read(
    repository: Repository, interest: Interest, facts: GitFacts, commit: str | None, asked: _Questions
) -> GitFacts:
    top, tip, objects = repository.top, repository.tip or "", asked.objects
    found = objects.get(commit) if commit else None
    has_remote = bool(asked.remote.answer()[1].strip())
    if commit is None or found is None or found[1] != "commit":
        why = f"{commit} is a {found[1]}, not a commit" if found else ""
        return replace(facts, has_remote=has_remote, error=why, dirty=_dirty(repository, interest, tip, asked))
    facts = replace(facts, has_remote=has_remote, pushed=has_remote and _is_pushed(top, commit))
    if not facts.stated and commit in repository.shallow:
        return replace(facts, error=SHALLOW)
    entries = folder_at(commit, interest.path, objects) if interest.path else ()
    return replace(
        facts,
        commit=commit,
        exists=True,
        reachable=not facts.stated or is_ancestor(top, commit, tip),
        dirty=_dirty(repository, interest, None if facts.stated else commit, asked, entries),
        path_exists=entries is not None,
        hostile=hostile_entries(entries or (), commit, objects),
    )


SHALLOW = (
    "this clone is shallow, so the commit that last changed the spec may lie beyond it; "
    "run git fetch --unshallow, or write source.git.commit"
)


def _dirty(
    repository: Repository,
    interest: Interest,
    commit: str | None,
    asked: _Questions,
    entries: tuple[Entry, ...] | None = None,
) -> tuple[str, ...]:
    """What differs from `commit`; from what is checked out when None (a stated commit is older than its spec)."""
    if commit is None or entries is None:
        commit = commit or git(repository.top, "rev-parse", "--verify", "HEAD^{commit}")[1].decode().strip()
        entries = folder_at(commit, interest.path, asked.objects) if interest.path else ()
    base = Base(commit, entries or (), repository.index)
    return dirty(repository.top, base, interest, asked.objects, asked.listing)


def hostile_entries(entries: tuple[Entry, ...], commit: str, objects: Objects) -> tuple[str, ...]:
    """What of the tree may not be exported, at most 20."""
    return (hostile(entries, objects) + lfs_pointers(entries, objects, commit))[:20] if entries else ()


def is_ancestor(top: str, commit: str, tip: str) -> bool:
    """Is `commit` contained in `tip`?"""
    status, _ = git(top, "merge-base", "--is-ancestor", commit, tip, ok=(0, 1))
    return status == 0


def _is_pushed(top: str, commit: str) -> bool:
    """Is the commit contained in a remote-tracking ref?"""
    shape = ("--count=1", "--format=%(refname)", f"--contains={commit}")
    return bool(git(top, "for-each-ref", *shape, "refs/remotes")[1])
