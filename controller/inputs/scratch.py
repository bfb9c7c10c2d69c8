"""A repository of its own for one spec, in which an earlier commit can be run again.

Promises: the user's repository is read, never written: its objects are borrowed (git alternates), nothing of it is
checked out, so no filter or hook of it runs; the one new commit holds the given files and has the earlier commit as its
parent. Made beside its place and renamed, so that it is whole or absent. Does not: fetch what is missing.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from controller.inputs.gitcmd import GitError, Objects, git
from controller.ports import durable

MAKE = durable.register("scratch.make", "a repository of its own for a re-run is in place")
_WHO = ("-c", "user.name=fetchml", "-c", "user.email=reproduce@fetchml.invalid", "-c", "commit.gpgSign=false")


def make_repository(place: Path, files: Mapping[str, bytes], *, lender: Path | None, parent: str | None) -> None:
    """Make `place`, with `files` committed; `lender` is the work tree whose objects are borrowed.

    Raises:
        GitError: git is missing, or the lender has no commit `parent`.
        FileExistsError: the place is taken.
        OSError: it cannot be written.
    """
    draft = place.with_name(f".{place.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    for name, data in files.items():
        path = draft / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    top = str(draft)
    git(top, "--git-dir=.git", "init", "--quiet", "--template=", "--initial-branch=main")
    git(top, "config", "--unset", "core.worktree", ok=(0, 5))  # the draft's path, which is about to change
    if lender is not None:
        _borrow(draft, lender, parent)
    git(top, "add", "--force", "--", *files)
    git(top, *_WHO, "commit", "--quiet", "--no-verify", "-m", "Run an earlier plan again")
    with durable.step(MAKE):
        draft.rename(place)


def _borrow(draft: Path, lender: Path, parent: str | None) -> None:
    """The lender's objects are ours too, and HEAD stands at `parent`."""
    _, output = git(str(lender), "rev-parse", "--path-format=absolute", "--git-path", "objects")
    objects = os.fsdecode(output).rstrip("\n")
    (draft / ".git" / "objects" / "info").mkdir(exist_ok=True)
    (draft / ".git" / "objects" / "info" / "alternates").write_bytes(os.fsencode(objects) + b"\n")
    if parent is None:
        return
    with Objects(str(draft)) as known:
        found = known.get(parent)
    if found is None or found[1] != "commit":
        raise GitError(f"the repository in {lender} has no commit {parent}; run git fetch")
    git(str(draft), "update-ref", "refs/heads/main", parent)


def holds(lender: Path, commit: str, path: str) -> bool:
    """Does the commit of this repository hold something at the path?"""
    with Objects(str(lender)) as known:
        return known.get(f"{commit}:{path}") is not None
