"""Small files are written whole or not at all."""

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from controller.identity.safe_files import read_regular, replace_file, write_new


def _full(_handle: int) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "revoked"
    replace_file(path, b"old", mode=0o644)
    monkeypatch.setattr(os, "fsync", _full)
    for write in (write_new, replace_file):
        with pytest.raises(OSError, match="No space"):
            write(path, b"new", mode=0o644)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "revoked"]


def test_a_replacement_that_cannot_take_the_name_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "name" / "full").mkdir(parents=True)
    with pytest.raises(OSError, match="name"):
        replace_file(tmp_path / "name", b"new", mode=0o644)
    assert list(tmp_path.iterdir()) == [tmp_path / "name"]


def test_a_new_file_never_replaces_one(tmp_path: Path) -> None:
    write_new(tmp_path / "key", b"first", mode=0o600)
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "key", b"second", mode=0o600)
    assert read_regular(tmp_path / "key", 100, private=True) == b"first"
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]


def test_what_an_earlier_crash_left_does_not_stop_a_write(tmp_path: Path) -> None:
    (tmp_path / f".key.{os.getpid()}.tmp").write_bytes(b"half")
    write_new(tmp_path / "key", b"whole", mode=0o600)
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]


def test_a_file_at_the_limit_is_read_and_one_beyond_it_is_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    with pytest.raises(ValueError, match="more than 4 bytes"):
        read_regular(tmp_path / "file", 4)
