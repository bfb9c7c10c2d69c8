"""Objects in S3 when network and server misbehave: a fault-injecting proxy before a real server."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path

import obstore
import pytest

from controller.api.canonical import digest_bytes
from controller.ports.objectstore import AbsentError, ChangedError, DamagedError, UnreachableError
from controller.stores import objects_copy as copying
from controller.stores import objects_s3
from controller.stores.objects_s3 import S3Objects
from controller.stores.objects_s3_place import S3Place, place_at
from tests.testbed.s3 import fresh_place
from tests.testbed.s3_proxy import Proxy, proxy_before

needs_minio = pytest.mark.needs("minio")
DATA = b"some bytes " * 1000
LARGE = os.urandom(20 << 20)
ROOT = Path(__file__).parents[3]


@pytest.fixture
def place() -> S3Place:
    return replace(fresh_place(), retries=3)


@pytest.fixture
def proxy(place: S3Place) -> Iterator[Proxy]:
    with proxy_before(place.endpoint) as running:
        yield running


@pytest.fixture
def store(place: S3Place, proxy: Proxy) -> S3Objects:
    """Through the proxy."""
    return S3Objects(replace(place, endpoint=proxy.endpoint))


@needs_minio
def test_a_server_that_fails_twice_is_asked_again(store: S3Objects, proxy: Proxy) -> None:
    proxy.first(2, "500")
    sha256 = store.put(DATA)
    proxy.first(2, "500")
    with store.open(sha256) as file:
        assert file.read() == DATA
    assert len(proxy.seen) == 6


@needs_minio
@pytest.mark.parametrize("fault", ["500", "hang"])
def test_a_server_that_goes_on_failing_is_named(place: S3Place, proxy: Proxy, tmp_path: Path, fault: str) -> None:
    there = S3Objects(place).put(DATA)
    store = S3Objects(replace(place, endpoint=proxy.endpoint, retries=0, timeout=0.5))
    proxy.faults = lambda method, path: fault
    file = tmp_path / "large"
    file.write_bytes(LARGE)
    for act in (
        lambda: store.put(DATA),
        lambda: store.put_file(file),
        lambda: store.has(there),  # "it is not there" would be a lie
        lambda: store.missing([there]),
        lambda: store.open(there),
        lambda: store.checkout(there, tmp_path / "target"),
        lambda: list(store.list()),
        lambda: store.delete(there),
    ):
        with pytest.raises(UnreachableError, match=rf"{place.address} at {proxy.endpoint}.*try again"):
            act()
    assert not (tmp_path / "target").exists()
    assert S3Objects(place).has(there)
    assert [item.sha256 for item in S3Objects(place).list()] == [there]


@needs_minio
def test_a_failure_within_a_batch_ends_it(store: S3Objects, proxy: Proxy, place: S3Place) -> None:
    failing = S3Objects(replace(place, endpoint=proxy.endpoint, retries=0))
    proxy.faults = lambda method, path: "500"
    with pytest.raises(UnreachableError), failing.batch():
        failing.put(DATA)
    proxy.first(0, "")
    with failing.batch():
        sha256 = failing.put(DATA)
    assert failing.has(sha256)


@needs_minio
def test_a_batch_takes_more_than_it_has_room_for(place: S3Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects_s3, "_ROOM", 2)
    store = S3Objects(place)
    pieces = [bytes([i]) * (3 << 20) for i in range(4)]
    with store.batch():
        threads = [threading.Thread(target=store.put, args=(piece,)) for piece in pieces]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
            assert not thread.is_alive()
    assert store.missing(map(digest_bytes, pieces)) == set()


@needs_minio
@pytest.mark.parametrize("data", [DATA, LARGE], ids=["small", "large"])
def test_a_reply_that_is_cut_short(store: S3Objects, proxy: Proxy, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    sha256 = store.put_file(file)
    proxy.first(1, "truncate", "GET")
    with store.open(sha256) as stream:
        assert stream.read() == data, "once is made good"
    proxy.faults = lambda method, path: "truncate" if method == "GET" else None
    with pytest.raises(UnreachableError):
        store.checkout(sha256, tmp_path / "target")
    assert not (tmp_path / "target").exists()


@needs_minio
def test_a_bit_that_flips_on_the_way(store: S3Objects, proxy: Proxy, tmp_path: Path) -> None:
    proxy.faults = lambda method, path: "flip-request" if method == "PUT" else None
    with pytest.raises(UnreachableError):
        store.put(DATA)
    assert not store.has(digest_bytes(DATA)), "the server must not keep bytes under a wrong name"
    proxy.first(0, "")
    sha256 = store.put(DATA)
    proxy.faults = lambda method, path: "flip" if method == "GET" else None
    with pytest.raises(DamagedError, match=sha256):
        store.open(sha256)


@needs_minio
@pytest.mark.parametrize("data", [DATA, LARGE], ids=["small", "large"])
def test_a_reply_that_is_lost(store: S3Objects, proxy: Proxy, tmp_path: Path, data: bytes) -> None:
    """The object was kept, but nobody said so: putting again finds it."""
    file = tmp_path / "file"
    file.write_bytes(data)
    proxy.first(1, "lost", "PUT" if data is DATA else "POST")
    try:
        store.put_file(file)
    except UnreachableError:
        store.put_file(file)
    assert [item.sha256 for item in store.list()] == [digest_bytes(data)]
    with store.open(digest_bytes(data)) as stream:
        assert stream.read() == data


@needs_minio
def test_a_multipart_upload_that_is_lost_leaves_nothing_and_is_done_again(
    store: S3Objects, proxy: Proxy, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(LARGE)
    proxy.faults = lambda method, path: "500" if method == "POST" and "uploadId" in path else None
    with pytest.raises(UnreachableError):
        store.put_file(file)
    assert list(store.list()) == []
    proxy.first(0, "")
    store.put_file(file)
    assert len([path for method, path in proxy.seen if "partNumber=2" in path]) == 2
    with store.open(digest_bytes(LARGE)) as stream:
        assert stream.read() == LARGE


@needs_minio
def test_a_file_that_changes_after_it_was_hashed(
    store: S3Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(LARGE)
    real = copying.digest_of

    def change(fd: int) -> str:
        found = real(fd)
        file.write_bytes(LARGE[:-1] + bytes([LARGE[-1] ^ 1]))
        return found

    monkeypatch.setattr(copying, "digest_of", change)
    with pytest.raises(ChangedError, match="file"):
        store.put_file(file)
    assert list(store.list()) == [], "no name may be given to other bytes"


@needs_minio
def test_credentials_that_are_refused(place: S3Place) -> None:
    store = S3Objects(replace(place, secret_key="wrong"))
    with pytest.raises(UnreachableError, match=r"refuses these credentials.*access key") as caught:
        store.put(DATA)
    assert "wrong" not in str(caught.value) + repr(place)
    with pytest.raises(UnreachableError, match="refuses"):
        store.has(digest_bytes(DATA))


@needs_minio
def test_a_bucket_that_is_not_there(place: S3Place) -> None:
    store = S3Objects(replace(place, bucket="no-such-bucket"))
    with pytest.raises(UnreachableError, match="no such bucket"):
        store.put(DATA)


def test_a_server_that_is_not_there() -> None:
    store = S3Objects(S3Place("bucket", endpoint="http://127.0.0.1:9", access_key="a", secret_key="b", retries=0))
    with pytest.raises(UnreachableError, match=r"s3://bucket at http://127\.0\.0\.1:9"):
        store.has(digest_bytes(DATA))


@needs_minio
def test_the_second_of_two_writers_changes_nothing(store: S3Objects, place: S3Place) -> None:
    digits = digest_bytes(DATA)[7:]
    key = f"{digits[:2]}/{digits[2:]}"
    obstore.put(store._store, key, DATA, attributes={"Content-Type": "of/the-first"})
    threads = [threading.Thread(target=S3Objects(place).put, args=(DATA,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert obstore.get(store._store, key).attributes["Content-Type"] == "of/the-first"


@needs_minio
def test_many_are_asked_for_by_listing(store: S3Objects, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects_s3, "_FEW", 10)
    with store.batch():
        there = {store.put(b"%d" % i) for i in range(30)}
    gone = {digest_bytes(b"x%d" % i) for i in range(30)}
    proxy.seen.clear()
    assert store.missing(there | gone) == gone
    assert {method for method, _ in proxy.seen} == {"GET"}


@needs_minio
def test_what_else_lies_in_the_bucket_is_left_alone(store: S3Objects) -> None:
    obstore.put(store._store, "README", b"not ours")
    sha256 = store.put(DATA)
    assert [item.sha256 for item in store.list()] == [sha256]


KILLED = """
import os, signal, sys
from controller.ports import durable
from controller.stores.objects_s3 import S3Objects
from controller.stores.objects_s3_place import S3Place

def die(when, name):
    if (when, name) == (sys.argv[1], sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

durable.install_hook(die)
values = eval(sys.stdin.read())
store = S3Objects(S3Place(*values))
sha256 = store.put(b"data")
store.delete(sha256)
"""


@needs_minio
@pytest.mark.parametrize("step", ["objects.upload", "objects.remove"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_leaves_the_object_whole_or_absent(place: S3Place, when: str, step: str) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, when, step],
        input=repr(astuple(place)),
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert killed.returncode == -signal.SIGKILL
    store = S3Objects(place)
    assert store.has(digest_bytes(b"data")) is ((when == "after") != (step == "objects.remove"))
    sha256 = store.put(b"data")
    with store.open(sha256) as file:
        assert file.read() == b"data"
    assert store.delete(sha256)
    with pytest.raises(AbsentError):
        store.open(sha256)


@pytest.mark.parametrize(
    ("address", "bucket", "prefix"),
    [("s3://bucket", "bucket", ""), ("s3://bucket/", "bucket", ""), ("s3://my.bucket-1/a/b/", "my.bucket-1", "a/b")],
)
def test_an_address(address: str, bucket: str, prefix: str) -> None:
    place = place_at(address, environ={"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_REGION": "eu-west-1"})
    assert (place.bucket, place.prefix) == (bucket, prefix)
    assert (place.endpoint, place.region) == ("http://127.0.0.1:1", "eu-west-1")
    assert place_at(address, endpoint="http://127.0.0.1:2", environ={"AWS_ENDPOINT_URL": "x"}).endpoint[-1] == "2"


@pytest.mark.parametrize(
    "address", ["s3://", "s3://B", "s3://key:secret@bucket", "s3://bucket/../x", "s3://b/x\ny", "/x"]
)
def test_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="write s3://bucket"):
        place_at(address, environ={})


def test_credentials_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = key\naws_secret_access_key = %se=cret\n")
    file.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        place_at("s3://bucket", credentials=str(file), environ={})
    file.chmod(0o600)
    place = place_at("s3://bucket", credentials=str(file), environ={})
    assert (place.access_key, place.secret_key) == ("key", "%se=cret")
    assert "cret" not in repr(place)
    for bad in ("", "se=cret", "[default]\naws_access_key_id = key\n", "[other]\n"):
        file.write_text(bad)
        with pytest.raises(ValueError, match="s3_credentials") as caught:
            place_at("s3://bucket", credentials=str(file), environ={})
        assert "cret\n" not in str(caught.value)


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with pytest.raises(UnreachableError, match="AWS_ACCESS_KEY_ID"):
        S3Objects(S3Place("bucket"))
