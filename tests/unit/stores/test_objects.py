"""Objects on a file system: full disks, kills, locks, changing files."""

import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from controller.ports.objectstore import ChangedError
from controller.stores import objects_copy
from controller.stores.objects import FileObjects

LARGE = os.urandom(3 << 20)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond `limit` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [1000, 3 << 20], ids=["small", "large"])
@pytest.mark.parametrize("batched", [False, True])
def test_a_full_disk_leaves_nothing(tmp_path: Path, size: int, batched: bool) -> None:
    store = FileObjects(tmp_path / "objects")
    source = tmp_path / "source"
    source.write_bytes(b"x" * size)
    with (
        full_disk(100),
        pytest.raises(OSError, match="File too large"),
        store.batch() if batched else nullcontext(),
    ):
        store.put_file(source)
    assert files_in(tmp_path / "objects") == []


KILLED = """
import os, signal, sys
from pathlib import Path
from controller.ports import durable
from controller.stores.objects import FileObjects

def die(when, name):
    if (when, name) == (sys.argv[2], sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

durable.install_hook(die)
store = FileObjects(Path(sys.argv[1]))
if sys.argv[3] == "objects.put":
    store.put(b"data")
elif sys.argv[3] == "objects.put_many":
    with store.batch():
        for i in range(300):
            store.put(b"%d" % i)
        store.put(b"data")
else:
    store.put(b"data")
    store.delete("sha256:3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7")
"""

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("step", ["objects.put", "objects.put_many", "objects.delete"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_leaves_the_object_whole_or_absent(tmp_path: Path, when: str, step: str) -> None:
    words = [sys.executable, "-c", KILLED, str(tmp_path / "objects"), when, step]
    killed = subprocess.run(words, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert killed.returncode == -signal.SIGKILL
    store = FileObjects(tmp_path / "objects")
    digest = "sha256:" + hashlib.sha256(b"data").hexdigest()
    assert store.has(digest) is ((when == "after") != (step == "objects.delete"))
    for item in store.list():
        store.open(item.sha256).close()
    assert store.put(b"data") == digest
    with store.open(digest) as file:
        assert file.read() == b"data"
    store.sweep(time.time() + 10)
    assert files_in(tmp_path / "objects" / "tmp") == []


def test_a_sweep_leaves_what_is_being_written(tmp_path: Path) -> None:
    store = FileObjects(tmp_path / "objects")
    with store.batch():
        store.put(b"data")
        assert store.sweep(time.time() - 60) == 0
    assert store.has("sha256:" + hashlib.sha256(b"data").hexdigest())


@pytest.mark.parametrize("size", [100, 3 << 20], ids=["small", "large"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    store = FileObjects(tmp_path / "objects")
    source = tmp_path / "source"
    source.write_bytes(b"x" * size)
    os.utime(source, ns=(1, 1))
    for name in ("read_all", "copy"):
        real = getattr(objects_copy, name)

        def meddling(*arguments: object, real: object = real) -> object:
            result = real(*arguments)  # type: ignore[operator]  # either function
            with source.open("r+b") as file:
                file.write(b"y")
            return result

        monkeypatch.setattr(objects_copy, name, meddling)
    with pytest.raises(ChangedError, match=r"source.*changed while it was read"):
        store.put_file(source)
    assert files_in(tmp_path / "objects") == []


def test_a_sparse_file_stays_sparse(tmp_path: Path) -> None:
    store = FileObjects(tmp_path / "objects")
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"island")
    sha256 = store.put_file(source)
    assert sha256 == "sha256:" + hashlib.sha256(source.read_bytes()).hexdigest()
    target = tmp_path / "target"
    store.checkout(sha256, target)
    for path in (store._path(sha256[7:]), target):
        assert path.stat().st_size == 64 << 20
        assert path.stat().st_blocks * 512 <= 4 << 20


def test_objects_may_not_be_written(tmp_path: Path) -> None:
    store = FileObjects(tmp_path / "objects")
    assert store._path(store.put(b"data")[7:]).stat().st_mode & 0o222 == 0


def test_a_large_batch_is_made_durable_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.stores.objects.BATCH_FILES", 10)
    store = FileObjects(tmp_path / "objects")
    with store.batch():
        digests = [store.put(b"%d" % i) for i in range(25)]
        assert sum(map(store.has, digests)) == 20
    assert all(map(store.has, digests))


@pytest.mark.parametrize("use", ["open", "missing", "put"])
def test_what_is_used_again_counts_as_new(tmp_path: Path, use: str) -> None:
    store = FileObjects(tmp_path / "objects")
    sha256 = store.put(b"data")
    os.utime(store._path(sha256[7:]), (1000, 1000))
    {"open": lambda: store.open(sha256), "missing": lambda: store.missing([sha256]), "put": lambda: store.put(b"data")}[
        use
    ]()
    assert not store.delete(sha256, unless_used_since=2000)
    assert store.has(sha256)


def waits_for_a_lock(pid: int) -> bool:
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and str(pid) in line.split() for line in lines)


@pytest.mark.parametrize("use", ["open", "missing", "put"])
def test_whoever_begins_to_use_waits_for_a_deleter(tmp_path: Path, use: str) -> None:
    store = FileObjects(tmp_path / "objects")
    sha256 = store.put(b"data")
    uses = {
        "open": lambda: store.open(sha256),
        "missing": lambda: store.missing([sha256]),
        "put": lambda: store.put(b"data"),
    }
    thread = threading.Thread(target=uses[use])
    with store._lock.exclusive():
        thread.start()
        while thread.is_alive() and not waits_for_a_lock(os.getpid()):
            time.sleep(0.01)
        assert thread.is_alive(), "it did not ask for the lock"
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_a_deleter_waits_for_whoever_is_looking(tmp_path: Path) -> None:
    """Between the look at an object's time and its deletion nobody may begin to use it."""
    store = FileObjects(tmp_path / "objects")
    sha256 = store.put(b"data")
    os.utime(store._path(sha256[7:]), (1000, 1000))
    program = (
        "import sys; from pathlib import Path; from controller.stores.objects import FileObjects\n"
        "print(FileObjects(Path(sys.argv[1])).delete(sys.argv[2], unless_used_since=2000))"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "objects"), sha256]
    with store._lock.shared():
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        deleter = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
        while deleter.poll() is None and not waits_for_a_lock(deleter.pid):
            time.sleep(0.01)
        os.utime(store._path(sha256[7:]))  # now it is used
    assert deleter.communicate(timeout=60)[0] == "False\n"
    assert store.has(sha256)
