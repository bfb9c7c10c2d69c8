"""What lies in a specs folder besides good specs: each gets its sentence, and its neighbours go on."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.api.problems import InvalidDocumentError
from controller.ports.source import Key
from controller.sources import files
from controller.sources.folder import FolderSource
from tests.fakes.clock import FakeClock
from tests.fakes.source import spec

LATER = datetime(2100, 1, 1, tzinfo=UTC)
GOOD = Key("Experiment", "default", "good")


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root passes every permission check; nobody does not."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


CASES: list[tuple[str, Callable[[Path], object], str, str]] = [
    ("x.yaml", lambda p: p.write_bytes(bytes(range(256)) * 4), "x.yaml", ""),
    ("x.yaml", lambda p: p.write_bytes(b"\x7fELF\0\0\0"), "x.yaml", ""),
    ("x.yaml", lambda p: p.write_bytes(b""), "x.yaml", "EmptyFile"),
    ("x.yaml", lambda p: p.write_bytes(b"a: b\n" * 2_000_000), "x.yaml", "FileTooLarge"),
    ("x.yaml", lambda p: p.mkdir(), "x.yaml", "NotAFile"),
    ("x.yml", os.mkfifo, "x.yml", "NotAFile"),
    ("x.yaml", _socket, "x.yaml", "NotAFile"),
    ("x.yaml", lambda p: p.symlink_to("/dev/zero"), "x.yaml", "SymlinkOutsideRoot"),
    ("x.yaml", lambda p: p.symlink_to("/etc/hostname"), "x.yaml", "SymlinkOutsideRoot"),
    ("x.yaml", lambda p: p.symlink_to("nowhere"), "x.yaml", "DanglingSymlink"),
    ("x.yaml", lambda p: p.symlink_to("x.yaml"), "x.yaml", "NotAFile"),
    ("x.yaml", lambda p: p.symlink_to("."), "x.yaml", "NotAFile"),
    ("a\nb.yaml", lambda p: p.write_text(spec("x")), "a\\nb.yaml", "BadFileName"),
    ("a\x1b[31mb.yaml", lambda p: p.write_text(spec("x")), "a\\x1b[31mb.yaml", "BadFileName"),
    ("a\u202eb.yaml", lambda p: p.write_text(spec("x")), "a\\u202eb.yaml", "BadFileName"),
    ("a\udcffb.yaml", lambda p: p.write_text(spec("x")), "a\\xffb.yaml", "BadFileName"),
    ("a\nb", lambda p: p.mkdir(), "a\\nb", "BadFileName"),
]


@pytest.mark.parametrize(("name", "make", "shown", "reason"), CASES)
def test_each_oddity_is_named_and_its_neighbour_goes_on(
    tmp_path: Path, name: str, make: Callable[[Path], object], shown: str, reason: str
) -> None:
    make(tmp_path / name)
    (tmp_path / "good.yaml").write_text(spec("good"))
    source = FolderSource(tmp_path, FakeClock(LATER), prefix="specs/")
    change = source.poll()
    assert change.keys == {GOOD}
    assert list(change.invalid) == [f"specs/{shown}"]
    (problem, *_) = change.invalid[f"specs/{shown}"]
    assert problem.file == f"specs/{shown}"
    assert problem.fix
    assert problem.reason == (reason or problem.reason)
    assert source.poll().invalid == change.invalid
    assert len(source.get(GOOD)) == 1


@pytest.mark.needs("root")
def test_an_unreadable_file_is_read_as_soon_as_it_may_be(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    path = tmp_path / "good.yaml"
    path.write_text(spec("good"))
    path.chmod(0)
    source = FolderSource(_open(tmp_path), FakeClock(LATER))
    with as_nobody():
        change = source.poll()
        assert change.invalid["good.yaml"][0].reason == "UnreadableFile"
        assert change.keys == frozenset()
    assert source.poll().keys == {GOOD}


@pytest.mark.needs("root")
def test_an_unreadable_folder_is_not_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "good.yaml").write_text(spec("good"))
    clock = FakeClock(LATER)
    source = FolderSource(_open(tmp_path), clock)
    source.poll()
    (tmp_path / "team").chmod(0)
    with as_nobody():
        for _ in range(3):
            change = source.poll()
            assert (change.keys, change.recheck_after) == (frozenset(), None)
            assert change.invalid["team"][0].reason == "UnreadableFolder"
            clock.advance(10)
    assert source.keys() == {GOOD}


@pytest.mark.parametrize("vanish", ["missing", "a file"])
def test_a_root_that_cannot_be_listed_deletes_nothing(tmp_path: Path, vanish: str) -> None:
    root = tmp_path / "specs"
    root.mkdir()
    (root / "good.yaml").write_text(spec("good"))
    clock = FakeClock(LATER)
    source = FolderSource(root, clock)
    source.poll()
    root.rename(tmp_path / "elsewhere")
    if vanish == "a file":
        root.write_text("")
    for _ in range(3):
        change = source.poll()
        assert (change.stalled, change.keys) == ("UnreadableRoot", frozenset())
        assert "cannot be listed" in change.message
        source.poll(frozenset({"good.yaml"}))
        clock.advance(10)
    assert source.keys() == {GOOD}
    root.unlink(missing_ok=True)
    (tmp_path / "elsewhere").rename(root)
    change = source.poll()
    assert (change.stalled, change.keys) == ("", frozenset())


def _open(folder: Path) -> Path:
    """Let nobody pass the folders above."""
    for parent in (folder, *folder.parents):
        if parent.owner() == "root" and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o055)
    return folder


def test_hidden_folders_and_status_files_are_not_looked_at(tmp_path: Path) -> None:
    for path in (".git/x.yaml", ".fetchml/x.yaml", "a/.hidden/x.yaml", ".x.yaml", "x.status.yaml", "x.yaml~", "x.txt"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(spec("x"))
    source = FolderSource(tmp_path, FakeClock(LATER))
    everything = frozenset(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    for hints in (None, everything, frozenset({".git", "a/.hidden", "../x.yaml", "/etc/hosts", "/etc", ".."})):
        change = source.poll(hints)
        assert (change.keys, change.invalid, change.parsed) == (frozenset(), {}, 0)


def test_a_symlink_inside_the_root_is_a_place_of_its_own(tmp_path: Path) -> None:
    (tmp_path / ".store").mkdir()
    (tmp_path / ".store" / "v1.txt").write_text(spec("good"))
    (tmp_path / "good.yaml").symlink_to(".store/v1.txt")
    source = FolderSource(tmp_path, FakeClock(LATER))
    assert source.poll().keys == {GOOD}
    (tmp_path / ".store" / "v1.txt").write_text(spec("good", extra="  seed: 7\n"))
    assert source.poll().keys == {GOOD}


def test_a_symlinked_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "loop").symlink_to("..")
    (tmp_path / "a" / "good.yaml").write_text(spec("good"))
    source = FolderSource(tmp_path, FakeClock(LATER))
    assert source.poll().parsed == 1
    assert source.poll(frozenset({"a/loop/a/good.yaml"})).parsed == 0
    assert len(source.get(GOOD)) == 1


def test_a_folder_swapped_for_a_symlink_leads_nowhere(tmp_path: Path) -> None:
    root = tmp_path / "specs"
    (root / "team").mkdir(parents=True)
    (root / "team" / "good.yaml").write_text(spec("good"))
    source = FolderSource(root, FakeClock(LATER))
    source.poll()
    (document,) = source.get(GOOD)
    (root / "team").rename(tmp_path / "outside")
    (root / "team").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "good.yaml").write_text(spec("good", extra="  seed: 7\n"))
    with pytest.raises(InvalidDocumentError, match="leads out of the specs folder"):
        source.get(GOOD)
    with pytest.raises(Exception, match="outside the specs folder"):
        source.write_status(document, {"phase": "Running"})
    assert "status" not in (tmp_path / "outside" / "good.yaml").read_text()


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(spec("good"))
    reads = []

    def read(descriptor: int) -> bytes:
        data = os.pread(descriptor, 2**20, 0)
        reads.append(data)
        if len(reads) == 1:
            path.write_text(spec("good", extra="  seed: 7\n"))
        return data[:10] if len(reads) == 1 else data

    monkeypatch.setattr(files, "read_all", read)
    source = FolderSource(tmp_path, FakeClock(LATER))
    assert source.poll().keys == {GOOD}
    assert source.get(GOOD)[0].model.spec.seed == 7
    assert len(reads) == 2


def test_a_file_deleted_while_it_is_read_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(spec("good"))
    monkeypatch.setattr(files, "_check_kind", lambda *_: path.unlink(missing_ok=True))
    assert FolderSource(tmp_path, FakeClock(LATER)).poll().keys == frozenset()


def test_a_file_being_written_is_left_alone_until_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    clock = FakeClock(datetime.now(UTC))
    source = FolderSource(tmp_path, clock)
    with path.open("w") as file:
        file.write(spec("good"))
        file.flush()
        change = source.poll()
        assert (change.keys, change.parsed) == (frozenset(), 0)
        assert change.recheck_after is not None
        file.write("  suspend: true\n")
    change = source.poll(frozenset())
    assert (change.keys, change.recheck_after) == ({GOOD}, None)
    assert source.get(GOOD)[0].model.spec.suspend


def test_a_program_that_never_closes_a_file_does_not_hide_it(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    clock = FakeClock(datetime.now(UTC))
    source = FolderSource(tmp_path, clock)
    with path.open("w") as file:
        file.write(spec("good"))
        file.flush()
        assert source.poll().keys == frozenset()
        clock.advance(5)
        assert source.poll(frozenset()).keys == {GOOD}


@pytest.mark.parametrize("jump", [-(10**8), 10**8])
def test_a_wrong_wall_clock_hides_no_change(tmp_path: Path, jump: int) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(spec("good"))
    clock = FakeClock(datetime.now(UTC))
    source = FolderSource(tmp_path, clock)
    source.poll()
    clock.jump_wall(jump)
    path.write_text(spec("good", extra="  seed: 7\n"))
    assert source.poll().keys == {GOOD}
    path.write_text(spec("good", extra="  seed: 8\n"))
    assert source.poll().keys == {GOOD}


def test_a_change_within_the_tick_of_the_last_look_is_seen(tmp_path: Path) -> None:
    """Git's racy rule: same size, same stamps, other bytes."""
    path = tmp_path / "good.yaml"
    path.write_text(spec("good", extra="  seed: 1\n"))
    source = FolderSource(tmp_path, FakeClock(datetime.fromtimestamp(path.stat().st_mtime, UTC)))
    source.poll()
    record = source._index.records["good.yaml"]
    path.write_text(spec("good", extra="  seed: 2\n"))
    now = files.stat_key(path.stat())
    source._index.records["good.yaml"] = now + record[len(now) :]  # as if the stamps had not moved
    assert source.poll().keys == {GOOD}


def test_an_unchanged_folder_is_neither_read_nor_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (tmp_path / f"n{number}.yaml").write_text(spec(f"n{number}"))
    source = FolderSource(tmp_path, FakeClock(LATER))
    assert source.poll().parsed == 50
    reads: list[int] = []
    monkeypatch.setattr(files, "read_all", lambda descriptor: reads.append(descriptor) or b"")
    assert source.poll().parsed == 0
    assert reads == []
