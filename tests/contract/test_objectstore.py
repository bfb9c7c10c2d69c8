"""What every object store promises."""

import hashlib
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.ports.objectstore import AbsentError, ChangedError, DamagedError, ObjectStore
from controller.stores.objects import FileObjects
from controller.stores.objects_s3 import S3Objects
from controller.stores.objects_ssh import SshObjects
from tests.fakes.objectstore import MemoryObjects
from tests.testbed.s3 import fresh_place
from tests.testbed.sshd import server


def _rot_of_files(store: ObjectStore, sha256: str) -> None:
    assert isinstance(store, FileObjects)
    path = store._path(sha256[7:])
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def _rot_of_memory(store: ObjectStore, sha256: str) -> None:
    assert isinstance(store, MemoryObjects)
    store.damage(sha256)


def _rot_of_s3(store: ObjectStore, sha256: str) -> None:
    import obstore

    assert isinstance(store, S3Objects)
    key = f"{sha256[7:9]}/{sha256[9:]}"
    data = bytes(obstore.get(store._store, key).bytes())
    obstore.put(store._store, key, bytes([data[0] ^ 1]) + data[1:])


def _rot_of_ssh(store: ObjectStore, sha256: str) -> None:
    assert isinstance(store, SshObjects)
    _rot_of_files(FileObjects(Path(store._folder)), sha256)


STORES: dict[str, tuple[Callable[[Path], ObjectStore], Callable[[ObjectStore, str], None]]] = {
    "memory": (lambda folder: MemoryObjects(), _rot_of_memory),
    "files": (lambda folder: FileObjects(folder / "objects"), _rot_of_files),
    "s3": (lambda folder: S3Objects(fresh_place()), _rot_of_s3),
    "ssh": (lambda folder: SshObjects(server().address(folder / "there"), str(server().config)), _rot_of_ssh),
}
"""Each adapter, and how to damage one of its objects behind its back."""

LARGE = bytes(range(256)) * 4096 * 9 + b"tail"
"""More than a store holds in memory or sends in one piece, and no multiple of a piece."""


@pytest.fixture(
    params=[
        "memory",
        "files",
        pytest.param("s3", marks=pytest.mark.needs("minio")),
        pytest.param("ssh", marks=pytest.mark.needs("sshd")),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    """Each adapter in turn."""
    return str(request.param)


@pytest.fixture
def store(kind: str, tmp_path: Path) -> ObjectStore:
    return STORES[kind][0](tmp_path)


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("data", [b"", b"x", b"\0\xff" * 1000, LARGE], ids=["empty", "x", "small", "large"])
def test_what_was_put_is_read_back_by_its_digest(store: ObjectStore, data: bytes) -> None:
    assert not store.has(digest(data))
    assert store.put(data) == digest(data) == store.put(data)
    assert store.has(digest(data))
    with store.open(digest(data)) as file:
        assert file.read() == data


@pytest.mark.parametrize("wanted", ["sha256:" + "a" * 64, "sha256:short", "md5:x", "", "sha256:../../../../etc/passwd"])
def test_what_is_not_there(store: ObjectStore, tmp_path: Path, wanted: str) -> None:
    assert not store.has(wanted)
    assert store.missing([wanted]) == {wanted}
    with pytest.raises(AbsentError):
        store.open(wanted)
    with pytest.raises(AbsentError):
        store.checkout(wanted, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_what_is_missing(store: ObjectStore) -> None:
    there = {store.put(bytes([i])) for i in range(5)}
    gone = {digest(bytes([i, i])) for i in range(20)}
    assert store.missing([*there, *gone]) == gone
    assert store.missing([]) == set()


@pytest.mark.parametrize("data", [b"", b"small", LARGE, bytes(5 << 20)], ids=["empty", "small", "large", "zeros"])
@pytest.mark.parametrize("by", ["path", "descriptor"])
def test_a_file_is_put(store: ObjectStore, tmp_path: Path, data: bytes, by: str) -> None:
    file = tmp_path / os.fsdecode(b"odd\n\\name\xff")
    file.write_bytes(data)
    with file.open("rb") as stream:
        stream.seek(1)
        source = file if by == "path" else stream.fileno()
        assert store.put_file(source) == store.put_file(source, digest(data)) == digest(data)
    assert file.read_bytes() == data
    with store.open(digest(data)) as kept:
        assert kept.read() == data


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
def test_a_file_with_another_digest_is_refused(store: ObjectStore, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    with pytest.raises(ChangedError):
        store.put_file(file, digest(b"other"))
    assert list(store.list()) == []


def test_only_regular_files_are_put(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "target").write_text("x")
    (tmp_path / "link").symlink_to("target")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo", "."):
        with pytest.raises(ChangedError):
            store.put_file(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        store.put_file(tmp_path / "absent")


@pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=["empty", "small", "large"])
@pytest.mark.parametrize("executable", [False, True])
def test_a_checkout_shares_nothing_with_the_store(
    store: ObjectStore, tmp_path: Path, data: bytes, executable: bool
) -> None:
    sha256 = store.put(data)
    target = tmp_path / "target"
    store.checkout(sha256, target, executable=executable)
    assert target.read_bytes() == data
    status = target.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_nlink) == (0o755 if executable else 0o644, 1)
    target.write_bytes(b"a run may write here")
    with target.open("r+b") as file:
        file.write(b"in place too")
    with store.open(sha256) as kept:
        assert kept.read() == data


def test_a_checkout_into_an_open_file(store: ObjectStore, tmp_path: Path) -> None:
    sha256 = store.put(LARGE)
    with (tmp_path / "target").open("xb") as file:
        store.checkout(sha256, file.fileno())
    assert (tmp_path / "target").read_bytes() == LARGE


def test_a_checkout_overwrites_nothing(store: ObjectStore, tmp_path: Path) -> None:
    sha256 = store.put(b"data")
    (tmp_path / "target").write_text("mine")
    with pytest.raises(FileExistsError):
        store.checkout(sha256, tmp_path / "target")
    assert (tmp_path / "target").read_text() == "mine"


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
def test_bit_rot_is_found_on_read_named_and_healed(kind: str, store: ObjectStore, tmp_path: Path, data: bytes) -> None:
    sha256 = store.put(data)
    STORES[kind][1](store, sha256)
    with pytest.raises(DamagedError, match=sha256):
        store.open(sha256)
    with pytest.raises(DamagedError, match=sha256):
        store.checkout(sha256, tmp_path / "target")
    assert not (tmp_path / "target").exists(), "wrong bytes must not be left"
    file = tmp_path / "file"
    file.write_bytes(data)
    assert store.put_file(file) == sha256
    with store.open(sha256) as kept:
        assert kept.read() == data


def test_a_list_names_each_object_once(store: ObjectStore) -> None:
    sizes = {store.put(b"x" * size): size for size in (0, 1, 5000)}
    listed = list(store.list())
    assert {item.sha256: item.size for item in listed} == sizes
    assert len(listed) == 3
    assert all(item.used > 1e9 for item in listed)


def test_what_was_deleted_is_gone(store: ObjectStore) -> None:
    assert not store.delete(digest(b"data")), "nothing was ever put"
    sha256 = store.put(b"data")
    assert store.delete(sha256)
    assert not store.delete(sha256)
    assert not store.has(sha256)
    assert store.missing([sha256]) == {sha256}
    assert list(store.list()) == []
    assert store.put(b"data") == sha256
    assert store.has(sha256)


def test_what_was_used_since_is_not_deleted(store: ObjectStore) -> None:
    sha256 = store.put(b"data")
    (used,) = (item.used for item in store.list())
    assert not store.delete(sha256, unless_used_since=used - 10)
    assert store.has(sha256)
    assert store.delete(sha256, unless_used_since=used + 10)
    assert not store.has(sha256)


def test_a_batch_keeps_everything_even_when_it_ends_early(store: ObjectStore, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(LARGE)
    with store.batch():
        kept = {store.put(bytes([i])) for i in range(50)} | {store.put(b"\1"), store.put_file(file)}
        with store.batch():
            kept.add(store.put(b"inner"))
    assert store.missing(kept) == set()
    with pytest.raises(KeyboardInterrupt), store.batch():
        _put_and_stop(store)
    early = digest(b"early")
    assert store.has(early)
    assert {item.sha256 for item in store.list()} == kept | {early}


def _put_and_stop(store: ObjectStore) -> None:
    store.put(b"early")
    raise KeyboardInterrupt


@pytest.mark.parametrize("batched", [False, True])
def test_writers_of_the_same_objects_do_not_disturb_each_other(store: ObjectStore, batched: bool) -> None:
    pieces = [bytes([i]) * 3000 for i in range(6)]
    errors: list[BaseException] = []

    def write() -> None:
        try:
            for piece in pieces:
                store.put(piece)
        except BaseException as error:  # noqa: BLE001  # shown by the assertion
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    if batched:
        with store.batch():
            _run(threads)
    else:
        _run(threads)
    assert errors == []
    for piece in pieces:
        with store.open(digest(piece)) as file:
            assert file.read() == piece


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
