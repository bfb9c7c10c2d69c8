"""What every object store promises."""

import hashlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.ports.objectstore import ObjectStore
from controller.stores.objects import FileObjects

STORES: dict[str, Callable[[Path], ObjectStore]] = {"files": lambda folder: FileObjects(folder / "objects")}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """Each adapter in turn."""
    return STORES[request.param](tmp_path)


@pytest.mark.parametrize("data", [b"", b"x", b"\0\xff" * 1000])
def test_what_was_put_is_read_back_by_its_digest(store: ObjectStore, data: bytes) -> None:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    assert not store.has(digest)
    assert store.put(data) == digest == store.put(data)
    assert store.has(digest)
    with store.open(digest) as file:
        assert file.read() == data


@pytest.mark.parametrize("digest", ["sha256:" + "a" * 64, "sha256:short", "md5:x", "", "sha256:../../../../etc/passwd"])
def test_what_is_not_there(store: ObjectStore, digest: str) -> None:
    assert not store.has(digest)
    with pytest.raises(LookupError):
        store.open(digest)


def _place(folder: Path, digest: str) -> Path:
    return folder / "objects" / digest[7:9] / digest[9:]


def test_bit_rot_is_noticed_and_a_put_heals_it(tmp_path: Path) -> None:
    store = FileObjects(tmp_path / "objects")
    digest = store.put(b"data")
    place = _place(tmp_path, digest)
    place.chmod(0o644)
    place.write_bytes(b"dat4")
    with pytest.raises(ValueError, match="damaged"):
        store.open(digest)
    store.put(b"data")
    with store.open(digest) as file:
        assert file.read() == b"data"


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    store = FileObjects(tmp_path / "objects")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        with pytest.raises(OSError, match="File too large"):
            store.put(b"x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [place for place in (tmp_path / "objects").rglob("*") if place.is_file()] == []


KILLED = """
import os, signal, sys
from pathlib import Path
from controller.ports import durable
from controller.stores.objects import FileObjects

def die(when, name):
    if (when, name) == (sys.argv[2], "objects.put"):
        os.kill(os.getpid(), signal.SIGKILL)

durable.install_hook(die)
FileObjects(Path(sys.argv[1])).put(b"data")
"""


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
def test_a_kill_leaves_the_object_whole_or_absent(tmp_path: Path, when: str, there: bool) -> None:
    words = [sys.executable, "-c", KILLED, str(tmp_path / "objects"), when]
    root = Path(__file__).parents[2]
    killed = subprocess.run(words, check=False, env={**os.environ, "PYTHONPATH": str(root)})
    assert killed.returncode == -signal.SIGKILL
    store = FileObjects(tmp_path / "objects")
    digest = "sha256:" + hashlib.sha256(b"data").hexdigest()
    assert store.has(digest) is there
    assert store.put(b"data") == digest
    with store.open(digest) as file:
        assert file.read() == b"data"
