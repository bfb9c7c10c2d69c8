"""Content-addressed snapshots of a folder, in the object store.

A snapshot's digest is the sha256 of its manifest, and a node without our code computes it with coreutils alone::

    cd DIR && { find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum -z; printf '\\0'; \
        find . -type f -perm -100 -print0 | LC_ALL=C sort -z; } | sha256sum

that is: the lines of the dataset rule, an empty record, then the names of the executable files. The manifest is an
object, and so is the content of every file. Promises: nothing is believed that does not have its digest. Does not:
make snapshots (`ml sync`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from controller.facts.facts import SnapshotFacts
from controller.inputs.export import Fill, appearing
from controller.ports.objectstore import ObjectStore

MAX_MANIFEST = 256 << 20


class SnapshotError(Exception):
    """The snapshot is absent, damaged or not well formed."""


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """One file of a snapshot."""

    path: bytes
    sha256: str
    executable: bool


def manifest_of(files: list[SnapshotFile]) -> bytes:
    """The manifest of some files."""
    ordered = sorted(files, key=lambda file: file.path)
    lines = [b"%b  ./%b\0" % (file.sha256.removeprefix("sha256:").encode(), file.path) for file in ordered]
    return b"".join([*lines, b"\0", *(b"./%b\0" % file.path for file in ordered if file.executable)])


def read_manifest(data: bytes) -> list[SnapshotFile]:
    """The files that a manifest names.

    Raises:
        SnapshotError: it is not one that `manifest_of` could have written, or a path leads out of the folder.
    """
    lines, separator, names = (b"\0" + data).partition(b"\0\0")
    executable = set(names.split(b"\0")[:-1])
    files = []
    for line in filter(None, lines.split(b"\0")):
        digest, path = line[:64].decode("ascii", "replace"), line[68:]
        files.append(SnapshotFile(path, "sha256:" + digest, b"./" + path in executable))
    if not separator or manifest_of(files) != data or not all(map(_is_safe, files)):
        raise SnapshotError("the manifest is not well formed")
    if len({file.path for file in files}) != len(files):
        raise SnapshotError("the manifest names a file twice")
    return files


def _is_safe(file: SnapshotFile) -> bool:
    parts = file.path.split(b"/")
    well_named = not any(part in (b"", b".", b"..") for part in parts)
    return well_named and set(file.sha256[7:]) <= set("0123456789abcdef") and len(file.sha256) == 71


def load(objects: ObjectStore, sha256: str) -> list[SnapshotFile]:
    """The files of a snapshot.

    Raises:
        LookupError: the manifest is not in the store.
        SnapshotError: it is damaged or not well formed.
    """
    try:
        with objects.open(sha256) as file:
            return read_manifest(file.read(MAX_MANIFEST))
    except ValueError as error:
        raise SnapshotError(str(error)) from error


def snapshot_facts(objects: ObjectStore, sha256: str) -> SnapshotFacts:
    """Is it there, and does every one of its objects have its digest? (Reads them all.)"""
    try:
        files = load(objects, sha256)
    except LookupError:
        return SnapshotFacts(sha256, found=False)
    except SnapshotError as error:
        return SnapshotFacts(sha256, found=True, error=str(error))
    for file in files:
        try:
            objects.open(file.sha256).close()
        except (LookupError, ValueError) as error:
            name = file.path.decode("utf-8", "backslashreplace")
            return SnapshotFacts(sha256, found=True, error=f"{name}: {error}")
    return SnapshotFacts(sha256, found=True, verified=True)


def export_snapshot(objects: ObjectStore, sha256: str, destination: Path) -> None:
    """Write a snapshot to `destination` (absent, or an empty folder).

    Raises:
        SnapshotError: absent, damaged or not well formed.
        ExportError: the destination is in use.
    """
    try:
        files = load(objects, sha256)
        with appearing(destination, 0) as writer:
            for file in files:
                writer.file(file.path, executable=file.executable, fill=_content(objects, file))
    except (LookupError, ValueError) as error:
        raise SnapshotError(f"snapshot {sha256}: {error}") from error


def _content(objects: ObjectStore, file: SnapshotFile) -> Fill:
    def fill(write: Callable[[bytes], object]) -> None:
        with objects.open(file.sha256) as stream:
            while piece := stream.read(1 << 20):
                write(piece)

    return fill
