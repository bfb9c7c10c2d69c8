"""The commits that brought a spec's user part as it stands: whose signature vouches for it.

Promises: every way by which the user part came to the tip is followed back to the commit that has it at this path and
none of whose parents has it. A merge that takes over what one side alone had changed introduces nothing; one that
drops a change of the other side (an old version by way of a merge) counts as introducing it. A status commit, whose
user part is its parent's, never does. Does not: verify a signature, look at the work tree, or follow renames: a file at
a new path was brought there by whoever moved it.
"""

import os
from collections.abc import Iterator

from controller.api.documents import Document
from controller.inputs.gitcmd import GitError, Objects, git, sentence, start
from controller.inputs.history import part_in


class Introduced:
    """Finds the commits for one document at one path; `objects` reads the same repository."""

    def __init__(self, top: str, path: bytes, document: Document, objects: Objects) -> None:
        self._top, self._path, self._document, self._objects = top, path, document, objects
        self._parts: dict[str, bytes | None] = {}

    def commits(self, tip: str) -> tuple[str, ...]:
        """Ids of the commits; none when the tip does not have this user part.

        Raises:
            GitError: the history cannot be read.
        """
        if self._part(tip) != self._document.user_part:
            return ()
        found: list[str] = []
        with _History(self._top, tip, self._path) as history:
            pending, seen = [history.first()], set[str]()
            while pending:
                commit = pending.pop()
                if commit in seen:
                    continue
                seen.add(commit)
                parents = history.parents(commit)
                having = [parent for parent in parents if self._part(parent) == self._document.user_part]
                if not having or self._drops(having, [parent for parent in parents if parent not in having]):
                    found.append(commit)
                else:
                    pending += having
        return tuple(found)

    def _drops(self, having: list[str], lacking: list[str]) -> bool:
        """Does a merge of these parents throw away what one of them had changed?"""
        return any(
            self._part(base) != self._part(other)
            for other in lacking
            for mine in having
            for base in self._bases(mine, other)
        )

    def _bases(self, one: str, other: str) -> list[str]:
        _, output = git(self._top, "merge-base", "--all", one, other, ok=(0, 1))
        return output.decode().split() or [""]

    def _part(self, commit: str) -> bytes | None:
        """The document's user part in a commit; None where it does not stand (or there is no commit)."""
        if commit not in self._parts:
            data = self._objects.blob(f"{commit}:{os.fsdecode(self._path)}") if commit else None
            self._parts[commit] = None if data is None else part_in(data, self._document)
        return self._parts[commit]


class _History:
    """The commits that touched a path, and every merge, with parents among these; read as far as it is asked for."""

    def __init__(self, top: str, tip: str, path: bytes) -> None:
        shape = ("--full-history", "--parents", "--format=tformat:%H %P", "--end-of-options", tip, "--")
        self._process = start(top, ["log", *shape, os.fsdecode(path)])
        self._lines = self._read()
        self._known: dict[str, list[str]] = {}

    def __enter__(self) -> "_History":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def first(self) -> str:
        """Where the walk begins: the tip, or what it leads to without a merge or a touch."""
        return next(self._lines)

    def parents(self, commit: str) -> list[str]:
        """Its parents, each replaced by the next commit that matters."""
        while commit not in self._known:
            next(self._lines)
        return self._known[commit]

    def _read(self) -> Iterator[str]:
        for line in self._process.stdout or ():
            commit, *parents = line.decode().split()
            self._known[commit] = parents
            yield commit
        self._process.wait()
        complaint = sentence(self._process.stderr.read() if self._process.stderr else b"")
        raise GitError(complaint or "the history ended before the commits that it names")
