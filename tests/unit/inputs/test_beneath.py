"""Opening beneath a folder, and nowhere else."""

import os
from pathlib import Path

import pytest

from controller.inputs.beneath import UnsafePathError, descend, folder, kind_beneath, parts_of, read_beneath


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a file, and with links that lead out of it."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "real/file").write_bytes(b"mine")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "file-link").symlink_to(tmp_path / "secret/file")
    os.mkfifo(root / "fifo")
    return root


def test_a_real_file_is_read(root: Path) -> None:
    with folder(str(root)) as fd:
        assert read_beneath(fd, "real/file") == read_beneath(fd, b"real/file") == b"mine"


@pytest.mark.parametrize("path", ["file-link", "link/file", "fifo", "real", "absent"])
def test_nothing_else_is(root: Path, path: str) -> None:
    with folder(str(root)) as fd, pytest.raises(OSError, match=r"."):
        read_beneath(fd, path)


@pytest.mark.parametrize("parts", [["link"], ["link", "file"], ["file-link"]])
def test_a_link_is_named_as_one_and_not_entered(root: Path, parts: list[str]) -> None:
    with folder(str(root)) as fd:
        with pytest.raises(UnsafePathError) as caught:
            kind_beneath(fd, parts)
        assert caught.value.reason == "SymlinkInDataset"
        with pytest.raises(OSError, match=r"."), descend(fd, parts):
            pass


def test_no_descriptor_is_left_open(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # counts names only
    with folder(str(root)) as fd:
        for path in ("real/file", "link/file", "fifo", "absent/x"):
            try:
                read_beneath(fd, path)
            except OSError:
                continue
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  # counts names only


@pytest.mark.parametrize("path", ["/etc", "..", "a/../b", "a\0b"])
def test_a_path_that_leads_outside_has_no_parts(path: str) -> None:
    with pytest.raises(UnsafePathError):
        parts_of(path)
    assert parts_of("./a//b/") == ("a", "b")
