"""A repository of its own for a re-run: it borrows objects, and the lender is only read."""

import subprocess
from pathlib import Path

import pytest

from controller.inputs.gitcmd import GitError
from controller.inputs.scratch import holds, make_repository
from tests.fakes.repo import Repo

pytestmark = pytest.mark.needs("git")
FILES = {"specs/rerun.yaml": b"spec\n", "trust/a.pem": b"key\n", ".gitignore": b".fetchml/\n"}


def test_one_commit_on_top_of_the_recorded_one(repo: Repo, tmp_path: Path) -> None:
    recorded = repo.git("rev-parse", "HEAD")
    repo.commit(**{"code__train.py": "print('later')\n"})
    make_repository(tmp_path / "again", FILES, lender=repo.root, parent=recorded)
    made = Repo(tmp_path / "again")
    assert made.git("rev-parse", "HEAD^") == recorded
    assert made.git("ls-tree", "-r", "--name-only", "HEAD").splitlines() == sorted(FILES)
    assert made.git("status", "--porcelain") == ""
    assert made.git("show", f"{recorded}:code/train.py") == "print('hello')"
    assert holds(made.root, recorded, "code/train.py")
    assert not holds(made.root, recorded, "code/other.py")


def test_without_a_repository_to_borrow_from(tmp_path: Path) -> None:
    make_repository(tmp_path / "again", FILES, lender=None, parent=None)
    assert Repo(tmp_path / "again").git("rev-list", "--count", "HEAD") == "1"


def test_a_commit_that_is_not_there_leaves_no_place(repo: Repo, tmp_path: Path) -> None:
    with pytest.raises(GitError, match="git fetch"):
        make_repository(tmp_path / "again", FILES, lender=repo.root, parent="a" * 40)
    tree = repo.git("rev-parse", "HEAD^{tree}")
    with pytest.raises(GitError, match="no commit"):
        make_repository(tmp_path / "again", FILES, lender=repo.root, parent=tree)
    assert not (tmp_path / "again").exists()


def test_what_a_killed_call_left_is_cleared_away(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / ".again.tmp" / "half").mkdir(parents=True)
    make_repository(tmp_path / "again", FILES, lender=repo.root, parent=repo.git("rev-parse", "HEAD"))
    assert not (tmp_path / ".again.tmp").exists()
    assert not (tmp_path / "again" / "half").exists()


def test_the_lender_is_only_read_and_nothing_of_it_runs(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, program = tmp_path / "mark", tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    program.chmod(0o755)
    repo.commit(**{"code__train.py": "print('x')\n", ".gitattributes": "* filter=evil\n"})
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    for hook in ("post-checkout", "pre-commit", "post-commit", "reference-transaction"):
        (hooks / hook).write_text(program.read_text())
        (hooks / hook).chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(
        f'[user]\n\tname = x\n\temail = x@y\n[init]\n\ttemplateDir = {tmp_path / "template"}\n'
        f'[commit]\n\tgpgSign = true\n[gpg]\n\tprogram = {program}\n[core]\n\thooksPath = {hooks}\n'
        f'[filter "evil"]\n\tsmudge = {program}\n\tclean = {program}\n'
    )  # fmt: skip
    head, refs = repo.git("rev-parse", "HEAD"), repo.git("for-each-ref")
    before = sorted(path for path in (repo.root / ".git").rglob("*"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    subprocess.run(["git", "clone", "-q", str(repo.root), str(tmp_path / "plain")], check=False, capture_output=True)
    assert mark.exists(), "the attack works on plain git"
    mark.unlink()
    make_repository(tmp_path / "again", FILES, lender=repo.root, parent=head)
    assert not mark.exists()
    assert sorted(path for path in (repo.root / ".git").rglob("*")) == before
    assert repo.git("for-each-ref") == refs
    assert not (tmp_path / "again" / ".git" / "hooks").exists()
