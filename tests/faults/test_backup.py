"""The machine is lost, and a backup is all there is; a backup or restore that is killed; objects through `ml prune`."""

import io
import os
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest

from controller.stores.objects import FileObjects
from controller.wiring import Place, open_store
from tests.faults.world import SPEC, World

KILLED = -signal.SIGKILL
pytestmark = pytest.mark.needs("git")


def objects_of(world: World) -> FileObjects:
    return FileObjects(world.base / "objects")


def age(world: World) -> None:
    """Nobody used an object for a long time."""
    for item in objects_of(world).list():
        os.utime(objects_of(world)._path(item.sha256[7:]), (1_000_000, 1_000_000))


def with_snapshot(world: World) -> str:
    """Put the code into the object store, and name it in a second spec; returns its digest."""
    synced = world.ml("sync", "code")
    assert synced.returncode == 0, synced.stderr
    sha256 = synced.stdout.split()[0]
    text = SPEC.replace('git: {repo: ".", path: code}', f'snapshot: "{sha256}"').replace("victim", "frozen")
    data = world.spec.read_text().partition('sha256: "')[2][:71]
    (world.repo / "specs" / "frozen.yaml").write_text(text.replace("sha256:%s", data))
    return sha256


def test_a_lost_machine_comes_back(tmp_path: Path) -> None:
    """Left: the repository as others have it, and the backup. Not the records, not the keys."""
    world = World(tmp_path / "first").make()
    sha256 = with_snapshot(world)
    assert world.ml("run", "specs/frozen.yaml").returncode == 0
    for words in (["add", "specs", "trust"], ["commit", "-qm", "what others have"]):
        subprocess.run(["git", *words], cwd=world.repo, check=True)
    kept = world.ml("backup", str(tmp_path / "backup.tar.gz"))
    assert kept.returncode == 0, kept.stderr
    second = World(tmp_path / "second")
    second.folder.mkdir()
    subprocess.run(["git", "clone", "-q", str(world.repo), str(second.repo)], check=True)
    shutil.copytree(world.repo / "data", second.repo / "data", dirs_exist_ok=True)
    shutil.rmtree(world.folder)

    restored = second.ml("restore", str(tmp_path / "backup.tar.gz"), "--yes")
    assert restored.returncode == 0, restored.stderr
    verified = second.ml("verify", "frozen")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert '"completed": 1' in second.ml("status", "-o", "json").stdout
    objects = objects_of(second)
    assert objects.has(sha256)
    assert all(objects.open(item.sha256) for item in objects.list())
    again = second.ml("run", "specs/frozen.yaml")
    assert again.returncode == 0, again.stderr
    assert len(second.run_folders()) == 1, "it had run already"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """With a store, and no run."""
    world = World(tmp_path).make(key=False)
    open_store(Place(world.repo, world.base))
    return world


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_backup_that_is_killed(world: World, phase: str) -> None:
    with_snapshot(world)
    target = world.folder / "backup.tar.gz"
    assert world.ml("backup", str(target), point=f"{phase}:backup.appear").returncode == KILLED
    assert target.exists() is (phase == "after")
    target.unlink(missing_ok=True)
    assert world.ml("backup", str(target)).returncode == 0
    with tarfile.open(target) as archive:
        assert "state.db" in archive.getnames()


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_restore_that_is_killed(world: World, phase: str) -> None:
    sha256 = with_snapshot(world)
    target = world.folder / "backup.tar.gz"
    assert world.ml("backup", str(target)).returncode == 0
    world.base.rename(world.folder / "lost")
    world.base.mkdir()
    (world.base / "precious").write_text("x")
    assert world.ml("restore", str(target), "--yes", point=f"{phase}:backup.restore").returncode == KILLED
    assert (world.base / "state.db").exists() is (phase == "after")
    if phase == "before":
        assert world.ml("restore", str(target), "--yes").returncode == 0
    assert objects_of(world).has(sha256)
    assert (world.repo / ".fetchml.before-1" / "precious").read_text() == "x"
    assert not (world.repo / ".fetchml.restoring").exists()


def test_a_damaged_backup_changes_nothing(world: World) -> None:
    with_snapshot(world)
    target = world.folder / "backup.tar.gz"
    assert world.ml("backup", str(target)).returncode == 0
    world.base.rename(world.folder / "lost")
    target.write_bytes(target.read_bytes()[:-2000])
    refused = world.ml("restore", str(target), "--yes")
    assert refused.returncode == 3, refused.stderr
    assert "nothing was changed" in refused.stderr
    assert not world.base.exists()
    assert not list(world.repo.glob("*.restoring"))


def test_an_object_that_rotted_in_a_backup_is_named_and_nothing_changed(world: World) -> None:
    sha256 = with_snapshot(world)
    target, rotten = world.folder / "backup.tar.gz", world.folder / "rotten.tar.gz"
    assert world.ml("backup", str(target)).returncode == 0
    world.base.rename(world.folder / "lost")
    with tarfile.open(target) as old, tarfile.open(rotten, "w:gz") as new:
        for member in old:
            data = old.extractfile(member).read() if member.isfile() else b""  # type: ignore[union-attr]  # a file has one
            changed = data[:-1] + b"?" if member.name.endswith(sha256[9:]) else data
            new.addfile(member, io.BytesIO(changed))
    refused = world.ml("restore", str(rotten), "--yes")
    assert refused.returncode == 3, refused.stderr
    assert sha256 in refused.stderr
    assert not world.base.exists()
    assert not list(world.repo.glob("*.restoring"))


def test_bit_rot_is_named_by_a_backup_which_has_all_else(world: World) -> None:
    with_snapshot(world)
    rotten = objects_of(world).put(b"will rot")
    path = objects_of(world)._path(rotten[7:])
    path.chmod(0o644)
    path.write_bytes(b"has rotted")
    target = world.folder / "backup.tar.gz"
    done = world.ml("backup", str(target))
    assert done.returncode == 1
    assert rotten in done.stderr
    world.base.rename(world.folder / "lost")
    assert world.ml("restore", str(target), "--yes").returncode == 0
    assert not objects_of(world).has(rotten)
    assert len(list(objects_of(world).list())) == 2


def test_a_prune_of_objects(world: World) -> None:
    sha256 = with_snapshot(world)
    objects = objects_of(world)
    unnamed, fresh = objects.put(b"nobody names this"), b"put a moment ago"
    age(world)
    kept = objects.put(fresh)
    arguments = ("prune", "--objects", "--older-than", "0s")
    assert "1 of 4 objects" in world.ml(*arguments).stdout
    assert objects.has(unnamed), "a dry run"
    assert world.ml(*arguments, "--max-size", "1Gi", "--yes").stdout.endswith("removed 0 of 4 objects, 0.0 MiB\n")
    done = world.ml(*arguments, "--yes")
    assert done.stdout.endswith("removed 1 of 4 objects, 0.0 MiB\n"), done.stderr
    assert objects.missing([sha256, unnamed, kept]) == {unnamed}
    (world.repo / "specs" / "frozen.yaml").unlink()
    age(world)
    assert world.ml(*arguments, "--yes").stdout.endswith("removed 3 of 3 objects, 0.0 MiB\n")


def test_a_prune_that_cannot_know_takes_nothing(world: World) -> None:
    sha256 = with_snapshot(world)
    path = objects_of(world)._path(sha256[7:])
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    objects_of(world).put(b"nobody names this")
    age(world)
    refused = world.ml("prune", "--objects", "--yes")
    assert refused.returncode == 1
    assert sha256 in refused.stderr
    assert len(list(objects_of(world).list())) == 3
