"""The newest commit that changed a spec's user part or its source folder, as design contract section "Identity" says.

Promises: a commit that only moved status blocks or sidecars does not count, so the reconciler's own status commits
start nothing. Does not: look at the work tree (worktree.py does).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from controller.api.documents import Document, load, user_part_of
from controller.inputs.gitcmd import GitError, Objects, sentence, start
from controller.trust.root import APPROVALS

NO_OBJECT = "0" * 40
_APPROVALS = APPROVALS.encode()


@dataclass(frozen=True, slots=True)
class Interest:
    """What of a repository belongs to one spec; paths are relative to the repository's root, as git writes them."""

    spec: bytes
    path: str | None
    """source.git.path, normalised; None when the spec has no git source."""
    document: Document
    base: bytes = b".fetchml"
    """Our own folder, which never counts."""

    def covers(self, path: bytes) -> bool:
        """Does `path` lie in the source folder?"""
        if self.path is None:
            return False
        inside = self.path == "." or path.startswith(self.path.encode("utf-8", "surrogateescape") + b"/")
        return inside and not (path + b"/").startswith(self.base + b"/") and not _about_runs(path)

    @property
    def pathspec(self) -> list[str]:
        """What git must look at."""
        spec = self.spec.decode("utf-8", "surrogateescape")
        return [spec] if self.path is None else [spec, self.path]

    def same(self, path: bytes, old: bytes, new: bytes) -> bool:
        """Is the file at `path` the same to this spec, given both contents?"""
        if old == new:
            return True
        if path == self.spec and not self.covers(path):
            return part_in(old, self.document) == part_in(new, self.document)
        return path.endswith((b".yaml", b".yml")) and user_part_of(old) == user_part_of(new)


def _about_runs(path: bytes) -> bool:
    """Statuses and approvals say something of a plan; if they changed it, none could ever be approved."""
    return path.endswith(b".status.yaml") or (path.startswith(_APPROVALS) and path.endswith(b".dsse.json"))


def part_in(data: bytes, document: Document) -> bytes | None:
    """The user part of `document` in another version of its file; None when that version has no such document."""
    if document.of == 1:
        return user_part_of(data)
    name = (document.kind, document.namespace, document.name)
    others = load(data, document.file).documents
    return next((other.user_part for other in others if (other.kind, other.namespace, other.name) == name), None)


@dataclass(frozen=True, slots=True)
class Change:
    """One path that a commit changed against one parent."""

    path: bytes
    old_mode: str
    new_mode: str
    old: str
    new: str


@dataclass(slots=True)
class Step:
    """A commit against one of its parents (merges come once for each parent, in order)."""

    commit: str
    parents: tuple[str, ...]
    changes: list[Change]


def newest(top: str, tip: str, interest: Interest, objects: Objects) -> str | None:
    """The newest commit reachable from `tip` that changed what `interest` covers; None when none did.

    Raises:
        GitError: the history cannot be read.
    """
    start_at: str | None = tip
    while start_at:
        commit, start_at = _search(top, start_at, interest, objects)
        if commit:
            return commit
    return None


def _search(top: str, tip: str, interest: Interest, objects: Objects) -> tuple[str | None, str | None]:
    """The commit, or a merged parent from which to search on: the one that the merge left as it was."""
    merge: dict[str, int] = {}
    for step in steps(top, tip, interest.pathspec):
        counts = any(_counts(change, interest, objects) for change in step.changes)
        position = merge[step.commit] = merge.get(step.commit, -1) + 1
        if len(step.parents) > 1 and not counts:
            return None, step.parents[position]
        if counts and position >= len(step.parents) - 1:
            return step.commit, None
    return None, None


def _counts(change: Change, interest: Interest, objects: Objects) -> bool:
    if change.path != interest.spec and not interest.covers(change.path):
        return False
    if NO_OBJECT in (change.old, change.new):
        return True
    if change.old_mode != change.new_mode and interest.covers(change.path):
        return True
    old, new = objects.blob(change.old), objects.blob(change.new)
    return old is None or new is None or not interest.same(change.path, old, new)


def steps(top: str, tip: str, pathspec: list[str]) -> Iterator[Step]:
    """The history of some paths, newest first, read as git finds it.

    Raises:
        GitError: git failed before the caller had seen enough.
    """
    shape = (
        "-m",
        "--raw",
        "-z",
        "--no-abbrev",
        "--no-renames",
        "--no-ext-diff",
        "--no-textconv",
        "--no-notes",
        "--no-follow",
    )
    process = start(top, ["log", *shape, "--format=tformat:%H %P", "--end-of-options", tip, "--", *pathspec])
    with process:
        try:
            yield from _parse(_tokens(process.stdout))  # type: ignore[arg-type]  # opened as a pipe
            if process.wait() != 0:
                raise GitError(sentence(process.stderr.read() if process.stderr else b"") or "git log failed")
        finally:
            process.kill()


def _tokens(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while piece := stream.read1(1 << 16):  # type: ignore[attr-defined]  # a pipe is a BufferedReader
        *whole, rest = (rest + piece).split(b"\0")
        yield from whole


def _parse(tokens: Iterator[bytes]) -> Iterator[Step]:
    step: Step | None = None
    for token in tokens:
        text = token.lstrip(b"\n")
        if text.startswith(b":") and step:
            old_mode, new_mode, old, new, _ = text[1:].decode().split(" ")
            step.changes.append(Change(next(tokens), old_mode, new_mode, old, new))
            continue
        if step:
            yield step
        commit, *parents = text.decode().split(" ")
        step = Step(commit, tuple(filter(None, parents)), [])
    if step:
        yield step
