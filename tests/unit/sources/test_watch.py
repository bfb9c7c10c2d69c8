"""Noticing changes: what is told, what is not, and what happens where inotify cannot be had."""

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.ports.source import Key
from controller.sources import watch as watching
from controller.sources.folder import FolderSource
from controller.sources.watch import FolderWatch, file_system, sees_every_change
from controller.sources.writers import FolderLease
from tests.fakes.clock import FakeClock
from tests.fakes.source import spec

PATIENCE = 20.0


class Told:
    """Collects hints."""

    def __init__(self) -> None:
        self.hints: list[str] = []
        self._news = threading.Condition()

    def __call__(self, hints: frozenset[str]) -> None:
        with self._news:
            self.hints += sorted(hints)
            self._news.notify_all()

    def wait_for(self, hint: str) -> None:
        """Until it was told."""
        with self._news:
            assert self._news.wait_for(lambda: hint in self.hints, PATIENCE), f"{hint!r} is not in {self.hints}"


@contextmanager
def watched(root: Path) -> Iterator[tuple[Told, FolderWatch]]:
    told = Told()
    watch = FolderWatch(root, told)
    watch.start()
    try:
        yield told, watch
    finally:
        watch.stop()


def _rename(root: Path) -> None:
    (root / "new").write_text("x")
    (root / "new").rename(root / "a.yaml")


def _link(root: Path) -> None:
    (root / "other").write_text("x")
    os.link(root / "other", root / "a.yaml")


@pytest.mark.needs("inotify")
@pytest.mark.parametrize(
    "save",
    [
        lambda root: (root / "a.yaml").write_text("x"),
        _rename,
        _link,
        lambda root: (root / "a.yaml").symlink_to("b"),
        lambda root: os.mkfifo(root / "a.yaml"),
    ],
)
def test_whatever_appears_under_a_specs_name_is_told(tmp_path: Path, save: Callable[[Path], object]) -> None:
    with watched(tmp_path) as (told, watch):
        assert watch.mode == "inotify"
        save(tmp_path)
        told.wait_for("a.yaml")
        assert set(told.hints) == {"a.yaml"}


@pytest.mark.needs("inotify")
def test_edits_removals_and_permissions_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for change in (
        lambda: path.write_text("y"),
        lambda: path.chmod(0o600),
        path.unlink,
    ):
        path.exists() or path.write_text("x")
        with watched(tmp_path) as (told, _):
            change()
            told.wait_for("a.yaml")


@pytest.mark.needs("inotify")
def test_new_folders_are_watched_with_what_is_in_them(tmp_path: Path) -> None:
    with watched(tmp_path) as (told, _):
        (tmp_path / "a" / "b").mkdir(parents=True)
        told.wait_for("a")
        (tmp_path / "a" / "b" / "c.yaml").write_text("x")
        told.wait_for("a/b/c.yaml")


@pytest.mark.needs("inotify")
def test_a_folder_that_moves_in_or_goes_is_told(tmp_path: Path) -> None:
    root = tmp_path / "specs"
    root.mkdir()
    (tmp_path / "team").mkdir()
    with watched(root) as (told, _):
        (tmp_path / "team").rename(root / "team")
        told.wait_for("team")
        (root / "team" / "c.yaml").write_text("x")
        told.wait_for("team/c.yaml")
        (root / "team").rename(root / "other")
        told.wait_for("other")
        (root / "other" / "d.yaml").write_text("x")
        told.wait_for("other/d.yaml")
        (root / "other").rename(tmp_path / "gone")
        told.wait_for("")


@pytest.mark.needs("inotify")
def test_a_root_that_is_replaced_is_watched_again(tmp_path: Path) -> None:
    root = tmp_path / "specs"
    root.mkdir()
    with watched(root) as (told, _):
        root.rename(tmp_path / "old")
        root.mkdir()
        told.wait_for("")
        deadline = time.monotonic() + PATIENCE
        while "a.yaml" not in told.hints and time.monotonic() < deadline:
            (root / "a.yaml").write_text("x")
            time.sleep(0.05)
        assert "a.yaml" in told.hints


@pytest.mark.needs("inotify")
def test_hidden_things_and_other_names_are_not_told(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with watched(tmp_path) as (told, _):
        (tmp_path / ".git" / "x.yaml").write_text("x")
        (tmp_path / ".a.yaml.swp").write_text("x")
        (tmp_path / ".new").mkdir()
        (tmp_path / "notes.txt").write_text("x")
        (tmp_path / "a.status.yaml").write_text("x")
        (tmp_path / "last.yaml").write_text("x")
        told.wait_for("last.yaml")
        assert set(told.hints) == {"last.yaml"}


@pytest.mark.needs("inotify")
def test_our_own_status_write_is_not_told_but_a_save_beside_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(spec("a"))
    source = FolderSource(tmp_path, FakeClock(datetime(2100, 1, 1, tzinfo=UTC)))
    source.poll()
    told = Told()
    stop = source.watch(told)
    for number in range(20):
        (document,) = source.get(Key("Experiment", "default", "a"))
        assert source.write_status(document, {"observedGeneration": number})
    (tmp_path / "last.yaml").write_text("x")
    told.wait_for("last.yaml")
    assert set(told.hints) == {"last.yaml"}
    path.write_text(spec("a"))
    told.wait_for("a.yaml")
    stop()


@pytest.mark.needs("inotify")
def test_dropped_events_mean_look_everywhere(tmp_path: Path) -> None:
    with watched(tmp_path) as (told, watch):
        assert watch._inotify is not None
        (tmp_path / "unseen").mkdir()
        told.wait_for("unseen")
        watch._inotify.on_queue_overflow()
        told.wait_for("")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE, errno.ENOSYS])
def test_without_inotify_it_looks_everywhere_again_and_again(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(watching._Inotify, "_watch", refuse)
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.01)
    with caplog.at_level(logging.WARNING), watched(tmp_path) as (told, watch):
        told.wait_for("")
        assert watch.mode == f"polling: inotify cannot be used ([Errno {code}] {os.strerror(code)})"
    assert "looking every" in caplog.text


def test_on_network_file_systems_it_does_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "file_system", lambda _: "nfs4")
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.01)
    with watched(tmp_path) as (told, watch):
        told.wait_for("")
        assert watch.mode == "polling: changes made elsewhere are not announced on nfs4"


def test_file_systems() -> None:
    assert file_system(Path("/proc")) == "proc"
    assert [kind for kind in ("ext4", "tmpfs", "nfs4", "9p", "fuse.sshfs") if sees_every_change(kind)] == [
        "ext4",
        "tmpfs",
    ]


def test_stopping_ends_the_threads(tmp_path: Path) -> None:
    before = threading.active_count()
    with watched(tmp_path):
        assert threading.active_count() > before
    assert threading.active_count() == before


def test_one_reconciler_holds_a_folder(tmp_path: Path) -> None:
    first = FolderLease.acquire(tmp_path)
    assert first is not None
    with first:
        assert FolderLease.acquire(tmp_path) is None
        assert list(tmp_path.iterdir()) == []
    second = FolderLease.acquire(tmp_path)
    assert second is not None
    first.release()
    assert FolderLease.acquire(tmp_path) is None
    second.release()


def test_a_lease_ends_with_its_process(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0 if FolderLease.acquire(tmp_path) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    lease = FolderLease.acquire(tmp_path)
    assert lease is not None
    lease.release()


def test_a_lease_needs_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FolderLease.acquire(tmp_path / "missing")
