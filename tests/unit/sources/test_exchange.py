"""Replacing a file that others edit: each race made to happen at its worst moment, each crash point recovered from."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from controller.ports import durable
from controller.sources import exchange, writers
from controller.sources.exchange import fate, recover_path
from tests.fakes.clock import FakeClock

OLD = b"what was read\n"
NEW = OLD + b"status: 1\n"
SAVE = b"what the user saved\n"
ALL_STEPS = (exchange.WRITE_TEMP, exchange.EXCHANGE, exchange.UNLINK_DISPLACED)


class Crash(BaseException):
    """The process dies here."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.yaml").write_bytes(OLD)
    return tmp_path


@pytest.fixture(autouse=True)
def _no_hook() -> Iterator[None]:
    yield
    durable.install_hook(None)


@pytest.fixture(params=["lease", "no lease"])
def leases(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param == "no lease":
        monkeypatch.setattr(writers, "hold", lambda _: writers.Hold.UNSUPPORTED)
    return bool(request.param == "lease")


def _without_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise exchange.NoExchangeError(errno.EINVAL, "no exchange here")

    monkeypatch.setattr(exchange, "swap_names", refuse)


def _replace(folder: Path, name: str = "a.yaml") -> bool:
    with ExitStack() as stack:
        descriptor = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        read = exchange.hold(stack, descriptor, name)
        return exchange.replace(stack, descriptor, name, read, read.data + b"status: 1\n", FakeClock()) is not None


def _at(when: str, step: str, do: Callable[[], object], *, times: int = 1) -> None:
    """Do something right before or after a durable step."""
    left = [times]

    def hook(now: str, name: str) -> None:
        if (now, name) == (when, step) and left[0]:
            left[0] -= 1
            do()

    durable.install_hook(hook)


def _save_by_rename(folder: Path, data: bytes = SAVE) -> None:
    (folder / "saved").write_bytes(data)
    (folder / "saved").rename(folder / "a.yaml")


def _files(folder: Path) -> dict[str, bytes]:
    return {item.name: item.read_bytes() for item in folder.iterdir()}


def test_nobody_else(folder: Path, leases: bool) -> None:
    assert _replace(folder)
    assert _files(folder) == {"a.yaml": NEW}


def test_mode_owner_and_attributes_are_kept(folder: Path) -> None:
    path = folder / "a.yaml"
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 2345)
    with suppress(OSError):  # a file system without attributes
        os.setxattr(path, "user.note", b"mine")
    before, noted = path.stat(), os.listxattr(path)
    assert _replace(folder)
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert os.listxattr(path) == noted


@pytest.mark.parametrize("step", [exchange.WRITE_TEMP, exchange.EXCHANGE])
def test_a_save_by_rename_before_the_exchange_survives(folder: Path, leases: bool, step: str) -> None:
    _at("before", step, lambda: _save_by_rename(folder))
    assert not _replace(folder)
    assert _files(folder) == {"a.yaml": SAVE}


@pytest.mark.parametrize("step", [exchange.WRITE_TEMP, exchange.EXCHANGE])
def test_a_save_in_place_before_the_exchange_survives(folder: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "hold", lambda _: writers.Hold.UNSUPPORTED)  # with a lease the editor has to wait
    _at("before", step, lambda: (folder / "a.yaml").write_bytes(SAVE))
    assert not _replace(folder)
    assert _files(folder) == {"a.yaml": SAVE}


def test_a_save_by_rename_after_the_exchange_stays_on_top(folder: Path, leases: bool) -> None:
    _at("after", exchange.EXCHANGE, lambda: _save_by_rename(folder))
    _replace(folder)
    assert _files(folder) == {"a.yaml": SAVE}


def test_two_saves_one_before_and_one_after_the_exchange(folder: Path, leases: bool) -> None:
    saves = [b"first\n", b"second\n", b"third\n"]

    def hook(when: str, name: str) -> None:
        if name == exchange.EXCHANGE and saves:
            _save_by_rename(folder, saves.pop(0))

    durable.install_hook(hook)
    assert not _replace(folder)
    assert _files(folder) == {"a.yaml": b"third\n"}


def test_an_editor_that_moves_ours_to_its_backup_keeps_its_save(folder: Path, leases: bool) -> None:
    """The save is displaced, and before it is put back the name is gone: vim renames first and creates then."""
    calls: list[str] = []

    def hook(when: str, name: str) -> None:
        calls.append(f"{when} {name}")
        if calls.count(f"before {exchange.EXCHANGE}") == 1 and calls[-1] == f"before {exchange.EXCHANGE}":
            _save_by_rename(folder)
        elif calls.count(f"before {exchange.EXCHANGE}") == 2 and calls[-1] == f"before {exchange.EXCHANGE}":
            (folder / "a.yaml").rename(folder / "a.yaml~")

    durable.install_hook(hook)
    assert not _replace(folder)
    assert _files(folder) == {"a.yaml": SAVE, "a.yaml~": NEW}


def test_a_file_deleted_before_the_exchange_stays_deleted(folder: Path, leases: bool) -> None:
    _at("before", exchange.EXCHANGE, (folder / "a.yaml").unlink)
    assert not _replace(folder)
    assert _files(folder) == {}


OPEN_AND_SAVE = """
import sys
print("ready", flush=True)
sys.stdin.readline()
with open(sys.argv[1], sys.argv[2]) as file:
    file.write("what the user saved\\n")
print("saved", flush=True)
"""


@pytest.mark.parametrize("mode", ["w", "a"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_editor_that_waits_to_open_the_file_writes_into_the_right_one(folder: Path, mode: str, moment: str) -> None:
    """The lease makes it wait inside open(), already with the old file: that must be back before the editor goes on."""
    command = [sys.executable, "-c", OPEN_AND_SAVE, str(folder / "a.yaml"), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as editor:
        assert editor.stdin is not None
        assert editor.stdout is not None
        editor.stdout.readline()

        def begin() -> None:
            assert editor.stdin is not None
            editor.stdin.write("go\n")
            editor.stdin.flush()
            _until_waiting(editor.pid)

        _at("before" if moment == "before" else "after", exchange.EXCHANGE, begin)
        _replace(folder)
        assert editor.stdout.readline() == "saved\n"
    base = {("w", "before"): b"", ("w", "after"): b"", ("a", "before"): OLD, ("a", "after"): NEW}[mode, moment]
    assert _files(folder) == {"a.yaml": base + SAVE}


def _until_waiting(pid: int) -> None:
    """Until the process sleeps inside open()."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if Path(f"/proc/{pid}/wchan").read_text() in {"__break_lease", "do_open", "0"}:
            time.sleep(0.05)
            if _in_open(pid):
                return
        time.sleep(0.005)
    raise AssertionError("the editor never came to wait")


def _in_open(pid: int) -> bool:
    number = Path(f"/proc/{pid}/syscall").read_text().split()[0]
    return number in {"257", "2", "56"}  # openat and open on x86-64, openat on arm64


def test_without_leases_an_editor_that_holds_the_displaced_file_keeps_its_save(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opened the file before the exchange and writes after it: the bytes differ, so the file goes back."""
    monkeypatch.setattr(writers, "hold", lambda _: writers.Hold.UNSUPPORTED)
    with (folder / "a.yaml").open("r+b") as editor:
        _at("after", exchange.EXCHANGE, lambda: (editor.truncate(0), editor.write(SAVE), editor.flush()))
        assert not _replace(folder)
    assert _files(folder) == {"a.yaml": SAVE}


def test_without_leases_a_moment_passes_before_the_displaced_file_goes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "hold", lambda _: writers.Hold.UNSUPPORTED)
    editor = (folder / "a.yaml").open("r+b")
    sleep = FakeClock.sleep

    def meanwhile(clock: FakeClock, seconds: float) -> None:
        if not editor.closed:
            editor.write(SAVE)
            editor.close()
        sleep(clock, seconds)

    monkeypatch.setattr(FakeClock, "sleep", meanwhile)
    assert not _replace(folder)
    assert _files(folder)["a.yaml"].startswith(SAVE)


def test_without_exchange_it_still_works(folder: Path, leases: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    _without_exchange(monkeypatch)
    assert _replace(folder)
    assert _files(folder) == {"a.yaml": NEW}


def test_without_exchange_a_save_before_the_last_check_survives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        _save_by_rename(folder)
        raise exchange.NoExchangeError(errno.EINVAL, "no exchange here")

    monkeypatch.setattr(exchange, "swap_names", refuse)
    assert not _replace(folder)
    assert _files(folder) == {"a.yaml": SAVE}


def test_without_exchange_a_save_in_place_after_the_rename_survives(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_exchange(monkeypatch)
    monkeypatch.setattr(writers, "hold", lambda _: writers.Hold.UNSUPPORTED)
    with (folder / "a.yaml").open("r+b") as editor:
        _at("after", exchange.EXCHANGE, lambda: (editor.truncate(0), editor.write(SAVE), editor.flush()), times=2)
        assert not _replace(folder)
    assert _files(folder) == {"a.yaml": SAVE}


def test_without_hard_links_it_still_works(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    _without_exchange(monkeypatch)
    monkeypatch.setattr(os, "link", refuse)
    assert _replace(folder)
    assert _files(folder) == {"a.yaml": NEW}


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ALL_STEPS)
def test_a_crash_at_any_step_leaves_what_the_next_start_puts_right(
    folder: Path, step: str, when: str, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        if plain:
            _without_exchange(patch)
        _crash(folder, when, step)
    for leftover in [name for name in _files(folder) if name != "a.yaml"]:
        assert recover_path(folder, leftover) is None
    assert _files(folder) in ({"a.yaml": OLD}, {"a.yaml": NEW})


def _crash(folder: Path, when: str, step: str) -> None:
    """In a child, so that no handler of ours runs."""
    pid = os.fork()
    if pid == 0:
        _at(when, step, lambda: os._exit(9), times=99)
        try:
            _replace(folder)
        finally:
            os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


def _leftover(folder: Path, data: bytes) -> str:
    name = exchange.leftover_name("a.yaml", OLD, NEW)
    (folder / name).write_bytes(data)
    return name


def test_a_save_that_a_crash_left_aside_is_put_back(folder: Path) -> None:
    (folder / "a.yaml").write_bytes(NEW)
    said = recover_path(folder, _leftover(folder, SAVE))
    assert said == "a.yaml was put back as it was saved before a crash"
    assert _files(folder) == {"a.yaml": SAVE}


def test_a_save_aside_is_kept_visibly_when_the_file_was_saved_again(folder: Path) -> None:
    (folder / "a.yaml").write_bytes(b"saved again\n")
    said = recover_path(folder, _leftover(folder, SAVE))
    (kept,) = _files(folder).keys() - {"a.yaml"}
    assert said is not None
    assert kept in said
    assert kept.startswith("a.yaml.recovered-")
    assert _files(folder) == {"a.yaml": b"saved again\n", kept: SAVE}


def test_what_is_ours_goes_whatever_the_file_became(folder: Path) -> None:
    for content in (OLD, NEW):
        for current in (OLD, NEW, SAVE, None):
            (folder / "a.yaml").unlink(missing_ok=True)
            if current is not None:
                (folder / "a.yaml").write_bytes(current)
            assert recover_path(folder, _leftover(folder, content)) is None
            assert _files(folder) == ({} if current is None else {"a.yaml": current})


def test_a_leftover_that_somebody_writes_into_is_left_for_later(folder: Path) -> None:
    (folder / "a.yaml").write_bytes(NEW)
    name = _leftover(folder, OLD)
    with (folder / name).open("r+b"):
        assert recover_path(folder, name) is None
        assert name in _files(folder)


def test_a_leftover_in_the_way_is_put_right_first(folder: Path) -> None:
    """The name says what the file should hold, so the same write meets the same name again."""
    _leftover(folder, SAVE)
    (folder / "a.yaml").write_bytes(OLD)
    assert _replace(folder)
    kept = {name: data for name, data in _files(folder).items() if name != "a.yaml"}
    assert list(kept.values()) == [SAVE]
    assert _files(folder)["a.yaml"] == NEW


@pytest.mark.parametrize(
    ("found", "current", "expected"),
    [
        ("read", "new", "remove"),
        ("new", "read", "remove"),
        ("read", "saved", "remove"),
        ("new", None, "remove"),
        ("saved", "saved", "remove"),
        ("saved", "new", "restore"),
        ("saved", "read", "keep"),
        ("saved", "other", "keep"),
        ("saved", None, "keep"),
    ],
)
def test_fate(found: str, current: str | None, expected: str) -> None:
    assert fate(found, current, "read", "new") == expected


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync", "fchmod"])
def test_a_write_that_fails_leaves_nothing(folder: Path, call: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match=os.strerror(code)):
        _replace(folder)
    monkeypatch.undo()
    assert _files(folder) == {"a.yaml": OLD}


def test_a_lease_tells_of_a_writer(folder: Path) -> None:
    path = folder / "a.yaml"
    descriptor = os.open(path, os.O_RDONLY)
    assert writers.probe(descriptor) is writers.Hold.HELD
    with path.open("ab"):
        assert writers.probe(descriptor) is writers.Hold.BUSY
    assert writers.hold(descriptor) is writers.Hold.HELD
    assert writers.intact(descriptor)
    waiter = threading.Thread(target=lambda: path.open("ab").close())
    waiter.start()
    deadline = time.monotonic() + 10
    while writers.intact(descriptor) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not writers.intact(descriptor)
    writers.release(descriptor)
    waiter.join()
    os.close(descriptor)
