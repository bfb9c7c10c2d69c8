"""What a prune of objects takes, and what it must never take."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from controller.inputs.snapshots import SnapshotFile, export_snapshot, manifest_of, snapshot_facts
from controller.ports.objectstore import DamagedError, StoredObject
from controller.stores.objects import FileObjects
from controller.stores.objects_prune import mentioned, reachable, remove, unneeded

OLD = 1_000_000.0


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def age(store: FileObjects) -> None:
    """Nobody used anything for a long time."""
    for item in store.list():
        os.utime(store._path(item.sha256[7:]), (OLD, OLD))


def snapshot(store: FileObjects, *contents: bytes) -> str:
    files = [SnapshotFile(b"file-%d" % i, store.put(data)) for i, data in enumerate(contents)]
    return store.put(manifest_of(files))


def test_digests_in_a_text() -> None:
    hexes = ["a" * 64, "b" * 64, "c" * 64]
    text = f"snapshot: sha256:{hexes[0]}\n{{'x': '{hexes[1]}'}} {hexes[2]}\0 {'d' * 63} {'e' * 65}".encode()
    assert list(mentioned(text)) == ["sha256:" + each for each in hexes]


A, B, C = (StoredObject(digest(bytes([i])), size, used) for i, size, used in ((1, 10, 5.0), (2, 20, 3.0), (3, 30, 9.0)))


@pytest.mark.parametrize(
    ("kept", "before", "largest", "expected"),
    [
        ((), 100, None, [B, A, C]),
        ((A,), 100, None, [B, C]),
        ((), 9, None, [B, A]),  # C was used at that very time
        ((), 0, None, []),
        ((), 100, 60, []),
        ((), 100, 59, [B]),
        ((), 100, 40, [B]),
        ((), 100, 39, [B, A]),
        ((B,), 100, 0, [A, C]),
    ],
)
def test_what_may_go(
    kept: tuple[StoredObject, ...], before: float, largest: int | None, expected: list[StoredObject]
) -> None:
    assert unneeded([A, B, C], {item.sha256 for item in kept}, before, largest) == expected


def test_what_a_manifest_names_is_needed(tmp_path: Path) -> None:
    store = FileObjects(tmp_path / "objects")
    root = snapshot(store, b"one", b"two")
    empty = snapshot(store)
    other = store.put(b"other")
    assert reachable(store, [root, empty, digest(b"absent")]) == {
        root,
        empty,
        digest(b"absent"),
        digest(b"one"),
        digest(b"two"),
    }
    age(store)
    chosen = unneeded(store.list(), reachable(store, [root]), time.time())
    assert {item.sha256 for item in chosen} == {other, empty}
    assert remove(store, chosen, time.time()).objects == 2
    assert snapshot_facts(store, root).verified
    assert not store.has(other)


def test_a_damaged_manifest_keeps_everything(tmp_path: Path) -> None:
    store = FileObjects(tmp_path / "objects")
    root = snapshot(store, b"one")
    path = store._path(root[7:])
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-2] + b"x\0")
    with pytest.raises(DamagedError, match=root):
        reachable(store, [root])


def test_a_large_object_is_not_read_to_see_what_it_is(tmp_path: Path) -> None:
    store = FileObjects(tmp_path / "objects")
    data = store.put(os.urandom(3 << 20))
    path = store._path(data[7:])
    path.chmod(0o644)
    path.write_bytes(b"rot")  # found when it is read, not here
    assert reachable(store, [data]) == {data}


def test_a_prune_never_takes_what_a_launch_has_looked_at(tmp_path: Path) -> None:
    """The prune has made its choice; a launch then verifies the snapshot and exports it."""
    rounds = 20
    for number in range(rounds):
        store = FileObjects(tmp_path / f"objects-{number}")
        root = snapshot(store, *(b"%d" % i for i in range(10)))
        age(store)
        chosen = unneeded(store.list(), set(), time.time() - 60)
        assert len(chosen) == 11
        half = remove(store, chosen[: number % 3], time.time() - 60)  # the launch comes before, or in between
        verified = snapshot_facts(store, root).verified
        rest = remove(FileObjects(tmp_path / f"objects-{number}"), chosen, time.time() - 60)
        assert verified is (half.objects == 0)
        if verified:
            assert rest.objects == 0
            export_snapshot(store, root, tmp_path / f"out-{number}")
            assert len(list((tmp_path / f"out-{number}").iterdir())) == 10
    print(f"0 of {rounds} launches lost an object that they had looked at")


def test_what_killed_writers_left_is_swept(tmp_path: Path) -> None:
    store = FileObjects(tmp_path / "objects")
    store.put(b"data")
    leftover, fresh = (tmp_path / "objects" / "tmp" / name for name in ("old", "fresh"))
    leftover.write_bytes(b"half")
    fresh.write_bytes(b"half")
    os.utime(leftover, (OLD, OLD))
    remove(store, [], time.time() - 60)
    assert (leftover.exists(), fresh.exists()) == (False, True)
