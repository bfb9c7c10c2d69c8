"""A tree of a commit, or of a snapshot, written to an empty folder.

Promises: raw blobs (no filter, no attributes), each checked against its id; modes 644 and 755 whatever the umask;
symlinks only inside the tree; modification times all equal (the commit's); everything is created beneath an open
descriptor, so nothing that lies in the way is followed; the folder appears complete under its name or not at all.
Does not: fsync the files: after a power loss the attempt is lost anyway, and the next one exports again.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.inputs.beneath import FOLDER, folder
from controller.inputs.gitcmd import GitError, Objects
from controller.inputs.trees import SYMLINK, Entry, address, folder_at, hostile, lfs_pointers, normal
from controller.ports import durable
from controller.ports.inputs import SourceUnreadableError

EXPORTED = durable.register("inputs.export", "an exported source tree appears under its name")

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Fill = Callable[[Callable[[bytes], object]], object]
"""Writes a file's bytes to the given sink."""


MEND = "git fsck names what is damaged; git fetch, or a copy of the object from another clone, brings it back"


class ExportError(SourceUnreadableError):
    """The tree may not or cannot be exported; the text names the entries."""


class Writer:
    """Creates files beneath one open folder; parents are made as needed and kept open one at a time."""

    def __init__(self, root: int, mtime: int) -> None:
        self._root = root
        self._times = (mtime * 10**9, mtime * 10**9)
        self._made: set[bytes] = set()

    def file(self, path: bytes, *, executable: bool, fill: Fill) -> None:
        """Create one regular file."""
        with self._parent(path) as (fd, name):
            out = os.open(name, _CREATE, 0o600, dir_fd=fd)
            with os.fdopen(out, "wb") as stream:
                fill(stream.write)
                stream.flush()
                os.fchmod(out, 0o755 if executable else 0o644)
                os.utime(out, ns=self._times)

    def symlink(self, path: bytes, target: bytes) -> None:
        """Create one symlink (the caller checked its target)."""
        with self._parent(path) as (fd, name):
            os.symlink(target, name, dir_fd=fd)
            os.utime(name, ns=self._times, dir_fd=fd, follow_symlinks=False)

    def finish(self) -> None:
        """Give the folders their mode and time (deepest first)."""
        for path in sorted(self._made, key=len, reverse=True):
            with self._parent(path) as (fd, name), folder(name, fd) as made:
                os.fchmod(made, 0o755)
                os.utime(made, ns=self._times)
        os.fchmod(self._root, 0o755)
        os.utime(self._root, ns=self._times)

    @contextmanager
    def _parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        *parents, name = path.split(b"/")
        fd = os.dup(self._root)
        try:
            for depth, part in enumerate(parents, 1):
                above = b"/".join(parents[:depth])
                if above not in self._made:
                    os.mkdir(part, 0o700, dir_fd=fd)
                    self._made.add(above)
                inner = os.open(part, FOLDER, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd, name
        finally:
            os.close(fd)


@contextmanager
def appearing(destination: Path, mtime: int) -> Iterator[Writer]:
    """A writer whose files appear at `destination` all at once when the block ends well.

    Raises:
        ExportError: the destination exists and is not an empty folder.
    """
    partial = _partial(destination)
    partial.mkdir(parents=True)
    try:
        with folder(os.fspath(partial)) as root:
            writer = Writer(root, mtime)
            yield writer
            writer.finish()
        _take_name(partial, destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _partial(destination: Path) -> Path:
    """Where the folder grows: beside its place, under a name that nothing else has."""
    partial = destination.with_name(f".{destination.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    return partial


def _take_name(partial: Path, destination: Path) -> None:
    try:
        with durable.step(EXPORTED):
            partial.rename(destination)
    except OSError as error:
        raise ExportError(f"{destination} exists and is not an empty folder ({error.strerror})") from error
    with folder(os.fspath(destination.parent)) as parent:
        os.fsync(parent)


def export_tree(top: str, commit: str, path: str, destination: Path) -> None:
    """Write the tree at commit:path to `destination` (absent, or an empty folder).

    Raises:
        ExportError: an entry may not be exported, an object is missing or corrupt, or the destination is in use.
        OSError: the disk is full or not writable.
    """
    try:
        with Objects(top) as objects:
            entries = checked_entries(commit, path, objects)
            with appearing(destination, commit_time(objects, commit)) as writer:
                _write(entries, objects, writer)
    except GitError as error:
        raise ExportError(f"{error}; {MEND}") from error


def export_path(top: str, commit: str, path: str, destination: Path) -> None:
    """Write the file or folder at commit:path to `destination`, which must not exist (errors as for `export_tree`)."""
    try:
        with Objects(top) as objects:
            found = objects.get(address(commit, normal(path)))
            if found is not None and found[1] == "blob":
                _export_file(found[2], commit_time(objects, commit), destination)
                return
    except GitError as error:
        raise ExportError(f"{error}; {MEND}") from error
    export_tree(top, commit, path, destination)


def _export_file(data: bytes, mtime: int, destination: Path) -> None:
    partial = _partial(destination)
    partial.mkdir(parents=True)
    try:
        with folder(os.fspath(partial)) as root:
            Writer(root, mtime).file(b"data", executable=False, fill=lambda write: write(data))
        _take_name(partial / "data", destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def checked_entries(commit: str, path: str, objects: Objects) -> tuple[Entry, ...]:
    """Every leaf of the tree at commit:path.

    Raises:
        ExportError: there is no such tree, or it holds an entry that may not be exported.
        GitError: the repository cannot be read.
    """
    entries = folder_at(commit, normal(path), objects)
    if entries is None:
        raise ExportError(f"{path!r} is not a folder of commit {commit}")
    bad = hostile(entries, objects) + lfs_pointers(entries, objects, commit)
    if bad:
        raise ExportError("may not be exported: " + "; ".join(bad[:20]))
    return entries


def _write(entries: Iterable[Entry], objects: Objects, writer: Writer) -> None:
    for entry in entries:
        if entry.mode == SYMLINK:
            writer.symlink(entry.path, objects.blob(entry.oid) or b"")
        else:
            writer.file(entry.path, executable=entry.executable, fill=_content(objects, entry))


def _content(objects: Objects, entry: Entry) -> Fill:
    def fill(write: Callable[[bytes], object]) -> None:
        found = objects.copy(entry.oid, write)
        if found is None or found[1] != "blob":
            raise ExportError(f"the content of {entry.label} is missing from the repository; {MEND}")

    return fill


def commit_time(objects: Objects, commit: str) -> int:
    """When the commit was made (seconds since 1970), 0 when it does not say."""
    found = objects.get(commit)
    match = re.search(rb"^committer .*> (\d{1,11}) [-+]\d{4}$", found[2], re.MULTILINE) if found else None
    return int(match[1]) if match else 0
