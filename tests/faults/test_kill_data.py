"""SIGKILL at every durable step of `ml sync` and `ml dataset`: nothing lost, nothing under a wrong digest, and the same
command again ends as if nothing had happened."""

import hashlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.inputs.catalogue import entries
from controller.inputs.snapshots import snapshot_facts
from controller.stores.objects import FileObjects

ROOT = Path(__file__).parents[2]
KILLED = -signal.SIGKILL
BOTH = ("before", "after")


@dataclass(frozen=True)
class Data:
    """A repository with code and data."""

    folder: Path
    environment: dict[str, str]

    def ml(self, *words: str, point: str = "none") -> "subprocess.CompletedProcess[str]":
        """Run `ml` under the fault driver."""
        command = [sys.executable, "-m", "tests.faults.driver", point, "--", *words]
        env = {**os.environ, **self.environment, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
        return subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=120, check=False
        )

    @property
    def objects(self) -> FileObjects:
        """The objects of the repository."""
        return FileObjects(self.folder / ".fetchml" / "objects")

    def killed_and_done(self, point: str, *words: str) -> str:
        """Kill the command at a point, run it again; what it then says."""
        killed = self.ml(*words, point=point)
        assert killed.returncode == KILLED, f"{point} was not reached: {killed.stdout}{killed.stderr}"
        sound(self.objects)
        again = self.ml(*words)
        assert again.returncode == 0, again.stderr
        sound(self.objects)
        return again.stdout


def sound(objects: FileObjects) -> int:
    """Every object has its digest."""
    found = list(objects.list())
    for item in found:
        with objects.open(item.sha256) as file:
            assert hashlib.sha256(file.read()).hexdigest() == item.sha256[7:]
    return len(found)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    repo = tmp_path / "repo"
    for name in ("code/a", "code/b", "data/x/1", "data/x/2"):
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(name)
    (repo / ".git").mkdir()
    return Data(repo, {})


def points(step: str, times: int) -> list[str]:
    return [f"{phase}:{step}:{count}" for count in range(1, times + 1) for phase in BOTH]


@pytest.mark.parametrize("point", points("objects.put", 3))
def test_a_sync_of_few_files(data: Data, point: str) -> None:
    """Two files, and the manifest last."""
    said = data.killed_and_done(point, "sync", "code")
    assert snapshot_facts(data.objects, said.strip()).verified
    assert sound(data.objects) == 3


@pytest.mark.parametrize("point", [*points("objects.put_many", 1), *points("objects.put", 1)])
def test_a_sync_of_many_files(data: Data, point: str) -> None:
    for number in range(50):
        (data.folder / "code" / str(number)).write_text(f"many {number}")
    said = data.killed_and_done(point, "sync", "code")
    assert snapshot_facts(data.objects, said.strip()).verified
    assert sound(data.objects) == 53


@pytest.mark.parametrize("point", [*points("objects.put", 1), *points("catalogue.write", 1)])
def test_adding_a_dataset(data: Data, point: str) -> None:
    data.killed_and_done(point, "dataset", "add", "data/x/1", "--name", "one")
    (entry,) = entries(data.folder / "specs")
    assert (entry.name, entry.dataset.spec.version, entry.dataset.spec.previous) == ("one", "1", ())
    assert [place.name for place in (data.folder / "specs").iterdir()] == ["one.dataset.yaml"]
    assert data.ml("dataset", "verify", "one").returncode == 0


@pytest.mark.parametrize("point", points("catalogue.write", 1))
def test_adding_a_version(data: Data, point: str) -> None:
    assert data.ml("dataset", "add", "data/x/1", "--name", "one").returncode == 0
    (data.folder / "data/x/1").write_text("new")
    data.killed_and_done(point, "dataset", "add", "data/x/1", "--name", "one")
    (entry,) = entries(data.folder / "specs")
    assert [each.version for each in entry.dataset.spec.versions] == ["2", "1"]
    for version in ("1", "2"):
        assert data.ml("dataset", "verify", f"one@{version}").returncode == 0


@pytest.mark.parametrize(
    ("source", "point"),
    [("data/x/1", f"{phase}:inputs.prefetch") for phase in BOTH] + [("data/x", f"{p}:inputs.export") for p in BOTH],
)
def test_prefetching(data: Data, source: str, point: str) -> None:
    assert data.ml("dataset", "add", source, "--name", "some").returncode == 0
    place = Path(data.killed_and_done(point, "dataset", "prefetch", "some").split()[-1])
    files = [place] if place.is_file() else sorted(place.iterdir())
    assert [file.read_text() for file in files] == (["data/x/1"] if place.is_file() else ["data/x/1", "data/x/2"])


@pytest.mark.needs("sshd")
@pytest.mark.parametrize("phase", BOTH)
def test_a_sync_to_another_host(data: Data, tmp_path: Path, phase: str) -> None:
    from tests.testbed.sshd import server

    there = Data(data.folder, {"FETCHML_SSH_CONFIG": str(server().config)})
    said = there.killed_and_done(f"{phase}:ssh.put:2", "sync", "code", "--to", server().address(tmp_path / "there"))
    objects = FileObjects(tmp_path / "there")
    assert snapshot_facts(objects, said.strip()).verified
    assert sound(objects) == 3


DELETE = """
import os, signal, sys
from controller.ports import durable
from controller.stores.objects_ssh import SshObjects

store = SshObjects(sys.argv[1], sys.argv[2])
durable.install_hook(lambda *now: os.kill(os.getpid(), signal.SIGKILL) if now == (sys.argv[4], "ssh.delete") else None)
store.delete(sys.argv[3])
"""


@pytest.mark.needs("sshd")
@pytest.mark.parametrize("phase", BOTH)
def test_deleting_on_another_host(tmp_path: Path, phase: str) -> None:
    from controller.stores.objects_ssh import SshObjects
    from tests.testbed.sshd import server

    address, config = server().address(tmp_path / "there"), str(server().config)
    store = SshObjects(address, config)
    sha256 = store.put(b"data")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", DELETE, address, config, sha256, phase], env=env, check=False)
    assert killed.returncode == KILLED
    assert store.has(sha256) is (phase == "before")
    assert store.delete(sha256) is (phase == "before")
