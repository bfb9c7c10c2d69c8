"""The fingerprint of refs moves when, and only when, git moves something that a refused spec may have waited for."""

from pathlib import Path

import pytest

from controller.inputs.refs import refs_fingerprint
from tests.fakes.repo import Repo, ready_repo


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = ready_repo(tmp_path / "repo")
    made.git("branch", "other")
    made.git("init", "-q", "--bare", str(tmp_path / "remote"))
    made.git("remote", "add", "origin", str(tmp_path / "remote"))
    made.git("push", "-q", "origin", "main")
    return made


def test_it_stays_while_nothing_moves(repo: Repo) -> None:
    before = refs_fingerprint(repo.root)
    repo.write("code/train.py", "print('edited')\n")
    repo.git("status")
    repo.git("log", "-1")
    assert refs_fingerprint(repo.root) == before
    assert before


@pytest.mark.parametrize(
    "words",
    [
        ("commit", "-q", "--allow-empty", "-m", "more"),
        ("checkout", "-q", "other"),
        ("push", "-q", "origin", "main:elsewhere"),
        ("branch", "third"),
        ("pack-refs", "--all"),
    ],
    ids=" ".join,
)
def test_it_moves_with(repo: Repo, words: tuple[str, ...]) -> None:
    before = refs_fingerprint(repo.root)
    repo.git(*words)
    assert refs_fingerprint(repo.root) != before


def test_it_works_in_a_worktree_and_from_a_folder_below(repo: Repo, tmp_path: Path) -> None:
    repo.git("worktree", "add", "-q", str(tmp_path / "tree"), "other")
    tree = Repo(tmp_path / "tree")
    before, main = refs_fingerprint(tree.root / "code"), refs_fingerprint(repo.root)
    tree.git("commit", "-q", "--allow-empty", "-m", "there")
    assert refs_fingerprint(tree.root / "code") != before
    assert refs_fingerprint(repo.root) != main, "its branches are the same"


def test_outside_a_repository_there_is_none(tmp_path: Path) -> None:
    assert refs_fingerprint(tmp_path) == ""
