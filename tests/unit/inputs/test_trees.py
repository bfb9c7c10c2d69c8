"""The entries of a tree: the same as git's own listing, and an end to those that never end."""

import pytest

from controller.inputs import trees
from controller.inputs.gitcmd import GitError, Objects, git
from tests.fakes.repo import Repo

pytestmark = pytest.mark.needs("git")


def _list(repo: Repo, name: str = "HEAD:code") -> tuple[trees.Entry, ...] | None:
    with Objects(str(repo.root)) as objects:
        return trees.folder_at(*name.split(":"), objects)


def test_entries_are_those_of_git_in_its_order(repo: Repo) -> None:
    for path in ("code/b/c/deep.py", "code/b.py", "code/b-1", "code/a file", "code/line\nfeed", "code/ü"):
        repo.write(path, path)
    (repo.root / "code/run.sh").write_text("#!/bin/sh\n")
    (repo.root / "code/run.sh").chmod(0o755)
    (repo.root / "code/link").symlink_to("b.py")
    repo.commit()
    _, output = git(str(repo.root), "ls-tree", "-r", "-z", "--full-tree", "HEAD:code")
    entries = _list(repo)
    assert entries is not None
    assert [b"%b %b" % (entry.mode.encode(), entry.oid.encode()) for entry in entries] == [
        b" ".join(record.split(b"\t")[0].split(b" ")[::2]) for record in output.split(b"\0")[:-1]
    ]
    assert [entry.path for entry in entries] == [record.split(b"\t", 1)[1] for record in output.split(b"\0")[:-1]]


def test_a_file_is_no_folder_and_what_is_not_there_neither(repo: Repo) -> None:
    assert (_list(repo, "HEAD:code/train.py"), _list(repo, "HEAD:nowhere")) == (None, None)


def test_a_folder_that_names_itself_too_often_is_refused(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    oid = repo.git("rev-parse", "HEAD:code")
    for _ in range(12):
        names = "".join(f"040000 tree {oid}\t{name}\n" for name in "ab")
        oid = repo.git("mktree", data=names.encode())
    monkeypatch.setattr(trees, "MAX_ENTRIES", 1000)
    with Objects(str(repo.root)) as objects, pytest.raises(GitError, match="more than 1000 entries"):
        trees.list_tree((objects.get(oid) or ("", "", b""))[2], objects)


def test_a_tree_that_is_none_is_refused(repo: Repo) -> None:
    with Objects(str(repo.root)) as objects, pytest.raises(GitError, match="malformed"):
        trees.list_tree(b"100644 name", objects)


def test_a_missing_folder_is_an_error_that_names_it(repo: Repo) -> None:
    data = b"40000 lost\0" + bytes.fromhex("12" * 20)
    with Objects(str(repo.root)) as objects, pytest.raises(GitError, match="lost"):
        trees.list_tree(data, objects)
