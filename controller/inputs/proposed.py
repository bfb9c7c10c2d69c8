"""What a branch would change: spec files as they are now and as they were where the branch left another ref.

Promises: reads git objects and plain files only, so no filter, hook or setting of the repository runs; nothing is
written; links are not followed. Does not: judge a spec, or fetch the ref.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from controller.inputs.git import find_top
from controller.inputs.gitcmd import GitError, Objects, git
from controller.inputs.worktree import blob_id

MAX_SPEC = 2 * 2**20
"""Bytes of a file that may be a spec; the loader refuses documents over 1 MiB."""
OURS = b"fetchml.dev/"


@dataclass(frozen=True, slots=True)
class Changed:
    """One spec file, by its path from the repository's root; None: not there."""

    path: str
    before: bytes | None
    after: bytes | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """The difference between the work tree and the place where the branch left `against`."""

    base: str
    """Commit."""
    specs: tuple[Changed, ...]
    """Spec files that differ."""
    files: tuple[str, ...]
    """Every path that differs between the base and HEAD, specs or not."""
    same: tuple[str, ...]
    """Spec files that are as they were."""


def proposal(folder: Path, against: str) -> Proposal:
    """Compare the spec files beneath `folder` (or the one file) with the merge base of HEAD and `against`.

    Raises:
        LookupError: no repository, no such ref, or no common history; the text says what to do.
        OSError: a file cannot be read.
    """
    top = find_top(folder if folder.is_dir() else folder.parent)
    if top is None:
        raise LookupError(f"{folder} lies in no git repository")
    base = _merge_base(str(top), against)
    try:
        _, changed = git(str(top), "diff-tree", "-r", "-z", "--name-only", "--no-renames", base, "HEAD")
        _, tree = git(str(top), "ls-tree", "-r", "-z", base)
    except GitError as error:
        raise LookupError(str(error)) from error
    here = os.path.relpath(os.path.realpath(folder), top)
    known = {path: oid for path, oid in _blobs(tree) if _is_spec(path) and _beneath(path, here)}
    now = dict(_files(top, folder))
    with Objects(str(top)) as objects:
        specs, same = _compared(known, now, objects)
    return Proposal(base, specs, tuple(os.fsdecode(path) for path in changed.split(b"\0") if path), same)


def _merge_base(top: str, against: str) -> str:
    if against.startswith("-"):
        raise LookupError(f"{against!r} is no name of a ref")
    try:
        _, found = git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{against}^{{commit}}")
        _, base = git(top, "merge-base", found.decode().strip(), "HEAD")
    except GitError as error:
        fetch = "run git fetch; in a shallow clone, git fetch --unshallow"
        raise LookupError(f"{against!r} names no commit that HEAD shares history with; {fetch}") from error
    return base.decode().split()[0]


def _blobs(tree: bytes) -> Iterator[tuple[str, str]]:
    """Path and id of every regular file."""
    for entry in tree.split(b"\0"):
        head, _, path = entry.partition(b"\t")
        if head.startswith(b"100"):
            yield os.fsdecode(path), head.split()[2].decode()


def _is_spec(path: str) -> bool:
    parts = path.split("/")
    hidden = any(part.startswith(".") for part in parts)
    return not hidden and path.endswith((".yaml", ".yml")) and not path.endswith((".status.yaml", ".status.yml"))


def _beneath(path: str, here: str) -> bool:
    return here == "." or path == here or path.startswith(here + "/")


def _files(top: Path, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Spec files of the work tree."""
    places = (
        [Path(base, name) for base, _, names in os.walk(os.path.realpath(folder)) for name in names]
        if folder.is_dir()
        else [Path(os.path.realpath(folder.parent), folder.name)]
    )
    for place in sorted(places):
        path = os.path.relpath(place, top)
        if _is_spec(path) and place.is_file() and not place.is_symlink() and place.stat().st_size <= MAX_SPEC:
            yield path, place.read_bytes()


def _compared(
    known: dict[str, str], now: dict[str, bytes], objects: Objects
) -> tuple[tuple[Changed, ...], tuple[str, ...]]:
    changed, same = [], []
    for path in sorted(known.keys() | now.keys()):
        after = now.get(path)
        if after is not None and known.get(path) == blob_id(after):
            if OURS in after:
                same.append(path)
            continue
        before = objects.blob(known[path]) if path in known else None
        if OURS in (before or b"") or OURS in (after or b""):
            changed.append(Changed(path, before, after))
    return tuple(changed), tuple(same)
