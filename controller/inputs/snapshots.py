"""Content-addressed snapshots of a folder, in the object store.

A snapshot's digest is the sha256 of its manifest, and a node without our code computes it with coreutils alone::

    cd DIR && { find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum -z; printf '\\0'; \
        find . -type f -perm -100 -print0 | LC_ALL=C sort -z; } | sha256sum

that is: the lines of the dataset rule, an empty record, then the names of the executable files. The manifest is an
object, and so is the content of every file. Promises: nothing is believed that does not have its digest. Does not:
make snapshots (`ml sync`).
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from controller.facts.facts import SnapshotFacts
from controller.inputs.export import Fill, appearing
from controller.ports.inputs import SourceUnreadableError
from controller.ports.objectstore import ObjectStore

MAX_MANIFEST = 256 << 20
_HEX = b"0123456789abcdef"


class SnapshotError(SourceUnreadableError):
    """The snapshot is absent, damaged or not well formed."""


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """One file of a snapshot."""

    path: bytes
    sha256: str
    executable: bool = False


def write_manifest(
    write: Callable[[bytes], object], files: Iterable[tuple[bytes, bytes]], executable: Iterable[bytes] | None
) -> bytes:
    """Write a manifest piece by piece; returns its sha256.

    Args:
        write: takes the pieces.
        files: path and sha256 of every file, sorted by path.
        executable: the paths of the executable files, sorted; None writes the manifest of a dataset, which ends with
            the lines, so that its sha256 is the dataset's digest.
    """
    hasher = hashlib.sha256()
    lines = (b"%b  ./%b\0" % (digest.hex().encode(), path) for path, digest in files)
    names = () if executable is None else chain((b"\0",), (b"./%b\0" % path for path in executable))
    pieces = chain(lines, names)
    while piece := b"".join(islice(pieces, 1024)):
        hasher.update(piece)
        write(piece)
    return hasher.digest()


def manifest_of(files: Iterable[SnapshotFile]) -> bytes:
    """The manifest of the files of a snapshot, in one piece."""
    ordered = sorted(files, key=lambda file: file.path)
    pieces: list[bytes] = []
    lines = ((file.path, bytes.fromhex(file.sha256.removeprefix("sha256:"))) for file in ordered)
    write_manifest(pieces.append, lines, (file.path for file in ordered if file.executable))
    return b"".join(pieces)


class Manifest:
    """The files that a manifest names, in order. Its bytes are held (about 90 a file), its files are not."""

    def __init__(self, data: bytes, *, snapshot: bool) -> None:
        """Check it.

        Raises:
            SnapshotError: not one that `write_manifest` could have written, or a path leads out of the folder.
        """
        self._data = data
        self._end = len(data) if not snapshot else 0 if data[:1] == b"\0" else data.find(b"\0\0") + 1
        if snapshot and data[self._end : self._end + 1] != b"\0":
            raise SnapshotError("the manifest is not well formed: no empty record ends its lines")
        self.files = sum(1 for _ in self)

    def __iter__(self) -> Iterator[SnapshotFile]:
        names = self._fields(self._end + 1, len(self._data))
        name = next(names, None)
        before = b""
        for line in self._fields(0, self._end):
            digest, path = line[:64], line[68:]
            if line[64:68] != b"  ./" or digest.strip(_HEX) or not _is_safe(path) or path <= before:
                raise SnapshotError(f"the manifest is not well formed: {line[:100]!r}")
            executable = name == b"./" + path
            yield SnapshotFile(path, "sha256:" + digest.decode(), executable)
            name = next(names, None) if executable else name
            before = path
        if name is not None:
            raise SnapshotError(f"the manifest is not well formed: {name[:100]!r} is executable, and no file")

    def _fields(self, start: int, end: int) -> Iterator[bytes]:
        while start < end:
            stop = self._data.find(b"\0", start, end)
            if stop < 0:
                raise SnapshotError("the manifest is not well formed: it is cut short")
            yield self._data[start:stop]
            start = stop + 1


def _is_safe(path: bytes) -> bool:
    whole = b"/%b/" % path
    return not any(part in whole for part in (b"//", b"/./", b"/../"))


def load(objects: ObjectStore, sha256: str, *, snapshot: bool = True) -> Manifest:
    """The files of a snapshot, or of a dataset that is a folder.

    Raises:
        LookupError: the manifest is not in the store.
        SnapshotError: it is damaged or not well formed.
    """
    try:
        with objects.open(sha256) as file:
            return Manifest(file.read(MAX_MANIFEST), snapshot=snapshot)
    except ValueError as error:
        raise SnapshotError(str(error)) from error


def snapshot_facts(objects: ObjectStore, sha256: str) -> SnapshotFacts:
    """Is it there, and does every one of its objects have its digest? (Reads them all.)"""
    try:
        files = load(objects, sha256)
    except LookupError:
        return SnapshotFacts(sha256, found=False)
    except (SnapshotError, OSError) as error:
        return SnapshotFacts(sha256, found=True, error=str(error))
    for file in files:
        try:
            objects.open(file.sha256).close()
        except (LookupError, ValueError, OSError) as error:
            name = file.path.decode("utf-8", "backslashreplace")
            return SnapshotFacts(sha256, found=True, error=f"{name}: {error}")
    return SnapshotFacts(sha256, found=True, verified=True)


def file_of(objects: ObjectStore, sha256: str, path: str) -> bytes:
    """The bytes of one file of a snapshot.

    Raises:
        LookupError: the snapshot or the file is not there.
        SnapshotError: damaged or not well formed.
    """
    wanted = os.fsencode(path)
    for file in load(objects, sha256):
        if file.path == wanted:
            try:
                with objects.open(file.sha256) as stream:
                    return stream.read()
            except ValueError as error:
                raise SnapshotError(str(error)) from error
    raise LookupError(f"{path!r} is not a file of snapshot {sha256[:19]}")


def export_snapshot(objects: ObjectStore, sha256: str, destination: Path) -> None:
    """Write a snapshot to `destination` (absent, or an empty folder).

    Raises:
        SnapshotError: absent, damaged or not well formed.
        ExportError: the destination is in use.
    """
    _export(objects, sha256, destination, snapshot=True)


def export_folder(objects: ObjectStore, sha256: str, destination: Path) -> None:
    """Write a dataset that is a folder to `destination` (errors as for `export_snapshot`)."""
    _export(objects, sha256, destination, snapshot=False)


def _export(objects: ObjectStore, sha256: str, destination: Path, *, snapshot: bool) -> None:
    try:
        files = load(objects, sha256, snapshot=snapshot)
        with appearing(destination, 0) as writer:
            for file in files:
                writer.file(file.path, executable=file.executable, fill=_content(objects, file))
    except (LookupError, ValueError, FileExistsError, NotADirectoryError) as error:
        raise SnapshotError(f"{'snapshot' if snapshot else 'dataset'} {sha256}: {error}") from error


def _content(objects: ObjectStore, file: SnapshotFile) -> Fill:
    def fill(write: Callable[[bytes], object]) -> None:
        with objects.open(file.sha256) as stream:
            while piece := stream.read(1 << 20):
                write(piece)

    return fill
