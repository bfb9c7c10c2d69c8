"""A repository that wants to run programs, or to write outside its folder.

Each guard is tested beside the same attack on plain git, so that no test passes because the attack is broken.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.inputs.export import ExportError, export_tree
from controller.inputs.gitcmd import git
from controller.inputs.trees import stays_inside
from tests.fakes.repo import Repo, blob, commit_code, raw_tree, tree

pytestmark = pytest.mark.needs("git")

Attack = Callable[[Repo, str], None]


def _program(repo: Repo) -> tuple[str, Path]:
    """A program that leaves a mark, and the mark."""
    mark = repo.root.parent / "mark"
    program = repo.root.parent / "program"
    program.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    program.chmod(0o755)
    return str(program), mark


def _fsmonitor(repo: Repo, program: str) -> None:
    repo.git("config", "core.fsmonitor", program)


def _filter(repo: Repo, program: str) -> None:
    (repo.root / ".git/info/attributes").write_text("* filter=evil\n")
    repo.git("config", "filter.evil.clean", program)
    repo.git("config", "filter.evil.smudge", program)
    repo.git("config", "filter.evil.process", program)


def _signature(repo: Repo, program: str) -> None:
    repo.git("config", "gpg.program", program)
    commit = repo.git("cat-file", "commit", "HEAD")
    head, _, message = commit.partition("\n\n")
    signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----"
    data = f"{head}\n{signature}\n\n{message}\n".encode()
    repo.git("update-ref", "HEAD", repo.git("hash-object", "-w", "-t", "commit", "--stdin", data=data))
    repo.git("config", "log.showSignature", "true")


ATTACKS = {
    "fsmonitor": (_fsmonitor, ["status"]),
    "filter": (_filter, ["status"]),
    "signature": (_signature, ["log", "-1"]),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_program_of_the_repositorys_settings_runs(repo: Repo, name: str, tmp_path: Path) -> None:
    program, mark = _program(repo)
    attack, trigger = ATTACKS[name]
    attack(repo, program)
    os.utime(repo.root / "code/train.py", (1, 1))
    repo.git(*trigger)
    assert mark.exists(), "the attack itself does not work"
    mark.unlink()
    os.utime(repo.root / "code/train.py", (2, 2))
    facts = repo.facts()
    source = repo.source()
    assert facts.commit
    assert source
    repo.inputs().export_source(repo.spec, source, facts.commit, tmp_path / "out")
    assert not mark.exists()
    assert (tmp_path / "out/train.py").read_text() == "print('hello')\n"


def test_a_missing_object_is_not_fetched(repo: Repo, tmp_path: Path) -> None:
    """A partial clone would run its remote's upload-pack."""
    program, mark = _program(repo)
    Path(program).write_text(f"#!/bin/sh\ntouch {mark}\nexit 1\n")
    missing = "1234567890" * 4
    repo.git("config", "core.repositoryFormatVersion", "1")
    repo.git("config", "extensions.partialClone", "origin")
    repo.git("remote", "add", "origin", str(tmp_path))
    repo.git("config", "remote.origin.promisor", "true")
    repo.git("config", "remote.origin.uploadpack", program)
    with pytest.raises(Exception, match="cat-file"):
        repo.git("cat-file", "-p", missing)
    assert mark.exists(), "the attack itself does not work"
    mark.unlink()
    status, _ = git(str(repo.root), "cat-file", "-p", missing, ok=(0, 1, 128))
    assert status == 128
    assert not mark.exists()


def test_a_work_tree_elsewhere_is_not_looked_at(repo: Repo) -> None:
    repo.git("config", "core.worktree", "/")
    assert repo.facts().dirty == ()


def _hostile_trees(repo: Repo) -> dict[str, str]:
    """Code trees that must never be exported, by what is wrong with them."""
    file, link, absolute = blob(repo, b"x"), blob(repo, b"../../outside"), blob(repo, b"/etc/passwd")
    up = raw_tree(repo, ("100644", b"outside", file))
    sneaky = blob(repo, b"real/../../outside")
    trees = {
        "symlink up": tree(repo, f"120000 blob {link}\tlink"),
        "symlink absolute": tree(repo, f"120000 blob {absolute}\tlink"),
        "symlink by way of another": tree(repo, f"120000 blob {sneaky}\tlink"),
        "submodule": tree(repo, f"160000 commit {repo.git('rev-parse', 'HEAD')}\tsub"),
        "dotdot": raw_tree(repo, ("40000", b"..", up)),
        "slash": raw_tree(repo, ("100644", b"../outside", file)),
        "empty name": raw_tree(repo, ("40000", b"", up)),
        "file and folder": raw_tree(repo, ("120000", b"a", blob(repo, b".")), ("40000", b"a", up)),
        "folder and file": raw_tree(repo, ("40000", b"a", up), ("120000", b"a", blob(repo, b"."))),
        "twice": raw_tree(repo, ("100644", b"a", file), ("100644", b"a", file)),
    }
    for name in (b".git", b".GIT", b".Git ", b".git.", b"git~1", ".g\u200cit".encode(), b".git::$INDEX_ALLOCATION"):
        trees[f"name {name!r}"] = raw_tree(repo, ("40000", name, up))
    return trees


def test_hostile_trees_are_named_in_the_facts_and_never_exported(repo: Repo, tmp_path: Path) -> None:
    first = repo.git("rev-parse", "HEAD")
    for what, code in _hostile_trees(repo).items():
        repo.git("update-ref", "refs/heads/main", first)
        commit = commit_code(repo, code)
        facts = repo.facts()
        assert facts.hostile or ("empty" in facts.error and not facts.exists), what
        with pytest.raises(ExportError):
            export_tree(str(repo.root), commit, "code", tmp_path / "run/out")
        left = list((tmp_path / "run").iterdir()) if (tmp_path / "run").exists() else []
        assert left == [], what
        assert not (tmp_path / "outside").exists(), what


@pytest.mark.parametrize(
    ("link", "target", "inside"),
    [
        (b"a", b"b", True),
        (b"a", b"./b/c", True),
        (b"a", b"nowhere", True),
        (b"d/a", b"../b", True),
        (b"d/e/a", b"../../b", True),
        (b"a", b".", True),
        (b"a", b"..", False),
        (b"a", b"../b", False),
        (b"d/a", b"../../b", False),
        (b"d/a", b"b/../../../c", False),
        (b"d/a", b"b/../c", False),
        (b"a", b"/b", False),
        (b"a", b"", False),
    ],
)
def test_where_a_symlink_may_point(link: bytes, target: bytes, inside: bool) -> None:
    assert stays_inside(link, target) is inside


def test_an_lfs_pointer_is_said_to_have_no_content(repo: Repo) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 12345\n"
    repo.commit(**{".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "code/model.bin": pointer})
    facts = repo.facts()
    assert len(facts.hostile) == 1
    assert "LFS" in facts.hostile[0]
