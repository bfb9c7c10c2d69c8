"""The code is a commit that exists, is reachable from the configured ref, and holds the path.

Reasons: RepositoryNotFound, SpecNotCommitted, CommitNotReachable, PathNotInCommit, UnsafeTree (Refuse);
SourceUnreadable (Wait); CommitNotFound (Wait when the repository has a remote that may still bring it, else Refuse).
"""

from collections.abc import Iterator

from controller.api.experiment import GitSource
from controller.facts.facts import GitFacts
from controller.preflight.model import Context, Finding, Rule, branch, names

RULE = Rule("commit")
_COMMIT = "spec.source.git.commit"
_MEND = "git fsck names what is damaged; git fetch, or a copy of the object from another clone, brings it back"


def check(context: Context) -> Iterator[Finding]:
    """One finding per objection to the commit."""
    source = context.spec.source
    if source is None or source.git is None:
        yield RULE.passed("no git source")
        return
    yield from _judged(source.git, context.facts.git)


def _judged(source: GitSource, git: GitFacts | None) -> Iterator[Finding]:
    if git is None or not git.found:
        why = (git.error if git else "") or "the spec lies in no git repository"
        fix = "commit the spec to a git repository (git init), or leave spec.source out if the command needs no code"
        yield RULE.refuse("RepositoryNotFound", f"no repository {source.repo!r}: {why}", "spec.source.git.repo", fix)
    elif git.unreadable:
        yield RULE.wait("SourceUnreadable", f"the repository cannot be read: {git.error}", "spec.source.git", _MEND)
    elif git.commit is None:
        why = git.error or f"no commit on {branch(git.ref) or 'the branch'} holds this spec or {source.path!r}"
        yield RULE.refuse("SpecNotCommitted", why, "spec.source.git", "git add the spec and its code, then git commit")
    elif not git.exists:
        yield _missing(git, git.commit)
    else:
        found = RULE.passed(f"commit {git.commit[:12]} exists, reachable from {branch(git.ref)}")
        yield from tuple(_existing(source, git, git.commit)) or (found,)


def _missing(git: GitFacts, commit: str) -> Finding:
    if git.has_remote:
        message = f"commit {commit[:12]} is not in the repository; it has a remote that may hold it"
        return RULE.wait(
            "CommitNotFound", message, _COMMIT, f"git fetch, or git push the commit from where it was made: {commit}"
        )
    message = f"commit {commit[:12]} is not in the repository, which has no remote"
    return RULE.refuse(
        "CommitNotFound", message, _COMMIT, "write a commit that git log shows, or leave commit out to take the newest"
    )


def _existing(source: GitSource, git: GitFacts, commit: str) -> Iterator[Finding]:
    if not git.reachable:
        ref = branch(git.ref) or "the configured ref"
        message = f"commit {commit[:12]} is not contained in {ref}"
        fix = f"merge it into {ref}, or write a commit that is on it"
        yield RULE.refuse("CommitNotReachable", message, _COMMIT, fix)
    if not git.path_exists:
        message = f"{source.path!r} is not a folder of commit {commit[:12]}"
        yield RULE.refuse(
            "PathNotInCommit", message, "spec.source.git.path", f"git ls-tree {commit[:12]} shows what is there"
        )
    if git.hostile:
        message = f"the tree holds entries that are never exported: {names(git.hostile)}"
        fix = "remove links out of the tree, submodules and names such as .git from that folder"
        yield RULE.refuse("UnsafeTree", message, "spec.source.git.path", fix)
