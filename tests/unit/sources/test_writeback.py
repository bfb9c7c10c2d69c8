"""Where a status goes, and what may not happen on the way."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.api.documents import Document, load
from controller.ports.source import Key, StatusWriteError
from controller.sources.folder import FolderSource
from tests.fakes.clock import FakeClock
from tests.fakes.source import spec
from tests.unit.sources.test_bad_input import as_nobody

LATER = datetime(2100, 1, 1, tzinfo=UTC)
A = Key("Experiment", "default", "a")
STATUS = {"phase": "Running", "observedGeneration": 3}

ODD = b"""# yaml-language-server: $schema=../schemas/experiment.schema.json

apiVersion:   fetchml.dev/v1alpha1   # odd   spacing
kind: "Experiment"
metadata: {name: a,   labels: {x: 'y'}}

# a comment of its own
spec:
    command: [ python ,  -c, "print(1)" ]
    parameters:   {lr: 1e-3}     # keep me
# the last word"""


class World:
    """One folder with one source."""

    def __init__(self, root: Path, data: bytes | None = None, **options: bool) -> None:
        self.root = root
        self.source = FolderSource(root, FakeClock(LATER), **options)
        if data is not None:
            (root / "a.yaml").write_bytes(data)
        self.source.poll()

    def document(self, key: Key = A) -> Document:
        (document, *_) = self.source.get(key)
        return document

    def write(self, status: dict[str, object] = STATUS, key: Key = A) -> bool:
        return self.source.write_status(self.document(key), status)

    def sidecar(self) -> str:
        return (self.root / "a.status.yaml").read_text()

    def names(self) -> set[str]:
        return {item.name for item in self.root.iterdir()}


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n", b"\n...\n"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_hundred_status_updates_change_no_byte_of_the_user(tmp_path: Path, newline: bytes, end: bytes) -> None:
    original = (ODD + end).replace(b"\n", newline)
    world = World(tmp_path, original)
    for number in range(100):
        assert world.write({"phase": "Running", "observedGeneration": number})
        assert world.document().user_part == original
        assert world.document().model.status == {"phase": "Running", "observedGeneration": number}
    assert world.names() == {"a.yaml"}
    assert world.source.poll().keys == frozenset()


def test_an_identical_status_is_not_written(tmp_path: Path) -> None:
    world = World(tmp_path, ODD)
    assert world.write()
    before = (tmp_path / "a.yaml").stat()
    assert world.write()
    after = (tmp_path / "a.yaml").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


def test_several_documents_have_one_sidecar(tmp_path: Path) -> None:
    data = (spec("a") + "---\n" + spec("b")).encode()
    world = World(tmp_path, data)
    assert world.write({"phase": "Running"})
    assert world.write({"phase": "Queued"}, A._replace(name="b"))
    assert world.write({"phase": "Failed"})
    assert (tmp_path / "a.yaml").read_bytes() == data
    first, second = world.sidecar().split("---\n")
    assert 'name: "a"' in first
    assert "phase: Failed" in first
    assert 'name: "b"' in second
    assert "phase: Queued" in second
    assert world.source.poll().keys == frozenset()


def test_the_status_of_a_document_that_is_gone_leaves_the_sidecar(tmp_path: Path) -> None:
    world = World(tmp_path, (spec("a") + "---\n" + spec("b") + "---\n" + spec("c")).encode())
    for name in "abc":
        world.write({"phase": "Running"}, A._replace(name=name))
    (tmp_path / "a.yaml").write_text(spec("a") + "---\n" + spec("c"))
    world.source.poll()
    world.write({"phase": "Failed"})
    assert '"b"' not in world.sidecar()
    assert '"c"' in world.sidecar()


def test_flow_style_goes_beside(tmp_path: Path) -> None:
    data = b"{apiVersion: fetchml.dev/v1alpha1, kind: Experiment, metadata: {name: a}, spec: {command: [x]}}\n"
    world = World(tmp_path, data)
    assert world.write()
    assert (tmp_path / "a.yaml").read_bytes() == data
    assert "phase: Running" in world.sidecar()


def test_a_symlink_stays_one(tmp_path: Path) -> None:
    (tmp_path / ".data").mkdir()
    (tmp_path / ".data" / "v1").write_bytes(ODD)
    (tmp_path / "a.yaml").symlink_to(".data/v1")
    world = World(tmp_path)
    assert world.write()
    assert (tmp_path / "a.yaml").is_symlink()
    assert (tmp_path / ".data" / "v1").read_bytes() == ODD
    assert "phase: Running" in world.sidecar()


def test_hard_links_stay_together(tmp_path: Path) -> None:
    world = World(tmp_path, ODD)
    os.link(tmp_path / "a.yaml", tmp_path / "other")
    assert world.write()
    assert (tmp_path / "other").samefile(tmp_path / "a.yaml")
    assert (tmp_path / "other").read_bytes() == ODD
    assert "phase: Running" in world.sidecar()


def test_a_file_that_became_invalid_is_left_alone(tmp_path: Path) -> None:
    world = World(tmp_path, ODD)
    document = world.document()
    (tmp_path / "a.yaml").write_bytes(b"now: [broken\n")
    assert world.source.write_status(document, {"phase": "Succeeded"})
    assert (tmp_path / "a.yaml").read_bytes() == b"now: [broken\n"
    assert "phase: Succeeded" in world.sidecar()


def test_a_file_that_a_program_keeps_open_for_writing_is_left_alone(tmp_path: Path) -> None:
    world = World(tmp_path, ODD)
    with (tmp_path / "a.yaml").open("r+b"):
        assert world.write()
        assert (tmp_path / "a.yaml").read_bytes() == ODD
    assert "phase: Running" in world.sidecar()


@pytest.mark.needs("root")
def test_a_file_of_another_owner_keeps_him(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o777)
    world = World(tmp_path, ODD)
    (tmp_path / "a.yaml").chmod(0o666)
    with as_nobody():
        assert world.write()
    assert (tmp_path / "a.yaml").stat().st_uid == 0
    assert (tmp_path / "a.yaml").read_bytes() == ODD
    assert "phase: Running" in world.sidecar()


def test_always_sidecar(tmp_path: Path) -> None:
    world = World(tmp_path, ODD, always_sidecar=True)
    assert world.write()
    assert (tmp_path / "a.yaml").read_bytes() == ODD
    assert "phase: Running" in world.sidecar()


def test_an_old_sidecar_goes_when_the_status_is_inline_again(tmp_path: Path) -> None:
    World(tmp_path, ODD, always_sidecar=True).write()
    World(tmp_path).write()
    assert world_names(tmp_path) == {"a.yaml"}


def world_names(root: Path) -> set[str]:
    return {item.name for item in root.iterdir()}


def test_a_users_file_with_the_sidecars_name_is_not_touched(tmp_path: Path) -> None:
    world = World(tmp_path, ODD, always_sidecar=True)
    (tmp_path / "a.status.yaml").write_text("mine\n")
    with pytest.raises(StatusWriteError, match="in the way"):
        world.write()
    assert world.sidecar() == "mine\n"
    World(tmp_path).write()
    assert world.sidecar() == "mine\n"


def test_a_sidecar_reads_as_yaml_of_that_kind(tmp_path: Path) -> None:
    world = World(tmp_path, (spec("a") + "---\n" + spec("b")).encode())
    world.write()
    problems = load(world.sidecar().encode(), "a.status.yaml").problems
    assert {(problem.field, problem.reason) for problem in problems} == {("spec", "MissingField")}


@pytest.mark.needs("root")
@pytest.mark.parametrize("always_sidecar", [False, True])
def test_a_folder_that_may_not_be_written(tmp_path: Path, always_sidecar: bool) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    world = World(tmp_path, ODD, always_sidecar=always_sidecar)
    os.chown(tmp_path / "a.yaml", 65534, 65534)
    with as_nobody(), pytest.raises(StatusWriteError, match=r"status of a\.yaml cannot be written: Permission denied"):
        world.write()
    assert (tmp_path / "a.yaml").read_bytes() == ODD
    assert world.names() == {"a.yaml"}


def test_a_second_reconciler_writes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, ODD, read_only=True)
    with pytest.raises(StatusWriteError, match="another reconciler holds this folder"):
        world.write()
    assert (tmp_path / "a.yaml").read_bytes() == ODD


FULL_DISK = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from controller.ports.source import Key, StatusWriteError
from controller.sources.folder import FolderSource
from tests.fakes.clock import FakeClock
from tests.fakes.source import spec

root = Path(sys.argv[1])
(root / "a.yaml").write_text(spec("a"))
source = FolderSource(root, FakeClock(datetime(2100, 1, 1, tzinfo=timezone.utc)), always_sidecar=sys.argv[2] == "True")
source.poll()
(document,) = source.get(Key("Experiment", "default", "a"))
filler = root / "filler"
with filler.open("wb", buffering=0) as file:
    try:
        while True:
            file.write(b"x" * 1024)
    except OSError:
        pass
try:
    source.write_status(document, {"phase": "x" * 10000})
except StatusWriteError as error:
    print(error)
print(sorted(item.name for item in root.iterdir()), (root / "a.yaml").read_text() == spec("a"))
filler.unlink()
print(source.write_status(document, {"phase": "Running"}))
"""


@pytest.mark.needs("tmpfs")
@pytest.mark.parametrize("always_sidecar", [False, True])
def test_a_full_disk(tmp_path: Path, always_sidecar: bool) -> None:
    mounted = 'mount -t tmpfs -o size=64k tmpfs "$1" && exec "$2" -c "$3" "$1" "$4"'
    command = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        mounted,
        "sh",
        tmp_path,
        sys.executable,
        FULL_DISK,
        str(always_sidecar),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    refused, left, again = result.stdout.splitlines()
    assert "No space left on device" in refused
    assert "the file is as it was" in refused
    assert (left, again) == ("['a.yaml', 'filler'] True", "True")


def test_a_status_that_somebody_replaces_is_reported(tmp_path: Path) -> None:
    """An editor that had the file open from before saves it without our status: it has to come back."""
    world = World(tmp_path, ODD)
    world.write()
    (tmp_path / "a.yaml").write_bytes(ODD)
    assert world.source.poll().keys == {A}
    assert world.source.poll().keys == frozenset()


def test_a_status_written_by_others_is_no_news(tmp_path: Path) -> None:
    world = World(tmp_path, ODD)
    World(tmp_path).write()
    change = world.source.poll()
    assert (change.keys, change.parsed) == (frozenset(), 1)


def test_a_leftover_of_a_crash_goes_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / ".a.yaml.fetchml-0000000000000000-0000000000000000").write_bytes(ODD)
    (tmp_path / "team" / "a.yaml").write_bytes(ODD)
    (tmp_path / "team" / ".a.status.yaml.fetchml-sidecar").write_bytes(b"# half a sta")
    World(tmp_path, read_only=True)
    assert len(world_names(tmp_path / "team")) == 3
    World(tmp_path)
    assert world_names(tmp_path / "team") == {"a.yaml"}
