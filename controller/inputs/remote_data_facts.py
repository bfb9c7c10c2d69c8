"""Facts of datasets that an object store holds: catalogue entries, and addresses that were fetched before.

Promises: no network but the operator's own shared store; an address that a spec names is never fetched from here
(specs come from people whom nobody trusts), only `ml dataset prefetch` does that; a damaged copy in the cache is made
again once, a damaged object is healed from the shared store. Does not: judge.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from controller.api.catalog import DatasetVersion
from controller.api.experiment import DatasetRef
from controller.facts.facts import DatasetFacts
from controller.inputs.datasets import Place, on_host
from controller.inputs.remote_data import DataCache, Form, bring
from controller.inputs.snapshots import SnapshotError, export_folder
from controller.inputs.statcache import StatCache
from controller.ports.inputs import Progress
from controller.ports.objectstore import AbsentError, DamagedError, ObjectStore

REMOTE = ("http:", "https:")
_Answer = TypeVar("_Answer")


class StoredData:
    """What the object stores hold, for the specs of one repository."""

    def __init__(self, local: ObjectStore, shared: ObjectStore | None, base: Path, cache: StatCache | None) -> None:
        self._local, self._shared, self._stat = local, shared, cache
        self.cache = DataCache(base / "cache" / "data")
        self._fetched = base / "cache" / "fetched"

    def facts(self, ref: DatasetRef, version: DatasetVersion | None, progress: Progress) -> DatasetFacts | None:
        """Facts of a dataset; None: only the place that its uri names can have it."""
        uri = version.uri if version else ref.uri
        sha256 = version.sha256 if version else ref.sha256
        if sha256 is None or (version is None and not self.was_fetched(uri, sha256)):
            return _not_fetched(ref) if uri.startswith(REMOTE) else None
        form: Form = version.form if version else "file"
        pinned = version.sha256 if version else None
        try:
            place = self.place(sha256, form, progress)
            found = self._look(ref.name, place, progress)
            if found.sha256 != sha256:
                place = self.cache.fill(self._local, sha256, form, again=True)
                found = self._look(ref.name, place, progress)
        except AbsentError:
            return None if uri.startswith("file:") else _absent(ref, pinned)
        except (DamagedError, SnapshotError, OSError) as error:
            return DatasetFacts(ref.name, found=True, reason="UnreadableDataset", message=str(error), pinned=pinned)
        return DatasetFacts(
            ref.name,
            found=True,
            sha256=found.sha256,
            size=found.size,
            files=found.files,
            reason=found.reason,
            message=found.message,
            path=found.path,
            stamp=found.stamp,
            pinned=pinned,
        )

    def place(self, sha256: str, form: Form, progress: Progress) -> Path:
        """Where a dataset of the stores lies on this host; it is brought and put there if need be.

        Raises:
            AbsentError, DamagedError, SnapshotError, OSError: as `bring` and `DataCache.fill`.
        """
        if not self.cache.holds(sha256, form):
            self.bring(sha256, form, progress)
        return self._healing(lambda: self.cache.fill(self._local, sha256, form))

    def bring(self, sha256: str, form: Form, progress: Progress) -> None:
        """Have it in this repository's store, if the shared one has it (errors as for `remote_data.bring`)."""
        if self._shared is not None:
            shared = self._shared
            self._healing(lambda: bring(self._local, shared, sha256, form, progress))

    def export(self, sha256: str, form: Form, target: Path) -> None:
        """Write it to a new file or folder of the user's.

        Raises:
            AbsentError, DamagedError, SnapshotError: as the store has it.
            OSError, ExportError: it cannot be written there.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        if form == "file":
            self._healing(lambda: self._local.checkout(sha256, target))
        else:
            self._healing(lambda: export_folder(self._local, sha256, target))

    def was_fetched(self, uri: str, sha256: str) -> bool:
        """Did the operator fetch these bytes from this address?"""
        return uri.startswith(REMOTE) and self._note(uri, sha256).exists()

    def note_fetched(self, uri: str, sha256: str) -> None:
        """The operator fetched these bytes from this address."""
        note = self._note(uri, sha256)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()

    def _note(self, uri: str, sha256: str) -> Path:
        return self._fetched / hashlib.sha256(f"{sha256} {uri}".encode()).hexdigest()

    def _look(self, name: str, place: Path, progress: Progress) -> DatasetFacts:
        report = lambda done, total: progress(f"hashing {name}", done, total)  # noqa: E731  # one argument is fixed
        return on_host(name, Place(place.parent, (place.name,)), self._stat, report)

    def _healing(self, work: Callable[[], _Answer]) -> _Answer:
        """Do it; an object that turns out to be damaged here is taken from the shared store, and it is done again."""
        try:
            return work()
        except (DamagedError, SnapshotError) as error:
            damaged = _damaged(error)
            if self._shared is None or damaged is None:
                raise
            with self._shared.open(damaged) as stream:
                self._local.put(stream.read())
            return work()


def _damaged(error: BaseException) -> str | None:
    """Which object it was, for an error that was raised because of a damaged one."""
    while not isinstance(error, DamagedError):
        if error.__cause__ is None:
            return None
        error = error.__cause__
    return error.sha256


def _not_fetched(ref: DatasetRef) -> DatasetFacts:
    why = f"{ref.uri} was not fetched with this digest; addresses in specs are fetched by `ml dataset prefetch` only"
    return DatasetFacts(ref.name, found=False, message=why)


def _absent(ref: DatasetRef, pinned: str | None) -> DatasetFacts:
    why = f"{ref.uri} is not in the object store; ml dataset add it here, or set object_store to where it is"
    return DatasetFacts(ref.name, found=False, message=why, pinned=pinned)
