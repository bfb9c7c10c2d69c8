"""What a branch would change: against the merge base, without running anything of the repository."""

import os
from pathlib import Path

import pytest

from controller.inputs.proposed import MAX_SPEC, Changed, proposal
from tests.fakes.repo import SPEC, Repo

pytestmark = pytest.mark.needs("git")
OTHER = SPEC.replace("name: hello", "name: other")


@pytest.fixture
def branch(repo: Repo) -> Repo:
    """On topic, which left main at its tip."""
    repo.git("checkout", "-q", "-b", "topic")
    return repo


def test_nothing_changed(branch: Repo) -> None:
    found = proposal(branch.root, "main")
    assert (found.specs, found.files, found.same) == ((), (), ("specs/hello.yaml",))
    assert found.base == branch.git("rev-parse", "main")


def test_added_changed_removed_committed_or_not(branch: Repo) -> None:
    branch.commit(**{"specs__other.yaml": OTHER})
    branch.write("specs/hello.yaml", SPEC + "  seed: 1\n")
    found = proposal(branch.root / "specs", "main")
    assert found.specs == (
        Changed("specs/hello.yaml", SPEC.encode(), (SPEC + "  seed: 1\n").encode()),
        Changed("specs/other.yaml", None, OTHER.encode()),
    )
    (branch.root / "specs" / "hello.yaml").unlink()
    assert Changed("specs/hello.yaml", SPEC.encode(), None) in proposal(branch.root, "main").specs


def test_what_the_other_branch_did_meanwhile_is_not_ours(branch: Repo) -> None:
    branch.git("checkout", "-q", "main")
    branch.commit(**{"specs__late.yaml": OTHER})
    branch.git("checkout", "-q", "topic")
    assert proposal(branch.root, "main").specs == ()


def test_only_what_lies_beneath_the_path(branch: Repo) -> None:
    branch.write("specs/deep/a.yaml", OTHER)
    branch.write("elsewhere/b.yaml", OTHER)
    branch.write(".github/workflows/ci.yaml", "fetchml.dev/v1alpha1")
    branch.write("specs/plain.yaml", "services: {}\n")
    branch.write("specs/hello.status.yaml", "fetchml.dev/v1alpha1")
    branch.commit()
    assert [file.path for file in proposal(branch.root / "specs", "main").specs] == ["specs/deep/a.yaml"]
    everything = proposal(branch.root, "main")
    assert [file.path for file in everything.specs] == ["elsewhere/b.yaml", "specs/deep/a.yaml"]
    assert "specs/plain.yaml" in everything.files
    assert [file.path for file in proposal(branch.root / "elsewhere" / "b.yaml", "main").specs] == ["elsewhere/b.yaml"]


def test_code_that_changed_is_listed(branch: Repo) -> None:
    branch.commit(**{"code__train.py": "print('bye')\n"})
    assert proposal(branch.root, "main").files == ("code/train.py",)


@pytest.mark.parametrize("ref", ["nothing", "--upload-pack=touch canary", "-h", "main..topic", ""])
def test_what_names_no_commit_is_said(branch: Repo, ref: str, tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        proposal(branch.root, ref)
    assert not list(branch.root.rglob("canary"))


def test_no_common_history_and_no_repository(branch: Repo, tmp_path: Path) -> None:
    branch.git("checkout", "-q", "--orphan", "island")
    branch.git("commit", "-qm", "island")
    with pytest.raises(LookupError, match="git fetch"):
        proposal(branch.root, "main")
    with pytest.raises(LookupError, match="no git repository"):
        proposal(tmp_path, "main")


def test_links_and_huge_files_are_not_read(branch: Repo, tmp_path: Path) -> None:
    secret = tmp_path / "secret.yaml"
    secret.write_text(OTHER)
    (branch.root / "specs" / "link.yaml").symlink_to(secret)
    (branch.root / "linked").symlink_to(tmp_path, target_is_directory=True)
    branch.write("specs/huge.yaml", OTHER + "#" * MAX_SPEC)
    branch.commit()
    assert proposal(branch.root, "main").specs == ()


def test_no_program_of_the_repositorys_settings_runs(branch: Repo, tmp_path: Path) -> None:
    mark, program = tmp_path / "mark", tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    program.chmod(0o755)
    (branch.root / ".git" / "info" / "attributes").write_text("* filter=evil diff=evil\n")
    for key in ("filter.evil.clean", "diff.external", "diff.evil.textconv", "diff.evil.command", "core.fsmonitor"):
        branch.git("config", key, str(program))
    branch.write("specs/hello.yaml", SPEC + "  seed: 1\n")
    branch.git("diff", "main")
    assert mark.exists(), "the attack works on plain git"
    mark.unlink()
    assert [file.path for file in proposal(branch.root, "main").specs] == ["specs/hello.yaml"]
    assert not mark.exists()


def test_a_name_that_is_not_utf_8_is_read_too(branch: Repo) -> None:
    name = os.fsdecode(b"specs/\xff.yaml")
    (branch.root / name).write_text(OTHER)
    branch.commit()
    assert [file.path for file in proposal(branch.root, "main").specs] == [name]
