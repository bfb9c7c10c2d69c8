"""Data of object stores: brought, put in the cache, healed, and let go of."""

import os
from pathlib import Path

import pytest

from controller.api.catalog import DatasetVersion
from controller.api.experiment import DatasetRef
from controller.inputs.remote_data import DataCache, bring
from controller.inputs.remote_data_facts import StoredData
from controller.inputs.snapshots import SnapshotError
from controller.inputs.statcache import StatCache
from controller.inputs.sync import Target, put_folder
from controller.ports.inputs import no_progress
from controller.ports.objectstore import AbsentError
from controller.stores.objects import FileObjects
from tests.fakes.objectstore import MemoryObjects


@pytest.fixture
def shared() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def local(tmp_path: Path) -> FileObjects:
    return FileObjects(tmp_path / "objects")


@pytest.fixture
def stored(local: FileObjects, shared: MemoryObjects, tmp_path: Path) -> StoredData:
    return StoredData(local, shared, tmp_path, StatCache(tmp_path / "stat"))


def folder_in(store: MemoryObjects, tmp_path: Path) -> str:
    """A dataset of two files."""
    root = tmp_path / "made"
    (root / "sub").mkdir(parents=True)
    (root / "a").write_text("1")
    (root / "sub" / "b").write_text("2")
    return put_folder(root, Target(store, "shared", None, tmp_path / "scratch")).sha256


def entry(sha256: str, form: str = "file", uri: str = "https://example.org/x") -> DatasetVersion:
    return DatasetVersion.model_validate({"uri": uri, "sha256": sha256, "form": form})


REF = DatasetRef(name="x", uri="dataset:x")


def test_an_entry_is_brought_and_lies_in_the_cache(stored: StoredData, shared: MemoryObjects, tmp_path: Path) -> None:
    sha256 = folder_in(shared, tmp_path)
    facts = stored.facts(REF, entry(sha256, "folder"), no_progress)
    assert facts is not None
    assert (facts.found, facts.sha256, facts.pinned, facts.files, facts.reason) == (True, sha256, sha256, 2, "")
    assert sorted(place.name for place in Path(facts.path).rglob("*")) == ["a", "b", "sub"]


def test_once_it_is_there_no_store_is_asked(stored: StoredData, shared: MemoryObjects, tmp_path: Path) -> None:
    sha256 = folder_in(shared, tmp_path)
    stored.facts(REF, entry(sha256, "folder"), no_progress)
    shared.delete(sha256)
    for item in FileObjects(tmp_path / "objects").list():
        FileObjects(tmp_path / "objects").delete(item.sha256)
    facts = stored.facts(REF, entry(sha256, "folder"), no_progress)
    assert facts is not None
    assert facts.sha256 == sha256


def test_what_no_store_has_waits(stored: StoredData) -> None:
    facts = stored.facts(REF, entry("sha256:" + "a" * 64), no_progress)
    assert facts is not None
    assert (facts.found, facts.pinned) == (False, "sha256:" + "a" * 64)
    assert "not in the object store" in facts.message
    by_path = stored.facts(REF, entry("sha256:" + "a" * 64, uri="file:data/x"), no_progress)
    assert by_path is None, "its own place decides then"


def test_an_address_in_a_spec_is_never_fetched(stored: StoredData, local: FileObjects) -> None:
    """Nor does it give access to bytes that came from somewhere else."""
    sha256 = local.put(b"data of other people")
    ref = DatasetRef(name="x", uri="http://127.0.0.1:9/x", sha256=sha256)
    facts = stored.facts(ref, None, no_progress)
    assert facts is not None
    assert not facts.found
    assert "ml dataset prefetch" in facts.message
    stored.note_fetched(ref.uri, sha256)
    facts = stored.facts(ref, None, no_progress)
    assert facts is not None
    assert facts.sha256 == sha256
    assert facts.pinned is None


def test_a_changed_copy_in_the_cache_is_made_again(stored: StoredData, shared: MemoryObjects) -> None:
    sha256 = shared.put(b"data")
    first = stored.facts(REF, entry(sha256), no_progress)
    assert first is not None
    Path(first.path).write_bytes(b"dat4")
    again = stored.facts(REF, entry(sha256), no_progress)
    assert again is not None
    assert again.sha256 == sha256
    assert Path(again.path).read_bytes() == b"data"


@pytest.mark.parametrize("form", ["file", "folder"])
def test_a_damaged_object_is_healed_from_the_shared_store(
    stored: StoredData, local: FileObjects, shared: MemoryObjects, tmp_path: Path, form: str
) -> None:
    sha256 = shared.put(b"1") if form == "file" else folder_in(shared, tmp_path)
    stored.bring(sha256, "folder" if form == "folder" else "file", no_progress)
    damaged = shared.put(b"1")
    path = local._path(damaged[7:])
    path.chmod(0o644)
    path.write_bytes(b"2")
    facts = stored.facts(REF, entry(sha256, form), no_progress)
    assert facts is not None
    assert (facts.sha256, facts.reason) == (sha256, "")
    with local.open(damaged) as file:
        assert file.read() == b"1"


def test_without_a_shared_store_a_damaged_object_is_named(local: FileObjects, tmp_path: Path) -> None:
    stored = StoredData(local, None, tmp_path, None)
    sha256 = local.put(b"1")
    path = local._path(sha256[7:])
    path.chmod(0o644)
    path.write_bytes(b"2")
    facts = stored.facts(REF, entry(sha256), no_progress)
    assert facts is not None
    assert facts.reason == "UnreadableDataset"
    assert sha256 in facts.message


def test_bring_copies_only_what_is_missing(local: FileObjects, shared: MemoryObjects, tmp_path: Path) -> None:
    sha256 = folder_in(shared, tmp_path)
    local.put(b"1")
    lacking = shared.put(b"2")
    bring(local, shared, sha256, "folder")
    assert local.has(sha256)
    assert local.has(lacking)
    shared.delete(lacking)
    bring(local, shared, sha256, "folder")  # nothing is asked of it


def test_bring_leaves_no_manifest_without_its_files(local: FileObjects, shared: MemoryObjects, tmp_path: Path) -> None:
    sha256 = folder_in(shared, tmp_path)
    shared.delete(shared.put(b"2"))
    with pytest.raises(AbsentError):
        bring(local, shared, sha256, "folder")
    assert not local.has(sha256)
    with pytest.raises(SnapshotError):
        bring(local, shared, shared.put(b"no manifest"), "folder")


def test_what_nobody_used_is_removed_unless_it_is_in_use(local: FileObjects, tmp_path: Path) -> None:
    cache = DataCache(tmp_path / "data")
    places = {name: cache.fill(local, local.put(name.encode()), "file") for name in ("old", "kept", "new")}
    for name in ("old", "kept"):
        os.utime(places[name].with_name(places[name].name + ".used"), (1, 1))
    removed = cache.expire(1000.0, frozenset({places["kept"].name}))
    assert removed == (places["old"].name,)
    assert [place.exists() for place in places.values()] == [False, True, True]
    assert cache.expire(1000.0) == (places["kept"].name,)
    cache.fill(local, local.put(b"new"), "file")
    assert cache.expire(1000.0) == ()
