"""Putting folders into a store: what travels, what is remembered, what is refused, and how much memory it takes."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.inputs import sync
from controller.inputs.beneath import UnsafePathError
from controller.inputs.snapshots import export_folder, export_snapshot, load, snapshot_facts
from controller.inputs.statcache import StatCache
from controller.inputs.sync import Target, put_folder, put_snapshot
from tests.fakes.objectstore import MemoryObjects

SNAPSHOT = (
    "{ find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum -z; printf '\\0'; "
    "find . -type f -perm -100 -print0 | LC_ALL=C sort -z; } | sha256sum"
)
FOLDER = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum -z | sha256sum"


class Asked(MemoryObjects):
    """Notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def missing(self, wanted: Iterable[str]) -> set[str]:
        wanted = list(wanted)
        self.asked += wanted
        return super().missing(wanted)


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """A store that is empty."""
    return Target(Asked(), "memory", StatCache(tmp_path / "cache"), tmp_path / "scratch")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A small folder whose files are old enough to be remembered."""
    root = tmp_path / "code"
    for name, text in {"a": "1", "sub/run.sh": "2", "sub/b": "1"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "sub" / "run.sh").chmod(0o755)
    settle(root)
    return root


def settle(root: Path) -> None:
    """Wait until the clock of the file system has moved on from what was just written."""
    newest = max(path.stat().st_ctime_ns for path in (root, *root.rglob("*")))
    while sync.file_clock() <= newest:
        time.sleep(0.001)


def coreutils(root: Path, script: str) -> str:
    """What coreutils says."""
    out = subprocess.run(["sh", "-c", script], cwd=root, check=True, capture_output=True, text=True).stdout
    return "sha256:" + out.split()[0]


def objects_of(target: Target) -> Asked:
    assert isinstance(target.objects, Asked)
    return target.objects


@pytest.mark.needs("coreutils")
def test_the_digest_is_what_coreutils_says_and_the_folder_comes_back(
    target: Target, code: Path, tmp_path: Path
) -> None:
    done = put_snapshot(code, target)
    assert (done.sha256, done.files, done.read, done.sent) == (coreutils(code, SNAPSHOT), 3, 3, 2)
    assert snapshot_facts(target.objects, done.sha256).verified
    export_snapshot(target.objects, done.sha256, tmp_path / "out")
    assert coreutils(tmp_path / "out", SNAPSHOT) == done.sha256
    data = put_folder(code, target)
    assert data.sha256 == coreutils(code, FOLDER)
    export_folder(target.objects, data.sha256, tmp_path / "data")
    assert coreutils(tmp_path / "data", FOLDER) == data.sha256


def test_an_unchanged_folder_costs_its_walk(target: Target, code: Path) -> None:
    first = put_snapshot(code, target)
    objects_of(target).asked.clear()
    again = put_snapshot(code, target)
    assert again == replace(first, read=0, sent=0, sent_bytes=0)
    assert objects_of(target).asked == [first.sha256], "only that it is still there"


def test_one_changed_file_is_one_upload(target: Target, code: Path) -> None:
    put_snapshot(code, target)
    (code / "a").write_text("new")
    settle(code)
    objects_of(target).asked.clear()
    done = put_snapshot(code, target)
    assert (done.read, done.sent, done.sent_bytes) == (1, 1, 3)
    assert len(objects_of(target).asked) == 2, "its own manifest, and the changed file"
    assert snapshot_facts(target.objects, done.sha256).verified


def test_a_mode_alone_makes_another_snapshot_and_sends_no_content(target: Target, code: Path) -> None:
    first = put_snapshot(code, target)
    (code / "a").chmod(0o755)
    done = put_snapshot(code, target)
    assert done.sha256 != first.sha256
    assert done.sent == 0
    assert [file.path for file in load(target.objects, done.sha256) if file.executable] == [b"a", b"sub/run.sh"]


def test_another_store_gets_everything(target: Target, code: Path) -> None:
    put_snapshot(code, target)
    other = replace(target, objects=MemoryObjects(), store="other")
    assert put_snapshot(code, other).sent == 2
    assert snapshot_facts(other.objects, put_snapshot(code, other).sha256).verified


def test_a_store_that_was_emptied_is_filled_again(target: Target, code: Path) -> None:
    put_snapshot(code, target)
    emptied = replace(target, objects=Asked())
    done = put_snapshot(code, emptied)
    assert done.sent == 2
    assert snapshot_facts(emptied.objects, done.sha256).verified


def test_what_was_sent_long_ago_is_asked_for_again(target: Target, code: Path, tmp_path: Path) -> None:
    """prune may have taken an object whose manifest is still there."""
    first = put_snapshot(code, target)
    lost = next(iter(load(target.objects, first.sha256))).sha256
    target.objects.delete(lost)
    for file in (tmp_path / "cache").iterdir():
        os.utime(file, (1, 1))
    done = put_snapshot(code, target)
    assert (done.sha256, done.sent) == (first.sha256, 1)
    assert snapshot_facts(target.objects, done.sha256).verified


def test_rehash_finds_what_is_missing_at_once(target: Target, code: Path) -> None:
    first = put_snapshot(code, target)
    target.objects.delete(next(iter(load(target.objects, first.sha256))).sha256)
    assert put_snapshot(code, replace(target, cache=None)).sent == 1
    assert snapshot_facts(target.objects, first.sha256).verified


class Breaks(Asked):
    """Takes so many objects, then fails."""

    left = 2

    def put(self, data: bytes) -> str:
        if not self.left:
            raise OSError("the line broke")
        self.left -= 1
        return super().put(data)


def test_what_was_sent_before_an_interruption_is_not_sent_again(target: Target, tmp_path: Path) -> None:
    root = tmp_path / "many"
    root.mkdir()
    for number in range(700):
        (root / str(number)).write_text(str(number))
    broken = replace(target, objects=Breaks())
    assert isinstance(broken.objects, Breaks)
    broken.objects.left = 400
    with pytest.raises(OSError, match="the line broke"):
        put_snapshot(root, broken)
    broken.objects.left = 1000
    done = put_snapshot(root, broken)
    assert done.sent == 300
    assert snapshot_facts(broken.objects, done.sha256).verified


class Meddles(Asked):
    """Changes a file when it is asked for objects, as an editor might at any moment."""

    path: Path

    def missing(self, wanted: Iterable[str]) -> set[str]:
        wanted = list(wanted)
        if len(wanted) > 1:
            self.path.write_bytes(b"y" * (3 << 20))
        return super().missing(wanted)


@pytest.mark.parametrize("moment", ["hashing", "sending"])
def test_a_file_that_changes_is_refused_and_named(
    target: Target, code: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = code / "sub" / "large"
    large.write_bytes(b"x" * (3 << 20))
    meddling = Meddles()
    meddling.path = large
    if moment == "sending":
        target = replace(target, objects=meddling)
    else:
        real = sync._digest

        def slow(file: sync.FileIO, entry: bytes, advance: object) -> bytes:
            large.write_bytes(b"z" * (3 << 20))
            return real(file, entry, lambda _count: None)

        monkeypatch.setattr(sync, "_digest", slow)
    with pytest.raises(UnsafePathError, match=r"sub/large.* changed"):
        put_snapshot(code, target)
    kept = [item.sha256 for item in target.objects.list()]
    assert all(hashlib.sha256(target.objects.open(each).read()).hexdigest() == each[7:] for each in kept)


def test_a_folder_or_link_in_place_of_a_listed_file_is_refused(
    target: Target, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sync.walk

    def swapped(root: Path, *, ignore: bool) -> object:
        tree = real(root, ignore=ignore)
        (code / "a").unlink()
        (code / "a").symlink_to("sub/b")
        return tree

    monkeypatch.setattr(sync, "walk", swapped)
    with pytest.raises(UnsafePathError, match="'a' changed"):
        put_snapshot(code, target)


names = st.binary(min_size=1, max_size=20).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))
HOSTILE = [b"new\nline", b"back\\slash", b"\xff\xfe", b"a" * 255, b" ", b"-rf", b"\\n", b"\r", b"caf\xc3\xa9"]


@pytest.mark.needs("coreutils")
@given(files=st.dictionaries(names | st.sampled_from(HOSTILE), st.binary(max_size=50), max_size=5), mode=st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hostile_names_have_the_digest_of_coreutils(
    files: dict[bytes, bytes], mode: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("hostile")
    for name, data in files.items():
        place = root / os.fsdecode(name)
        place.write_bytes(data)
        place.chmod(0o755 if mode else 0o644)
    store = Target(MemoryObjects(), "memory", None, tmp_path_factory.mktemp("scratch"))
    taken = {name for name in files if name not in (b".git", b".fetchml", b".gitignore", b".mlignore")}
    if len(taken) == len(files):
        done = put_snapshot(root, store)
        assert done.sha256 == coreutils(root, SNAPSHOT)
        assert {file.path for file in load(store.objects, done.sha256)} == taken
    assert put_folder(root, store).sha256 == coreutils(root, FOLDER)


def test_a_sparse_file_is_a_file(target: Target, code: Path, tmp_path: Path) -> None:
    with (code / "sparse").open("wb") as file:
        file.truncate(5 << 20)
    done = put_folder(code, target)
    export_folder(target.objects, done.sha256, tmp_path / "out")
    assert (tmp_path / "out" / "sparse").stat().st_size == 5 << 20


MEMORY = """
import sys, tracemalloc
from pathlib import Path
from controller.inputs.statcache import StatCache
from controller.inputs.sync import Target, put_snapshot
from controller.stores.objects import FileObjects

root, base = Path(sys.argv[1]), Path(sys.argv[2])
target = Target(FileObjects(base / "o"), "x", StatCache(base / "c"), base / "s")
peaks = []
for folder in ("few", "few", "many", "many"):
    tracemalloc.start()
    put_snapshot(root / folder, target)
    peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
print(peaks[2] - peaks[0], peaks[3] - peaks[1])
"""


def test_memory_by_the_entry(tmp_path: Path) -> None:
    """What each further file of one folder costs at the peak: at first, and when nothing changed."""
    few, many = 1000, 16_000
    for folder, count in (("few", few), ("many", many)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "large").write_bytes(bytes(2 << 20))  # both need the buffers of a large file
        fd = os.open(tmp_path / folder, os.O_RDONLY | os.O_DIRECTORY)
        for number in range(count):
            os.close(os.open(f"{number:08}.jpg", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd))
        os.close(fd)
    words = [sys.executable, "-c", MEMORY, str(tmp_path), str(tmp_path / "base")]
    root = Path(__file__).parents[3]
    out = subprocess.run(words, check=True, capture_output=True, text=True, cwd=root).stdout
    first, again = (int(text) / (many - few) for text in out.split())
    print(f"sync: {first:.0f} bytes of memory for each further file at first, {again:.0f} when nothing changed")
    assert max(first, again) <= 150
