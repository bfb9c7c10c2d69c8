"""Facts of the repository: which commit, what is dirty, what is pushed; never an exception."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from controller.inputs.gitcmd import git
from controller.inputs.local import InputSettings
from controller.inputs.worktree import LIMIT, read_listing
from tests.fakes.repo import SPEC, Repo, new_repo, ready_repo

pytestmark = pytest.mark.needs("git")

STATUS = "status:\n  phase: Running\n"


def test_a_committed_spec_has_its_commit_and_is_clean(repo: Repo) -> None:
    facts = repo.facts()
    assert facts.commit == repo.git("rev-parse", "HEAD")
    assert (facts.found, facts.exists, facts.reachable, facts.path_exists) == (True, True, True, True)
    assert (facts.stated, facts.dirty, facts.hostile, facts.error, facts.ref) == (False, (), (), "", "refs/heads/main")


@pytest.mark.parametrize(
    ("path", "content", "counts"),
    [
        ("README", "text", False),
        ("specs/other.yaml", SPEC.replace("hello", "other"), False),
        ("specs/hello.yaml", SPEC + STATUS, False),
        ("specs/hello.yaml", SPEC.replace("train.py", "eval.py"), True),
        ("code/new.py", "1", True),
        ("code/deep/down/new.py", "1", True),
        ("code/hello.status.yaml", "phase: Running", False),
    ],
)
def test_the_commit_is_the_newest_that_changed_the_user_part_or_the_path(
    repo: Repo, path: str, content: str, counts: bool
) -> None:
    first = repo.git("rev-parse", "HEAD")
    repo.write(path, content)
    second = repo.commit()
    facts = repo.facts()
    assert facts.commit == (second if counts else first)
    assert facts.dirty == ()


def test_a_status_commit_does_not_count_where_the_spec_lies_in_its_own_code(repo: Repo) -> None:
    spec = SPEC.replace("path: code", 'path: "."')
    first = repo.commit(specs__hello_yaml="", **{"specs__hello.yaml": spec})
    for phase in ("Queued", "Running", "Succeeded"):
        repo.commit(**{"specs__hello.yaml": f"{spec}status:\n  phase: {phase}\n"})
    facts = repo.facts()
    assert facts.commit == first
    assert facts.dirty == ()


def test_a_mode_change_counts(repo: Repo) -> None:
    (repo.root / "code/train.py").chmod(0o755)
    assert repo.commit() == repo.facts().commit


def test_a_deleted_file_counts(repo: Repo) -> None:
    repo.commit(code__extra="1")
    (repo.root / "code/extra").unlink()
    assert repo.commit() == repo.facts().commit


def test_a_merge_that_joins_two_changes_of_the_path_is_the_newest(repo: Repo) -> None:
    repo.git("checkout", "-q", "-b", "side")
    repo.commit(code__side="1")
    repo.git("checkout", "-q", "main")
    repo.commit(code__main="1")
    repo.git("merge", "-q", "--no-edit", "side")
    facts = repo.facts()
    assert facts.commit == repo.git("rev-parse", "HEAD")
    assert facts.dirty == ()


def test_a_merge_that_took_one_side_as_it_was_leads_to_that_side(repo: Repo) -> None:
    repo.git("checkout", "-q", "-b", "side")
    theirs = repo.commit(code__side="1")
    repo.git("checkout", "-q", "main")
    repo.commit(**{"specs__hello.yaml": SPEC + STATUS})
    repo.git("merge", "-q", "--no-edit", "side")
    assert repo.facts().commit == theirs


def test_only_the_document_of_a_file_with_several_counts(repo: Repo) -> None:
    first, other = SPEC, SPEC.replace("name: hello", "name: other").replace("path: code", "path: specs/none")
    wrote = repo.git("rev-parse", "HEAD")
    repo.commit(**{"specs__hello.yaml": f"{first}---\n{other}"})
    changed = repo.commit(**{"specs__hello.yaml": f"{first}---\n{other.replace('train', 'eval')}"})
    assert (repo.facts("hello").commit, repo.facts("other").commit) == (wrote, changed)


def test_a_spec_without_source_still_has_its_commit(repo: Repo) -> None:
    bare = SPEC.replace("  source:\n    git: {path: code}\n", "")
    commit = repo.commit(**{"specs__hello.yaml": bare})
    repo.write("code/train.py", "changed")
    facts = repo.facts()
    assert (facts.commit, facts.dirty, facts.path_exists) == (commit, (), True)


@pytest.mark.parametrize(
    ("path", "content", "dirty"),
    [
        ("code/train.py", "other", ("code/train.py",)),
        ("code/new.py", "untracked", ("code/new.py",)),
        ("code/ignored.bin", "x", ()),
        ("code/hello.status.yaml", "phase: Running", ()),
        ("README", "unrelated", ()),
        ("specs/other.yaml", "unrelated", ()),
        ("specs/hello.yaml", SPEC + STATUS, ()),
        ("specs/hello.yaml", SPEC + "# a comment\n", ("specs/hello.yaml",)),
        (".fetchml/state.db", "x", ()),
    ],
)
def test_what_is_dirty(repo: Repo, path: str, content: str, dirty: tuple[str, ...]) -> None:
    repo.write(path, content)
    assert repo.facts().dirty == dirty


def test_our_own_folder_is_never_dirty_even_where_it_is_not_ignored(repo: Repo) -> None:
    repo.write(".gitignore", "")
    repo.commit(**{"specs__hello.yaml": SPEC.replace("path: code", 'path: "."')})
    repo.write(".fetchml/state.db", "x")
    assert repo.facts().dirty == ()


def test_a_removed_staged_linked_or_executable_file_is_dirty(repo: Repo) -> None:
    repo.commit(code__a="1", code__b="2", code__c="3", code__d="4")
    code = repo.root / "code"
    (code / "a").unlink()
    (code / "b").unlink()
    (code / "b").symlink_to("c")
    (code / "c").chmod(0o755)
    repo.write("code/e", "staged")
    repo.git("add", "code/e")
    assert set(repo.facts().dirty) == {"code/a", "code/b", "code/c", "code/e"}


def test_a_folder_replaced_by_a_symlink_is_dirty_and_not_followed(repo: Repo, tmp_path: Path) -> None:
    repo.commit(code__sub__f="1")
    shutil.copytree(repo.root / "code/sub", tmp_path / "elsewhere")
    shutil.rmtree(repo.root / "code/sub")
    (repo.root / "code/sub").symlink_to(tmp_path / "elsewhere")
    assert "code/sub/f" in repo.facts().dirty


def test_a_touched_file_is_clean(repo: Repo) -> None:
    os.utime(repo.root / "code/train.py", (1, 1))
    assert repo.facts().dirty == ()


def test_a_file_no_older_than_the_index_is_not_believed_by_its_stat(repo: Repo) -> None:
    """git's racy rule: it may have been written again in the tick in which the index was."""
    _, output = git(str(repo.root), "ls-files", "-z", "-t", "--stage", "--debug", "--others", "--", "code")
    index, _ = read_listing(output)
    entry, now = index[b"code/train.py"], (repo.root / "code/train.py").stat()
    assert entry.matches(now, entry.mtime + 1)
    assert not entry.matches(now, entry.mtime)


def test_an_edit_that_keeps_size_and_mtime_is_seen(repo: Repo) -> None:
    file, index = repo.root / "code/train.py", repo.root / ".git/index"
    before = file.stat()
    with file.open("r+b") as stream:
        stream.write(b"PRINT")
    os.utime(file, ns=(before.st_mtime_ns, before.st_mtime_ns))
    repo.git("update-index", "--assume-unchanged", "code/train.py")
    os.utime(index, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert repo.facts().dirty == ("code/train.py",)


def test_at_most_twenty_dirty_paths_are_named(repo: Repo) -> None:
    for number in range(30):
        repo.write(f"code/{number}", "x")
    assert len(repo.facts().dirty) == LIMIT


def test_a_file_left_out_by_a_sparse_checkout_is_not_dirty(repo: Repo) -> None:
    repo.commit(code__big__data="1")
    repo.git("sparse-checkout", "set", "--no-cone", "/*", "!/code/big/")
    assert not (repo.root / "code/big/data").exists()
    assert repo.facts().dirty == ()


def test_a_name_that_is_no_utf8_is_named_in_valid_text(repo: Repo) -> None:
    (repo.root / "code" / os.fsdecode(b"\xff")).write_bytes(b"x")
    dirty = repo.facts().dirty
    assert dirty == ("code/\\xff",)
    assert replace(repo.facts(), dirty=dirty).dirty[0].encode()


def test_pushed_means_contained_in_a_remote_tracking_ref(repo: Repo, tmp_path: Path) -> None:
    assert (repo.facts().has_remote, repo.facts().pushed) == (False, False)
    repo.git("init", "-q", "--bare", str(tmp_path / "remote"))
    repo.git("remote", "add", "origin", str(tmp_path / "remote"))
    assert (repo.facts().has_remote, repo.facts().pushed) == (True, False)
    repo.git("push", "-q", "origin", "main")
    assert (repo.facts().has_remote, repo.facts().pushed) == (True, True)
    repo.commit(README="unrelated, not pushed")
    assert repo.facts().pushed
    repo.commit(code__new="1")
    assert not repo.facts().pushed


def _state(repo: Repo, commit: str) -> None:
    repo.commit(**{"specs__hello.yaml": SPEC.replace("{path: code}", f"{{path: code, commit: '{commit}'}}")})


def test_a_stated_commit_is_held_against_the_ref_and_the_tree_against_what_is_checked_out(repo: Repo) -> None:
    first = repo.git("rev-parse", "HEAD")
    repo.commit(code__later="1")
    _state(repo, first)
    facts = repo.facts()
    assert (facts.commit, facts.stated, facts.exists, facts.reachable, facts.dirty) == (first, True, True, True, ())
    repo.write("code/later", "changed")
    assert repo.facts().dirty == ("code/later",)


def test_a_stated_commit_on_another_branch_is_not_reachable(repo: Repo) -> None:
    repo.git("checkout", "-q", "-b", "side")
    side = repo.commit(code__side="1")
    repo.git("checkout", "-q", "main")
    _state(repo, side)
    assert (repo.facts().exists, repo.facts().reachable) == (True, False)
    assert repo.facts(settings=InputSettings(ref="side")).reachable


def test_a_stated_commit_that_is_not_there(repo: Repo) -> None:
    _state(repo, "1234567890" * 4)
    facts = repo.facts()
    assert (facts.found, facts.exists, facts.reachable, facts.error) == (True, False, False, "")


def test_an_object_that_is_no_commit_is_said_to_be_none(repo: Repo) -> None:
    _state(repo, repo.git("rev-parse", "HEAD^{tree}"))
    facts = repo.facts()
    assert not facts.exists
    assert "is a tree, not a commit" in facts.error


def test_a_path_that_the_commit_lacks(repo: Repo) -> None:
    repo.commit(**{"specs__hello.yaml": SPEC.replace("path: code", "path: nowhere")})
    assert not repo.facts().path_exists
    repo.commit(**{"specs__hello.yaml": SPEC.replace("path: code", "path: code/train.py")})
    assert not repo.facts().path_exists


def test_a_spec_never_committed_has_no_commit_and_is_dirty(repo: Repo) -> None:
    repo.git("rm", "-q", "--cached", repo.spec)
    repo.git("rm", "-q", "-r", "--cached", "code")
    repo.git("commit", "-q", "--amend", "-m", "without")
    facts = repo.facts()
    assert (facts.found, facts.commit, facts.exists) == (True, None, False)
    assert set(facts.dirty) == {"specs/hello.yaml", "code/train.py"}


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    facts = new_repo(tmp_path).facts()
    assert (facts.found, facts.commit) == (True, None)
    assert "git commit" in facts.error


def test_no_repository(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.write(repo.spec, SPEC)
    facts = repo.facts()
    assert not facts.found
    assert "git init" in facts.error
    assert repo.inputs().git_facts(repo.document(), None) is None


def test_another_repository_is_refused_with_what_to_do(repo: Repo) -> None:
    repo.write(repo.spec, SPEC.replace("{path: code}", '{repo: "https://example.org/code", path: code}'))
    facts = repo.facts()
    assert not facts.found
    assert 'repo: "."' in facts.error


def test_a_detached_head_is_a_ref_too(repo: Repo) -> None:
    repo.git("checkout", "-q", "--detach")
    facts = repo.facts()
    assert (facts.ref, facts.reachable, facts.commit) == ("HEAD", True, repo.git("rev-parse", "HEAD"))


def test_a_ref_that_is_not_there_is_said(repo: Repo) -> None:
    facts = repo.facts(settings=InputSettings(ref="refs/heads/none"))
    assert facts.commit is None
    assert "refs/heads/none" in facts.error
    assert not repo.facts(settings=InputSettings(ref="--upload-pack=x")).found


def test_a_linked_worktree(repo: Repo, tmp_path: Path) -> None:
    repo.git("worktree", "add", "-q", str(tmp_path / "linked"), "-b", "linked")
    linked = Repo(tmp_path / "linked")
    assert linked.facts().commit == repo.git("rev-parse", "HEAD")
    linked.write("code/train.py", "changed")
    assert (linked.facts().dirty, repo.facts().dirty) == (("code/train.py",), ())


def test_a_shallow_clone_cannot_tell_the_newest_commit_at_its_edge(repo: Repo, tmp_path: Path) -> None:
    repo.commit(README="unrelated")
    repo.git("clone", "-q", "--depth=1", f"file://{repo.root}", str(tmp_path / "clone"))
    clone = Repo(tmp_path / "clone")
    facts = clone.facts()
    assert facts.commit is None
    assert "--unshallow" in facts.error
    clone.commit(code__new="1")
    assert clone.facts().commit == clone.git("rev-parse", "HEAD")


def test_sha256_repositories_are_refused_clearly(tmp_path: Path) -> None:
    repo = new_repo(tmp_path, "--object-format=sha256")
    repo.commit()
    facts = repo.facts()
    assert not facts.found
    assert "sha256" in facts.error


@pytest.mark.needs("root")
def test_a_repository_of_somebody_else_is_refused_in_gits_words(repo: Repo, tmp_path: Path) -> None:
    os.chown(repo.root, 12345, 12345)
    facts = repo.facts()
    assert not facts.found
    assert "dubious ownership" in facts.error


def _object(repo: Repo, name: str) -> Path:
    oid = repo.git("rev-parse", name)
    return repo.root / ".git/objects" / oid[:2] / oid[2:]


@pytest.mark.parametrize("name", ["HEAD", "HEAD^{tree}", "HEAD:code", "HEAD:specs/hello.yaml"])
def test_a_damaged_object_is_a_fact_not_an_exception(repo: Repo, name: str) -> None:
    place = _object(repo, name)
    place.chmod(0o644)
    place.write_bytes(b"rubbish")
    facts = repo.facts()
    assert facts.error
    assert not facts.exists


def test_replaced_objects_and_grafts_are_ignored(repo: Repo) -> None:
    first = repo.git("rev-parse", "HEAD")
    second = repo.commit(code__new="1")
    repo.git("replace", second, first)
    (repo.root / ".git/info/grafts").write_text(f"{second}\n")
    assert repo.facts().commit == second
    assert repo.facts().dirty == ()
    _state(repo, first)
    assert repo.facts().reachable


def test_git_in_the_callers_environment_changes_nothing(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ready_repo(tmp_path / "other")
    other.commit(code__x="1")
    monkeypatch.setenv("GIT_DIR", str(other.root / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.root / ".git/index"))
    facts = repo.facts()
    monkeypatch.undo()
    assert facts.commit == repo.git("rev-parse", "HEAD")


@pytest.mark.parametrize("name", ["HEAD", "HEAD^{tree}", "HEAD:code"])
def test_a_damaged_object_is_said_to_be_damaged_not_absent(repo: Repo, name: str) -> None:
    oid = repo.git("rev-parse", name)
    place = repo.root / ".git/objects" / oid[:2] / oid[2:]
    place.chmod(0o644)
    place.write_bytes(b"rubbish")
    facts = repo.facts()
    assert facts.unreadable
    assert facts.error
    assert not facts.exists
