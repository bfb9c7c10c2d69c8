"""Where datasets are read, what is refused, and what the cache may save."""

import os
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import pytest

from controller.api.canonical import digest_bytes
from controller.api.experiment import DatasetRef
from controller.facts.facts import DatasetFacts
from controller.inputs import hashing
from controller.inputs.beneath import folder
from controller.inputs.local import InputSettings
from tests.fakes.repo import SPEC, Repo

pytestmark = pytest.mark.needs("git")


@dataclass
class Watch:
    """Counts the bytes that were really hashed."""

    hashed: int = 0
    on_bytes: Callable[[], None] = field(default=lambda: None)

    def __call__(self, _what: str, done: int, _total: int) -> None:
        """Progress."""
        self.hashed = max(self.hashed, done)
        self.on_bytes()


def look(repo: Repo, uri: str, watch: Watch | None = None, settings: InputSettings | None = None) -> DatasetFacts:
    """Facts of one dataset of the spec."""
    inputs = repo.inputs(settings)
    git = inputs.git_facts(repo.document(), repo.source())
    return inputs.dataset_facts(repo.document(), git, DatasetRef(name="d", uri=uri), watch or Watch())


def _old(place: Path) -> None:
    """Let the clock of the file system move on, so that the file is not racy."""
    while place.stat().st_ctime_ns >= hashing.file_clock():
        time.sleep(0.001)


def test_a_tracked_file_is_read_in_the_commit(repo: Repo, tmp_path: Path) -> None:
    repo.commit(data__x="committed", code__new="1")
    repo.write("data/x", "changed")
    facts = look(repo, "file:data/x")
    assert (facts.found, facts.tracked, facts.sha256) == (True, True, digest_bytes(b"committed"))
    assert (facts.size, facts.files, facts.path) == (9, 1, "data/x")
    inputs = repo.inputs()
    git = inputs.git_facts(repo.document(), repo.source())
    for _ in range(2):
        staged = inputs.stage_dataset(repo.spec, git, facts, tmp_path / "deep/x")
        assert staged.read_bytes() == b"committed"
    assert inputs.rehash(replace(facts, tracked=False, path=str(staged)), repo.spec).sha256 == facts.sha256
    assert inputs.rehash(facts, repo.spec).sha256 is None


def test_a_tracked_folder_has_the_same_digest_as_its_checkout(repo: Repo, tmp_path: Path) -> None:
    repo.commit(data__x="1", data__sub__y="2", code__new="1")
    facts = look(repo, "file:data")
    assert (facts.tracked, facts.files, facts.size) == (True, 2, 2)
    inputs = repo.inputs()
    git = inputs.git_facts(repo.document(), repo.source())
    staged = inputs.stage_dataset(repo.spec, git, facts, tmp_path / "out")
    assert inputs.rehash(replace(facts, tracked=False, path=str(staged)), repo.spec).sha256 == facts.sha256


def test_ignored_data_is_read_in_the_work_tree(repo: Repo) -> None:
    place = repo.write("ignored.bin", "data")
    facts = look(repo, "file:ignored.bin")
    assert (facts.found, facts.tracked, facts.sha256, facts.path) == (True, False, digest_bytes(b"data"), str(place))
    assert repo.inputs().stage_dataset(repo.spec, None, facts, Path("unused")) == place


def test_data_behind_an_lfs_pointer_is_read_in_the_work_tree(repo: Repo) -> None:
    repo.commit(
        code__new="1", data__x="version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 4\n"
    )
    repo.write("data/x", "real")
    facts = look(repo, "file:data/x")
    assert (facts.tracked, facts.sha256) == (False, digest_bytes(b"real"))


def test_without_git_a_path_starts_at_the_specs_folder(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.write(repo.spec, SPEC.replace("  source:\n    git: {path: code}\n", ""))
    repo.write("specs/data.csv", "1")
    facts = look(repo, "file:data.csv")
    assert (facts.found, facts.sha256) == (True, digest_bytes(b"1"))


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("data/x", "UnsupportedScheme"),
        ("s3://bucket/key", "UnsupportedScheme"),
        ("file://host/data", "UnsupportedScheme"),
        ("file:/etc/passwd", "PathOutsideRoots"),
        ("file:///etc/passwd", "PathOutsideRoots"),
        ("file:../outside", "PathOutsideRoots"),
        ("file:%2e%2e/outside", "PathOutsideRoots"),
        ("file:a%00b", "PathOutsideRoots"),
        ("file:%ff", "PathOutsideRoots"),
        ("file:", "PathOutsideRoots"),
        ("file:ignored-link", "SymlinkInDataset"),
        ("file:ignored-folder-link/x", "SymlinkInDataset"),
        ("file:ignored-folder", "SymlinkInDataset"),
        ("file:ignored-fifo", "SpecialFile"),
        ("file:ignored-special", "SpecialFile"),
    ],
)
def test_what_is_refused(repo: Repo, uri: str, reason: str) -> None:
    secret = repo.write("../outside/x", "secret").parent
    (repo.root / "ignored-link").symlink_to(secret / "x")
    (repo.root / "ignored-folder-link").symlink_to(secret)
    (repo.root / "ignored-folder").mkdir()
    (repo.root / "ignored-folder/link").symlink_to(secret / "x")
    os.mkfifo(repo.root / "ignored-fifo")
    (repo.root / "ignored-special").mkdir()
    os.mkfifo(repo.root / "ignored-special/fifo")
    facts = look(repo, uri)
    assert (facts.reason, facts.sha256) == (reason, None)
    assert facts.message


def test_a_folder_that_holds_a_symlink_in_the_commit_is_refused(repo: Repo) -> None:
    (repo.root / "data").mkdir()
    (repo.root / "data/link").symlink_to("x")
    repo.commit(data__x="1", code__new="1")
    assert look(repo, "file:data").reason == "SymlinkInDataset"


def test_data_that_is_not_there_or_not_readable(repo: Repo) -> None:
    assert look(repo, "file:ignored.none").found is False
    assert look(repo, "file:code/train.py/below").found is False


def test_absolute_data_lies_beneath_a_root_that_the_operator_named(repo: Repo, tmp_path: Path) -> None:
    root = tmp_path / "pool"
    (root / "set").mkdir(parents=True)
    (root / "set/x").write_text("1")
    (tmp_path / "pool-other").mkdir()
    (tmp_path / "pool-other/x").write_text("1")
    settings = InputSettings(dataset_roots=(root,))
    assert look(repo, f"file:{root}/set/x", settings=settings).sha256 == digest_bytes(b"1")
    assert look(repo, f"file://{root}/set", settings=settings).files == 1
    for outside in (tmp_path / "pool-other/x", root / "../pool-other/x"):
        assert look(repo, f"file:{outside}", settings=settings).reason == "PathOutsideRoots"
    (root / "link").symlink_to(tmp_path / "pool-other")
    assert look(repo, f"file:{root}/link/x", settings=settings).reason == "SymlinkInDataset"


def test_a_file_that_changes_while_it_is_hashed_is_refused(repo: Repo) -> None:
    place = repo.write("ignored.big", b"x" * (3 * hashing.PIECE))

    def append() -> None:
        with place.open("ab") as file:
            file.write(b"y")

    facts = look(repo, "file:ignored.big", Watch(on_bytes=append))
    assert (facts.sha256, facts.reason) == (None, "UnreadableDataset")
    assert "changed while" in facts.message


def test_a_file_swapped_for_a_symlink_after_it_was_listed_is_not_followed(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    repo.write("ignored/a", b"x" * (1 << 17))
    repo.write("ignored/b", "y")

    def swap() -> None:
        (repo.root / "ignored/b").unlink(missing_ok=True)
        (repo.root / "ignored/b").symlink_to(tmp_path / "secret")

    assert look(repo, "file:ignored", Watch(on_bytes=swap)).sha256 is None


def _rewrite(place: Path) -> None:
    """Other bytes for a moment, then the old ones and the old times again: what a careful edit leaves."""
    before, data = place.stat(), place.read_bytes()
    place.write_bytes(b"y" * len(data))
    place.write_bytes(data)
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))


def _swap(place: Path) -> None:
    (place.parent / "other").write_bytes(place.read_bytes())
    (place.parent / "other").replace(place)


def _come_and_go(place: Path) -> None:
    (place.parent / "sub/guest").write_bytes(b"")
    (place.parent / "sub/guest").unlink()


@pytest.mark.parametrize("change", [_rewrite, _swap, _come_and_go])
def test_the_stamp_moves_though_the_bytes_are_the_same_again(repo: Repo, change: Callable[[Path], None]) -> None:
    place = repo.write("ignored/a", "data")
    _old(repo.write("ignored/sub/b", "data"))
    before = look(repo, "file:ignored")
    inputs = repo.inputs()
    assert inputs.rehash(before, repo.spec).stamp == before.stamp != ""
    change(place)
    after = inputs.rehash(before, repo.spec)
    assert after.sha256 == before.sha256
    assert after.stamp not in ("", before.stamp)


def test_what_did_not_change_is_not_read_again(repo: Repo) -> None:
    for number in range(10):
        last = repo.write(f"ignored/{number}", b"x" * 1000)
    _old(last)
    first, again, one = Watch(), Watch(), Watch()
    before = look(repo, "file:ignored", first)
    assert look(repo, "file:ignored", again) == before
    assert (first.hashed, again.hashed) == (10_000, 0)
    _old(repo.write("ignored/5", b"y" * 1000))
    changed = look(repo, "file:ignored", one)
    assert one.hashed == 1000
    assert changed.sha256 not in (None, before.sha256)
    assert changed.sha256 == look(repo, "file:ignored", settings=InputSettings(rehash=True)).sha256


def test_a_file_written_in_the_tick_of_the_hashing_is_not_trusted(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.write("ignored.bin", "data")
    began = (repo.root / "ignored.bin").stat().st_ctime_ns
    monkeypatch.setattr(hashing, "file_clock", lambda: began)
    first, again = Watch(), Watch()
    look(repo, "file:ignored.bin", first)
    look(repo, "file:ignored.bin", again)
    assert (first.hashed, again.hashed) == (4, 4)


def test_times_put_back_do_not_hide_a_change(repo: Repo) -> None:
    place = repo.write("ignored.bin", "data")
    _old(place)
    before, status = look(repo, "file:ignored.bin"), place.stat()
    with place.open("r+b") as file:
        file.write(b"DATA")
    os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert look(repo, "file:ignored.bin").sha256 == digest_bytes(b"DATA") != before.sha256


def test_a_damaged_cache_costs_time_only(repo: Repo) -> None:
    for number in range(3):
        last = repo.write(f"ignored/{number}", b"x" * 10)
    _old(last)
    right = look(repo, "file:ignored")
    (cache,) = (repo.root / ".fetchml/cache/stat").iterdir()
    good = cache.read_bytes()
    git, reference = repo.facts(), DatasetRef(name="d", uri="file:ignored")
    damaged = [good[:cut] for cut in range(0, len(good), 7)]
    damaged += [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(0, len(good), 3)]
    for data in [*damaged, b"rubbish", b"\0" * 500]:
        cache.write_bytes(data)
        repo.write("ignored/0", b"x" * 10)
        assert repo.inputs().dataset_facts(repo.document(), git, reference).sha256 == right.sha256


def test_a_cache_that_cannot_be_written_is_no_failure(repo: Repo) -> None:
    repo.write(".fetchml/cache/stat", "a file where the folder should be")
    repo.write("ignored.bin", "data")
    assert look(repo, "file:ignored.bin").sha256 == digest_bytes(b"data")


def test_a_catalogue_entry_takes_at_most_150_bytes(tmp_path: Path) -> None:
    count = 4000
    for number in range(count):
        (tmp_path / f"image-{number:08d}.jpeg").write_bytes(b"")
    with folder(str(tmp_path)) as fd:
        tracemalloc.start()
        entries = hashing.scan(fd)
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(entries) == count
    assert used / count <= 150


def test_progress_counts_every_byte_once(repo: Repo) -> None:
    repo.write("ignored/large", b"x" * (2 * hashing.PIECE))
    repo.write("ignored/small", b"y" * 10)
    watch = Watch()
    facts = look(repo, "file:ignored", watch)
    assert watch.hashed == facts.size == 2 * hashing.PIECE + 10
    assert facts.files == 2
    assert sha256(b"").hexdigest() not in str(facts.sha256)
