"""Whose commit a spec rests on: signatures cannot be laundered through merges, reverts, picks and status commits."""

from pathlib import Path

import pytest

from controller.ports.inputs import Submission
from tests.fakes.repo import SPEC, Repo, new_repo, ready_repo

OTHER = SPEC.replace("[python, train.py]", "[python, other.py]")
STATUS = "status:\n  phase: Succeeded\n"


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return ready_repo(tmp_path / "repo")


def found(repo: Repo) -> Submission:
    """What the spec as it lies in the work tree rests on; the code's commit is left out (it is stated)."""
    return repo.inputs().submission(repo.document(), None)


def commits(repo: Repo) -> list[str]:
    """Ids only."""
    result = found(repo)
    assert not result.error, result.error
    return [oid for oid, _ in result.commits]


def save(repo: Repo, spec: str, message: str) -> str:
    """Commit another version of the spec."""
    repo.write(repo.spec, spec)
    return repo.commit(message)


def test_it_is_the_commit_that_brought_the_user_part(repo: Repo) -> None:
    first = repo.git("rev-parse", "HEAD")
    repo.commit("code", code__train__py="1")
    assert commits(repo) == [first]
    changed = save(repo, OTHER, "other")
    assert commits(repo) == [changed]
    assert found(repo).commits[0][1].startswith(b"tree ")
    assert found(repo).file_owner == (repo.root / repo.spec).stat().st_uid


def test_a_status_commit_brings_nothing(repo: Repo) -> None:
    first = repo.git("rev-parse", "HEAD")
    save(repo, SPEC + STATUS, "status [skip ci]")
    save(repo, SPEC + STATUS.replace("Succeeded", "Failed"), "status [skip ci]")
    assert commits(repo) == [first]


def test_a_status_commit_that_changes_the_user_part_too_brings_it(repo: Repo) -> None:
    smuggled = save(repo, OTHER + STATUS, "status [skip ci]")
    assert commits(repo) == [smuggled]


def test_a_revert_brings_the_old_version_again(repo: Repo) -> None:
    save(repo, OTHER, "other")
    repo.git("revert", "--no-edit", "HEAD")
    assert commits(repo) == [repo.git("rev-parse", "HEAD")]


def test_a_cherry_pick_by_somebody_else_is_theirs(repo: Repo) -> None:
    repo.git("checkout", "-q", "-b", "feature")
    signed = save(repo, OTHER, "other")
    repo.git("checkout", "-q", "main")
    repo.commit("meanwhile", code__train__py="2")
    repo.git("cherry-pick", signed)
    picked = repo.git("rev-parse", "HEAD")
    assert picked != signed
    assert commits(repo) == [picked]


def test_a_merge_of_a_branch_brings_nothing(repo: Repo) -> None:
    repo.git("checkout", "-q", "-b", "feature")
    signed = save(repo, OTHER, "other")
    repo.git("checkout", "-q", "main")
    repo.commit("meanwhile", code__train__py="2")
    repo.git("merge", "-q", "--no-edit", "feature")
    assert commits(repo) == [signed]


def test_a_merge_that_changes_the_spec_itself_brings_it(repo: Repo) -> None:
    repo.git("checkout", "-q", "-b", "feature")
    repo.commit("feature", code__new__py="2")
    repo.git("checkout", "-q", "main")
    repo.commit("meanwhile", code__train__py="2")
    repo.git("merge", "-q", "--no-commit", "feature")
    evil = save(repo, OTHER, "merge")
    assert len(repo.git("log", "-1", "--format=%P").split()) == 2
    assert commits(repo) == [evil]


def test_a_merge_that_brings_an_old_version_back_is_asked_for_its_own_signature(repo: Repo) -> None:
    """Signed once, replaced since: a side branch from before must not roll it back under the old signature."""
    repo.git("checkout", "-q", "-b", "old")
    repo.commit("side", code__side__py="2")
    repo.git("checkout", "-q", "main")
    save(repo, OTHER, "the fix")
    repo.git("merge", "-q", "--no-commit", "--no-ff", "old")
    back = save(repo, SPEC, "merge old, with the old spec")
    assert len(repo.git("log", "-1", "--format=%P").split()) == 2
    assert commits(repo) == [back]


def test_every_way_counts_where_several_brought_the_same(repo: Repo) -> None:
    """An unsigned revert is not healed by merging a branch that had the version all along."""
    first = repo.git("rev-parse", "HEAD")
    repo.git("checkout", "-q", "-b", "old")
    repo.commit("side", code__side__py="2")
    repo.git("checkout", "-q", "main")
    save(repo, OTHER, "the fix")
    repo.git("revert", "--no-edit", "HEAD")
    reverted = repo.git("rev-parse", "HEAD")
    repo.git("merge", "-q", "--no-edit", "old")
    assert set(commits(repo)) == {first, reverted}


def test_both_sides_of_a_conflict_make_the_merge_the_author(repo: Repo) -> None:
    repo.git("checkout", "-q", "-b", "feature")
    save(repo, OTHER, "theirs")
    repo.git("checkout", "-q", "main")
    save(repo, SPEC.replace("hello", "hello") + "  seed: 3\n", "ours")
    repo.git("merge", "-q", "-X", "theirs", "--no-commit", "feature")
    resolved = save(repo, OTHER, "resolved")
    assert commits(repo) == [resolved]


def test_whoever_moves_a_file_brings_it_to_its_new_place(repo: Repo) -> None:
    repo.git("mv", repo.spec, "specs/moved.yaml")
    moved = repo.commit("moved")
    there = Repo(repo.root, "specs/moved.yaml")
    assert commits(there) == [moved]


def test_one_document_of_several_is_followed_alone(repo: Repo) -> None:
    two = SPEC + "---\n" + SPEC.replace("hello", "second")
    first = repo.git("rev-parse", "HEAD")
    save(repo, two, "two")
    later = save(repo, two.replace("name: second", "name: second\n  labels: {a: b}"), "the second changed")
    assert [repo.inputs().submission(repo.document(name), None).commits[0][0] for name in ("hello", "second")] == [
        first,
        later,
    ]


def test_what_is_not_committed_rests_on_nothing(repo: Repo) -> None:
    repo.write(repo.spec, OTHER)
    assert "in no commit" in found(repo).error
    assert found(repo).commits == ()


def test_the_commit_of_the_code_counts_where_the_spec_does_not_state_one(repo: Repo) -> None:
    first = repo.git("rev-parse", "HEAD")
    code = repo.commit("code", code__train__py="1")
    result = repo.inputs().submission(repo.document(), repo.facts())
    assert [oid for oid, _ in result.commits] == [first, code]
    save(repo, SPEC.replace("path: code", f"path: code, commit: {code}"), "pinned")
    pinned = repo.git("rev-parse", "HEAD")
    result = repo.inputs().submission(repo.document(), repo.facts())
    assert [oid for oid, _ in result.commits] == [pinned]


def test_a_history_that_is_cut_off_shows_nothing(repo: Repo, tmp_path: Path) -> None:
    repo.commit("code", code__train__py="1")
    repo.git("clone", "-q", "--depth", "1", repo.root.as_uri(), str(tmp_path / "shallow"))
    assert "shallow" in found(Repo(tmp_path / "shallow")).error


@pytest.mark.parametrize("state", ["no repository", "no commit"])
def test_a_spec_outside_any_history_rests_on_nothing(tmp_path: Path, state: str) -> None:
    repo = new_repo(tmp_path / "fresh")
    if state == "no repository":
        (repo.root / ".git").rename(tmp_path / "elsewhere")
    assert found(repo).error
    assert found(repo).commits == ()


def test_an_approval_does_not_change_what_it_approves(repo: Repo) -> None:
    """Even where the code is the whole repository and its commit is left out."""
    save(repo, SPEC.replace("path: code", 'path: "."'), "everything")
    before = repo.facts()
    repo.write("approvals/default/hello/1.dsse.json", "one")
    assert repo.facts() == before, "it is no uncommitted change"
    repo.commit("approve")
    assert repo.facts().commit == before.commit
    repo.commit("code", approvals__train__py="2")
    assert repo.facts().commit != before.commit, "what is no approval is code like any other"


def test_approvals_are_plain_files_of_one_experiment(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "secret.dsse.json").write_text("secret")
    repo.write("approvals/default/hello/1.dsse.json", "one")
    repo.write("approvals/default/hello/note.txt", "no")
    repo.write("approvals/default/hello/large.dsse.json", "x" * 70_000)
    repo.write("approvals/default/other/2.dsse.json", "two")
    (repo.root / "approvals/default/hello/link.dsse.json").symlink_to(tmp_path / "secret.dsse.json")
    assert repo.inputs().approvals("default", "hello") == (b"one",)
    assert repo.inputs().approvals("default", "absent") == ()
