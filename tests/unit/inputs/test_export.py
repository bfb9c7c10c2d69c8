"""What a run gets of a commit."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.inputs.export import ExportError, export_tree
from controller.ports.inputs import SourceUnreadableError
from tests.fakes.repo import Repo

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    """Files made now are the user's alone."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def _export(repo: Repo, destination: Path, path: str = "code") -> Path:
    export_tree(str(repo.root), repo.git("rev-parse", "HEAD"), path, destination)
    return destination


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("narrow_umask")
def test_files_modes_links_and_times_are_the_commits(repo: Repo, tmp_path: Path) -> None:
    repo.write("code/run.sh", "#!/bin/sh\n").chmod(0o700)
    repo.write("code/sub/deep/data", b"\0\xff")
    (repo.root / "code/sub/link").symlink_to("../train.py")
    (repo.root / "code" / os.fsdecode(b"odd\n\xff")).write_bytes(b"odd")
    repo.commit()
    out = _export(repo, tmp_path / "out")
    assert (out / "sub/deep/data").read_bytes() == b"\0\xff"
    assert (out / "sub/link").read_text() == "print('hello')\n"
    assert (out / os.fsdecode(b"odd\n\xff")).read_bytes() == b"odd"
    modes = [_mode(out / name) for name in (".", "train.py", "run.sh", "sub", "sub/deep")]
    assert modes == [0o755, 0o644, 0o755, 0o755, 0o755]
    committed = int(repo.git("log", "-1", "--format=%ct"))
    assert {place.lstat().st_mtime_ns for place in (out, *out.rglob("*"))} == {committed * 10**9}


def test_the_work_tree_is_not_what_is_exported(repo: Repo, tmp_path: Path) -> None:
    repo.write("code/train.py", "changed")
    repo.write("code/new.py", "untracked")
    out = _export(repo, tmp_path / "out")
    assert [(place.name, place.read_text()) for place in out.iterdir()] == [("train.py", "print('hello')\n")]


def test_attributes_change_no_byte(repo: Repo, tmp_path: Path) -> None:
    repo.commit(**{".gitattributes": "* text eol=crlf ident\n", "code/a.txt": "line\n$Id$\n"})
    repo.git("config", "core.autocrlf", "true")
    assert (_export(repo, tmp_path / "out") / "a.txt").read_bytes() == b"line\n$Id$\n"


def test_an_empty_folder_is_filled_and_the_whole_tree_is_a_path_too(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    out = _export(repo, tmp_path / "out", ".")
    assert sorted(str(place.relative_to(out)) for place in out.rglob("*") if place.is_file()) == [
        ".gitignore",
        "code/train.py",
        "specs/hello.yaml",
    ]


def test_a_folder_in_use_is_left_alone(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("mine")
    with pytest.raises(ExportError, match="not an empty folder"):
        _export(repo, tmp_path / "out")
    assert [place.name for place in tmp_path.joinpath("out").iterdir()] == ["mine"]
    assert sorted(place.name for place in tmp_path.iterdir()) == ["out", "repo"]


def test_what_a_crash_left_is_replaced(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial/half").write_text("half")
    out = _export(repo, tmp_path / "out")
    assert [place.name for place in out.iterdir()] == ["train.py"]


def test_a_symlink_in_the_way_is_not_followed(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ExportError):
        _export(repo, tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("damage", [b"rubbish", b""])
def test_a_damaged_blob_fails_the_export_and_leaves_nothing(repo: Repo, tmp_path: Path, damage: bytes) -> None:
    oid = repo.git("rev-parse", "HEAD:code/train.py")
    place = repo.root / ".git/objects" / oid[:2] / oid[2:]
    place.chmod(0o644)
    place.write_bytes(damage)
    with pytest.raises(SourceUnreadableError, match=r"git fsck.*git fetch"):
        _export(repo, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_blob_with_the_bytes_of_another_is_noticed(repo: Repo, tmp_path: Path) -> None:
    other = repo.git("hash-object", "-w", "--stdin", data=b"print('evil!')\n")
    objects = repo.root / ".git/objects"
    oid = repo.git("rev-parse", "HEAD:code/train.py")
    place = objects / oid[:2] / oid[2:]
    place.chmod(0o644)
    place.write_bytes((objects / other[:2] / other[2:]).read_bytes())
    with pytest.raises(ExportError):
        _export(repo, tmp_path / "out")


def test_a_missing_commit_or_path_is_said(repo: Repo, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="not a folder"):
        _export(repo, tmp_path / "out", "nowhere")
    with pytest.raises(ExportError):
        export_tree(str(repo.root), "1234567890" * 4, "code", tmp_path / "out")


def test_hundreds_of_files(repo: Repo, tmp_path: Path) -> None:
    for number in range(600):
        repo.write(f"code/d{number % 20}/f{number}", str(number))
    repo.commit()
    out = _export(repo, tmp_path / "out")
    files = {str(place.relative_to(out)): place.read_text() for place in out.rglob("f*")}
    assert files == {f"d{number % 20}/f{number}": str(number) for number in range(600)}
