"""The catalogue of datasets: Dataset documents beside the specs, each with all its versions.

Promises: an entry is found by name and version, and a name that is nearly right is suggested; a new version keeps the
earlier ones; a file that somebody edited by hand (comments, order) is never rewritten. An entry appears whole or not at
all. Does not: move data.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from controller.api.addresses import catalogue_entry
from controller.api.base import API_VERSION
from controller.api.catalog import Dataset, DatasetSpec, DatasetVersion
from controller.api.documents import load
from controller.api.experiment import DatasetRef
from controller.api.yaml_writer import lines
from controller.inputs.beneath import UnsafePathError
from controller.ports import durable

WRITTEN = durable.register("catalogue.write", "a catalogue entry appears in the specs folder, or a new version of it")
SUFFIX = ".dataset.yaml"
_MAX_FILE = 4 << 20


class CatalogueError(Exception):
    """An entry that is not there, stands twice, or may not be rewritten; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, and the file that holds it."""

    dataset: Dataset
    file: Path
    as_written: bool
    """The file has exactly the bytes that `write` gives it, so that it may be written again."""

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.dataset.metadata.name


def version_of(ref: DatasetRef, catalogue: Sequence[Dataset]) -> DatasetVersion | None:
    """The version that a ``dataset:`` uri names; None for any other uri.

    Raises:
        UnsafePathError: no such entry or version, or the name stands twice (reason DatasetNotInCatalogue).
    """
    named = catalogue_entry(ref.uri)
    if named is None:
        return None
    try:
        return find_version(find(catalogue, named[0]), named[1])
    except CatalogueError as error:
        raise UnsafePathError("DatasetNotInCatalogue", str(error)) from error


def find(catalogue: Iterable[Dataset], name: str) -> Dataset:
    """The entry of a name.

    Raises:
        CatalogueError: none, or several.
    """
    entries = list(catalogue)
    found = [each for each in entries if each.metadata.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise CatalogueError(f"{len(found)} Dataset documents are called {name!r}; rename or remove all but one")
    names = sorted({each.metadata.name for each in entries})
    raise CatalogueError(f"the catalogue has no dataset {name!r}" + _suggestion(name, names))


def find_version(dataset: Dataset, version: str) -> DatasetVersion:
    """One version of an entry; the newest when `version` is empty.

    Raises:
        CatalogueError: there is none of that name.
    """
    versions = dataset.spec.versions
    if not version:
        return versions[0]
    for each in versions:
        if each.version == version:
            return each
    known = [each.version for each in versions]
    raise CatalogueError(f"dataset {dataset.metadata.name!r} has no version {version!r}" + _suggestion(version, known))


def _suggestion(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word, known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; there are {', '.join(known[:10])}" if known else "; it is empty (ml dataset add)"


def matches(dataset: Dataset, query: str, labels: dict[str, str]) -> bool:
    """Does the name or description hold the query, whatever the case, and are these its labels?"""
    meta, word = dataset.metadata, query.lower()
    text = f"{meta.name} {dataset.spec.description}".lower()
    return word in text and all(meta.labels.get(key) == value for key, value in labels.items())


def entries(folder: Path) -> Iterator[Entry]:
    """Every entry beneath a folder of specs, by name; invalid files are left out (`ml validate` says why)."""
    found = []
    for file in _files(folder):
        data = _read(file)
        if b"Dataset" in data:
            found += [
                Entry(each.model, file, each.of == 1 and rendered(each.model) == data)
                for each in load(data, str(file)).documents
                if isinstance(each.model, Dataset)
            ]
    return iter(sorted(found, key=lambda entry: (entry.dataset.metadata.namespace, entry.name)))


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if name.endswith((".yaml", ".yml")) and name[0] != ".")


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(_MAX_FILE)
    except OSError:
        return b""


def rendered(dataset: Dataset) -> bytes:
    """The entry as a file."""
    value = dataset.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"status", "spec"})
    spec = dataset.spec
    words = _dumped(spec) | ({"previous": [_dumped(each) for each in spec.previous]} if spec.previous else {})
    head = {"apiVersion": API_VERSION, "kind": "Dataset"}
    return ("\n".join(lines(head | value | {"spec": words})) + "\n").encode()


def _dumped(version: DatasetVersion) -> dict[str, object]:
    """Without what is as usual; the version always, because experiments write it."""
    words = version.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"previous", "version"})
    return {"version": version.version, **words}


def with_version(dataset: Dataset, new: DatasetSpec) -> Dataset:
    """The entry with `new` as its newest version and what was newest among the earlier ones.

    The same bytes under the same version change nothing but the words about them.

    Raises:
        CatalogueError: the version is taken by other bytes.
    """
    earlier = dataset.spec.versions
    for each in earlier:
        if each.version == new.version and each.sha256 != new.sha256:
            raise CatalogueError(
                f"version {each.version} of {dataset.metadata.name} is {each.sha256}, not {new.sha256}; "
                f"write --version {_next([each.version for each in earlier])}"
            )
    kept = tuple(
        DatasetVersion.model_validate({name: getattr(each, name) for name in DatasetVersion.model_fields})
        for each in earlier
        if each.version != new.version
    )
    return dataset.model_copy(update={"spec": new.model_copy(update={"previous": kept})})


def next_version(dataset: Dataset | None, sha256: str) -> str:
    """The version of these bytes: the one that has them, else the next number."""
    versions = dataset.spec.versions if dataset else ()
    same = next((each.version for each in versions if each.sha256 == sha256), None)
    return same or _next([each.version for each in versions])


def _next(versions: Sequence[str]) -> str:
    return str(1 + max((int(each) for each in versions if each.isdecimal()), default=len(versions)))


def write(dataset: Dataset, file: Path) -> None:
    """Write an entry: whole, and durably, or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.fetchml-new")  # a fixed name: what a kill left is written over
    try:
        with temporary.open("wb") as stream:
            stream.write(rendered(dataset))
            stream.flush()
            os.fsync(stream.fileno())
        with durable.step(WRITTEN):
            temporary.replace(file)
            _sync(file.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
