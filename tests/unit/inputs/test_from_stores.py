"""What the inputs of a spec are when they lie in object stores: the lock in a snapshot, catalogue entries by file."""

from pathlib import Path

import pytest

from controller.api.canonical import digest_bytes
from controller.api.catalog import Dataset
from controller.api.documents import Document, load
from controller.api.experiment import DatasetRef, Dependencies, Source
from controller.inputs.local import LocalInputs
from controller.inputs.snapshots import SnapshotFile, manifest_of
from controller.stores.objects import FileObjects
from tests.fakes.objectstore import MemoryObjects

LOCK = b"numpy==2.0.0 --hash=sha256:" + b"a" * 64 + b"\n"
SPEC = "apiVersion: fetchml.dev/v1alpha1\nkind: Experiment\nmetadata: {name: x}\nspec: {command: [echo]}\n"


@pytest.fixture
def shared() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def inputs(tmp_path: Path, shared: MemoryObjects) -> LocalInputs:
    return LocalInputs(tmp_path, tmp_path / ".fetchml", FileObjects(tmp_path / ".fetchml" / "objects"), None, shared)


@pytest.fixture
def document() -> Document:
    return load(SPEC.encode(), "specs/x.yaml").documents[0]


def test_a_lock_is_read_in_the_snapshot(inputs: LocalInputs, shared: MemoryObjects) -> None:
    files = [SnapshotFile(b"sub/requirements.lock", shared.put(LOCK))]
    snapshot = shared.put(manifest_of(files))
    source = Source(snapshot=snapshot)
    assert inputs.snapshot_facts(snapshot).verified, "it was brought from the shared store"
    facts = inputs.lock_facts(None, source, Dependencies(manifest="./sub/requirements.lock"))
    assert (facts.found, facts.sha256, facts.packages) == (True, digest_bytes(LOCK), 1)
    assert inputs.read_lock("", source, None, "sub/requirements.lock") == LOCK
    absent = inputs.lock_facts(None, source, Dependencies(manifest="other.lock"))
    assert not absent.found
    assert "other.lock" in absent.error


def test_why_a_snapshot_is_not_there(inputs: LocalInputs) -> None:
    facts = inputs.snapshot_facts("sha256:" + "b" * 64)
    assert not facts.found
    assert facts.error


def entry(**spec: object) -> Dataset:
    return Dataset.model_validate(
        {"apiVersion": "fetchml.dev/v1alpha1", "kind": "Dataset", "metadata": {"name": "d"}, "spec": spec}
    )


def test_an_entry_that_was_written_by_hand_names_a_file(
    inputs: LocalInputs, document: Document, tmp_path: Path
) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "data.csv").write_text("1")
    found = entry(uri="file:data.csv", sha256=digest_bytes(b"1"))
    facts = inputs.dataset_facts(document, None, DatasetRef(name="x", uri="dataset:d"), catalogue=[found])
    assert (facts.found, facts.sha256, facts.pinned) == (True, digest_bytes(b"1"), digest_bytes(b"1"))
    (tmp_path / "specs" / "data.csv").write_text("2")
    moved = inputs.dataset_facts(document, None, DatasetRef(name="x", uri="dataset:d"), catalogue=[found])
    assert (moved.sha256, moved.pinned) == (digest_bytes(b"2"), digest_bytes(b"1")), "preflight sees both"


def test_an_unknown_entry_is_a_fact(inputs: LocalInputs, document: Document) -> None:
    facts = inputs.dataset_facts(document, None, DatasetRef(name="x", uri="dataset:e"), catalogue=[])
    assert (facts.found, facts.reason) == (False, "DatasetNotInCatalogue")
