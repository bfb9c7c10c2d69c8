"""Snapshots in the object store."""

import stat
from pathlib import Path

import pytest

from controller.inputs.snapshots import (
    Manifest,
    SnapshotError,
    SnapshotFile,
    export_snapshot,
    manifest_of,
    snapshot_facts,
)
from controller.stores.objects import FileObjects


@pytest.fixture
def objects(tmp_path: Path) -> FileObjects:
    """An empty store."""
    return FileObjects(tmp_path / "objects")


def put(objects: FileObjects, **files: str) -> str:
    """Store a snapshot (run.sh is executable); its digest."""
    found = [
        SnapshotFile(name.encode(), objects.put(content.encode()), executable=name.endswith(".sh"))
        for name, content in files.items()
    ]
    return objects.put(manifest_of(found))


def test_a_snapshot_is_found_verified_and_exported(objects: FileObjects, tmp_path: Path) -> None:
    digest = put(objects, **{"a": "1", "sub/run.sh": "2"})
    facts = snapshot_facts(objects, digest)
    assert (facts.found, facts.verified, facts.error) == (True, True, "")
    export_snapshot(objects, digest, tmp_path / "out")
    out = tmp_path / "out"
    assert {str(p.relative_to(out)): p.read_text() for p in out.rglob("*") if p.is_file()} == {
        "a": "1",
        "sub/run.sh": "2",
    }
    assert [stat.S_IMODE((out / name).stat().st_mode) for name in ("a", "sub/run.sh")] == [0o644, 0o755]


def test_the_executable_bit_changes_the_digest(objects: FileObjects) -> None:
    content = objects.put(b"x")
    plain, executable = (manifest_of([SnapshotFile(b"a", content, bit)]) for bit in (False, True))
    assert plain != executable
    assert [file.executable for file in Manifest(executable, snapshot=True)] == [True]


def _object(tmp_path: Path, digest: str) -> Path:
    return tmp_path / "objects" / digest[7:9] / digest[9:]


def test_absent_and_damaged_objects(objects: FileObjects, tmp_path: Path) -> None:
    digest = put(objects, a="1", b="2")
    content = _object(tmp_path, objects.put(b"2"))
    content.chmod(0o644)
    content.write_bytes(b"3")
    facts = snapshot_facts(objects, digest)
    assert (facts.found, facts.verified) == (True, False)
    assert facts.error.startswith("b: ")
    with pytest.raises(SnapshotError, match="damaged"):
        export_snapshot(objects, digest, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    content.unlink()
    assert not snapshot_facts(objects, digest).verified
    _object(tmp_path, digest).unlink()
    assert not snapshot_facts(objects, digest).found
    with pytest.raises(SnapshotError):
        export_snapshot(objects, digest, tmp_path / "out")


@pytest.mark.parametrize("path", [b"../outside", b"/etc/x", b"a/../../x", b"a//b", b"./a", b""])
def test_a_manifest_that_leads_outside_is_refused(objects: FileObjects, tmp_path: Path, path: bytes) -> None:
    digest = objects.put(manifest_of([SnapshotFile(path, objects.put(b"x"), executable=False)]))
    facts = snapshot_facts(objects, digest)
    assert (facts.found, facts.verified) == (True, False)
    with pytest.raises(SnapshotError):
        export_snapshot(objects, digest, tmp_path / "run/out")
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("data", [b"", b"rubbish", b"\0\0", b"x" * 64 + b"  ./a\0\0", b"\0./a\0"])
def test_a_manifest_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(SnapshotError):
        Manifest(data, snapshot=True)


def test_a_file_named_twice_or_out_of_order_is_refused() -> None:
    line = b"a" * 64 + b"  ./%b\0"
    for names in ((b"a", b"a"), (b"b", b"a")):
        with pytest.raises(SnapshotError):
            Manifest(b"".join(line % name for name in names) + b"\0", snapshot=True)


def test_an_empty_snapshot(objects: FileObjects, tmp_path: Path) -> None:
    digest = put(objects)
    assert snapshot_facts(objects, digest).verified
    export_snapshot(objects, digest, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
