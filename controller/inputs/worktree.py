"""What of the work tree differs from a commit: `dirty` of the git facts.

Promises: no filter of the repository runs: a file is the same when git's own index says so (the stat of the file is
the one that the index has, by git's racy rule), or when its raw bytes have the blob's id. Status blocks, sidecars and
.fetchml do not count. Does not: refresh the index or write anything. A file behind an end-of-line or LFS filter that
was only touched reads as changed until `git status` has refreshed the index.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from controller.inputs.beneath import descend, folder, read_beneath
from controller.inputs.gitcmd import Asked, Objects
from controller.inputs.history import Interest, part_in
from controller.inputs.trees import SUBMODULE, SYMLINK, Entry, address, shown

LIMIT = 20

_ENTRY = re.compile(
    rb"[A-Z] (\d+) ([0-9a-f]{40}) (\d)\t([^\0]*)\0"
    rb"  ctime: (\d+):(\d+)\n  mtime: (\d+):(\d+)\n  dev: (\d+)\tino: (\d+)\n"
    rb"  uid: \d+\tgid: \d+\n  size: (\d+)\tflags: ([0-9a-f]+)\n"
)
_SKIP_WORKTREE = 1 << 30
_LOW = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Indexed:
    """What the index knows of one file."""

    oid: str
    ctime: int
    mtime: int
    """Nanoseconds."""
    dev: int
    ino: int
    size: int
    """Low 32 bits, as all index numbers."""
    skipped: bool
    """Left out by a sparse checkout on purpose."""

    def matches(self, now: os.stat_result, written: int) -> bool:
        """Is the file the one that git hashed, by stat alone? `written` is the index file's mtime in ns."""
        mine = (self.ctime, self.mtime, self.dev, self.ino, self.size)
        its = (now.st_ctime_ns, now.st_mtime_ns, now.st_dev & _LOW, now.st_ino & _LOW, now.st_size & _LOW)
        return mine == its and self.mtime < written


@dataclass(frozen=True, slots=True)
class Base:
    """What the work tree is held against."""

    commit: str
    entries: tuple[Entry, ...]
    """Of the source folder in that commit."""
    index: Path
    """git's index file."""


def ask_listing(top: str, interest: Interest) -> AbstractContextManager[Asked | None]:
    """Begin to list the index and what is untracked beneath the source folder, for `dirty`; None without a folder.

    Untracked is what is neither tracked nor ignored (a nested repository as "folder/").

    Raises:
        GitError: git cannot be started.
    """
    if interest.path is None:
        return nullcontext()
    shape = ("-z", "-t", "--stage", "--debug", "--others", "--exclude-standard")
    return Asked(top, "ls-files", *shape, "--", interest.path)


def dirty(top: str, base: Base, interest: Interest, objects: Objects, listing: Asked | None) -> tuple[str, ...]:
    """Paths (from the repository's root) that differ from `base`, spec first, at most LIMIT.

    Raises:
        GitError: the repository cannot be read.
    """
    found = dict.fromkeys(_differences(top, base, interest, objects, listing))
    return tuple(shown(path) for path in islice(found, LIMIT))


def _differences(top: str, base: Base, interest: Interest, objects: Objects, listing: Asked | None) -> Iterator[bytes]:
    if spec_differs(base.commit, interest, objects):
        yield interest.spec
    if interest.path is None or listing is None:
        return
    prefix = b"" if interest.path == "." else os.fsencode(interest.path) + b"/"
    tree = {prefix + entry.path: entry for entry in base.entries}
    index, untracked = read_listing(listing.answer()[1])
    written = index_written(base.index)
    with folder(top) as root:
        for path, entry in tree.items():
            look = _Look(root, path, entry.mode, entry.oid, index.get(path), written)
            if interest.covers(path) and not look.same() and not _only_status(look, interest, objects):
                yield path
    others = [*(path for path in index if path not in tree), *untracked]
    yield from (path for path in others if interest.covers(path.rstrip(b"/")) and path != interest.spec)


def spec_differs(base: str, interest: Interest, objects: Objects) -> bool:
    """Is the user part of the document another one than in the commit `base`?"""
    blob = objects.blob(address(base, interest.spec.decode("utf-8", "surrogateescape")))
    if blob is None:
        return True
    return blob != interest.document.text and part_in(blob, interest.document) != interest.document.user_part


@dataclass(frozen=True, slots=True)
class _Look:
    root: int
    path: bytes
    mode: str
    oid: str
    indexed: Indexed | None
    written: int

    def same(self) -> bool:
        if self.mode == SUBMODULE:
            return True
        *parents, name = self.path.split(b"/")
        try:
            with descend(self.root, parents) as fd:
                now = os.stat(name, dir_fd=fd, follow_symlinks=False)
                by_stat = self.indexed and self.indexed.oid == self.oid and self.indexed.matches(now, self.written)
                return bool(by_stat) or self._same_bytes(fd, name, now)
        except OSError:
            return self.indexed is not None and self.indexed.skipped and self.indexed.oid == self.oid

    def _same_bytes(self, fd: int, name: bytes, now: os.stat_result) -> bool:
        if self.mode == SYMLINK:
            return stat.S_ISLNK(now.st_mode) and blob_id(os.readlink(name, dir_fd=fd)) == self.oid
        executable = bool(now.st_mode & stat.S_IXUSR) == (self.mode == "100755")
        return stat.S_ISREG(now.st_mode) and executable and blob_id(read_beneath(fd, name)) == self.oid


def blob_id(data: bytes) -> str:
    """git's id of a file with these bytes."""
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


def _only_status(look: _Look, interest: Interest, objects: Objects) -> bool:
    """A YAML file that differs in its status block alone."""
    if not look.path.endswith((b".yaml", b".yml")):
        return False
    try:
        here = read_beneath(look.root, look.path)
    except OSError:
        return False
    there = objects.blob(look.oid)
    return there is not None and interest.same(look.path, there, here)


def read_listing(output: bytes) -> tuple[dict[bytes, Indexed], list[bytes]]:
    """What `ask_listing` asked for: the index by file (from the repository's root), and what is untracked.

    git writes what is untracked first ("? path"), then the index ("H mode id stage" and so on, with stamps).
    """
    untracked, at = [], 0
    while output.startswith(b"? ", at):
        end = output.index(b"\0", at)
        untracked.append(output[at + 2 : end])
        at = end + 1
    return {match[4]: _indexed(match) for match in _ENTRY.finditer(output, at)}, untracked


def index_written(index: Path) -> int:
    """When the index was written (ns); 0 when there is none."""
    try:
        return index.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _indexed(match: re.Match[bytes]) -> Indexed:
    number = [int(group) for group in match.groups()[4:11]]
    return Indexed(
        oid=match[2].decode(),
        ctime=number[0] * 10**9 + number[1],
        mtime=number[2] * 10**9 + number[3],
        dev=number[4],
        ino=number[5],
        size=number[6],
        skipped=bool(int(match[12], 16) & _SKIP_WORKTREE),
    )
