"""Data that lies in object stores: brought from a shared one, and put where a run can read it.

Promises: `bring` copies only what this repository's store lacks, the manifest last; what is put in the cache appears
whole; each use is noted there, and `expire` removes what nobody used for some time. Everything here may be deleted at
any moment. Does not: fetch anything that no object store holds, or vouch for a copy: it is hashed where it lies, like
any other data.
"""

import fcntl
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal

from controller.inputs.snapshots import Manifest, export_folder, load
from controller.ports import durable, folders
from controller.ports.inputs import Progress, no_progress
from controller.ports.objectstore import ObjectStore

PREFETCHED = durable.register("inputs.prefetch", "a dataset from an object store appears in the cache")
Form = Literal["file", "folder", "snapshot"]
_ASKED = 1024
_WORKERS = 8
_USED = ".used"


def bring(local: ObjectStore, shared: ObjectStore, sha256: str, form: Form, progress: Progress = no_progress) -> None:
    """Copy an object, or a manifest with all that it names, from a shared store.

    Raises:
        AbsentError: the shared store does not have it either.
        DamagedError: it is damaged there.
        SnapshotError: it is no manifest.
        OSError: a store cannot be reached or written.
    """
    if form == "file":
        if local.missing([sha256]):
            _copy(local, shared, sha256)
        return
    manifest = _manifest(local, shared, sha256, form)
    done = 0
    with local.batch(), ThreadPoolExecutor(_WORKERS) as pool:
        names = iter(file.sha256 for file in manifest)
        while batch := list(islice(names, _ASKED)):
            for _ in pool.map(lambda each: _copy(local, shared, each), local.missing(batch)):
                pass
            done += len(batch)
            progress("bringing files", done, manifest.files)
    if local.missing([sha256]):
        _copy(local, shared, sha256)


def _manifest(local: ObjectStore, shared: ObjectStore, sha256: str, form: Form) -> Manifest:
    holder = shared if local.missing([sha256]) else local
    return load(holder, sha256, snapshot=form == "snapshot")


def _copy(local: ObjectStore, shared: ObjectStore, sha256: str) -> None:
    with shared.open(sha256) as stream:
        fd = _descriptor(stream)
        if fd is None:
            local.put(stream.read())
        else:
            local.put_file(fd, sha256)


def _descriptor(stream: BinaryIO) -> int | None:
    try:
        return stream.fileno()
    except (io.UnsupportedOperation, AttributeError):
        return None


class DataCache:
    """Datasets of object stores as files and folders that a run may read. Processes and threads may share it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def name_of(self, sha256: str, form: Form) -> str:
        """The name beneath `folder`."""
        return f"{form}-{sha256.removeprefix('sha256:')}"

    def fill(self, objects: ObjectStore, sha256: str, form: Form, *, again: bool = False) -> Path:
        """Where a dataset lies, put there from the store if it is not; with `again` in any case.

        Raises:
            AbsentError, DamagedError, SnapshotError: as the store has it.
            OSError: the disk is full or not writable.
        """
        place = self.folder / self.name_of(sha256, form)
        with self._locked():
            if again:
                _remove(place)
            if not place.exists():
                _make(objects, sha256, form, place)
            place.with_name(place.name + _USED).touch()
        return place

    def holds(self, sha256: str, form: Form) -> bool:
        """Is it here already?"""
        return (self.folder / self.name_of(sha256, form)).exists()

    def expire(self, before: float, keep: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Remove what was last used before this moment (seconds since the epoch), but the names in `keep`.

        Returns the names that were removed.
        """
        removed = []
        if self.folder.is_dir():
            with self._locked():
                for marker in sorted(self.folder.glob("*" + _USED)):
                    name = marker.name.removesuffix(_USED)
                    if name not in keep and marker.stat().st_mtime < before:
                        _remove(self.folder / name)
                        marker.unlink()
                        removed.append(name)
        return tuple(removed)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _make(objects: ObjectStore, sha256: str, form: Form, place: Path) -> None:
    if form != "file":
        export_folder(objects, sha256, place)
        return
    partial = place.with_name(f".{place.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        objects.checkout(sha256, partial)
        with durable.step(PREFETCHED):
            partial.rename(place)
    finally:
        partial.unlink(missing_ok=True)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        folders.remove(place)
    else:
        with suppress(FileNotFoundError):
            place.unlink()
