"""`ml reconcile REPO` as people meet it: they push with git, and statuses come back as commits."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controller.api.documents import user_part_of
from controller.identity.commit_signing import ssh_public_key
from tests.e2e.cli import LIMIT, ML
from tests.faults.git_world import GitWorld, spec

pytestmark = pytest.mark.needs("git", "userns")


def wait_for(condition: Callable[[], object], said: Callable[[], str]) -> None:
    """Until it holds; what the reconciler said when it never does."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, said()
        time.sleep(0.05)


class Running:
    """A reconciler at work."""

    def __init__(self, world: GitWorld, errors: Path) -> None:
        self.world = world
        self._errors = errors

    @property
    def said(self) -> str:
        """Its standard error."""
        return self._errors.read_text()

    def says(self, text: str, times: int = 1) -> None:
        """Wait until it said that."""
        wait_for(lambda: self.said.count(text) >= times, lambda: self.said)

    def reaches(self, name: str, phase: str) -> None:
        """Wait until the pushed status says so."""
        wait_for(lambda: self.world.phase(name) == phase, lambda: self.said)


@contextmanager
def reconciling(world: GitWorld, *words: str) -> Iterator[Running]:
    """`ml reconcile REPO` until the block ends."""
    errors = world.folder / f"stderr-{time.monotonic_ns()}"
    with errors.open("w") as file:
        process = subprocess.Popen(
            [ML, "reconcile", str(world.upstream.root), *words],
            cwd=world.ops, env=world.environment(), stdout=file, stderr=file,
        )  # fmt: skip
    running = Running(world, errors)
    try:
        yield running
    finally:
        process.terminate()
        process.wait(timeout=LIMIT)
    assert process.returncode == 0, running.said
    assert "Traceback" not in running.said, running.said


def work_tree(world: GitWorld) -> Callable[..., str]:
    """A second person's clone; a function that runs git in it."""
    place = world.folder / "alice"
    subprocess.run(["git", "clone", "-q", str(world.upstream.root), str(place)], check=True)

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(place), *words], capture_output=True, text=True, check=True)
        return done.stdout

    return git


def test_push_run_status_pull_and_everything_that_people_do_to_a_branch(tmp_path: Path) -> None:
    world = GitWorld(tmp_path).make("first")
    git, place = work_tree(world), tmp_path / "alice"
    with reconciling(world) as running:
        running.reaches("first", "Succeeded")

        git("pull", "-q", "--ff-only")
        assert user_part_of((place / "specs/first.yaml").read_bytes()) == spec("first")
        (subject,) = {
            line for line in git("log", "--format=%s", "--author=fetchml").splitlines() if "Succeeded" in line
        }
        assert subject == "status of default/first: Succeeded [skip ci]"
        (public,) = (world.ops / "trust").glob("*.pub.pem")
        allowed = tmp_path / "allowed"
        allowed.write_text(f'fetchml@localhost namespaces="git" {ssh_public_key(public.read_bytes())}\n')
        git("-c", f"gpg.ssh.allowedSignersFile={allowed}", "verify-commit", "HEAD")
        with pytest.raises(subprocess.CalledProcessError):
            git(
                "-c",
                f"gpg.ssh.allowedSignersFile={allowed}",
                "verify-commit",
                git("rev-list", "--max-parents=0", "HEAD").strip(),
            )

        (place / "specs/broken.yaml").write_text("apiVersion: fetchml.dev/v1alpha1\nkind: Experiment\nspec: [\n")
        (place / "specs/second.yaml").write_bytes(spec("second"))
        git("add", "-A")
        git("commit", "-qm", "one good, one broken")
        git("push", "-q")
        running.says("specs/broken.yaml:")
        running.reaches("second", "Succeeded")

        git("fetch", "-q")
        git("reset", "-q", "--hard", "HEAD~1")
        (place / "specs/third.yaml").write_bytes(spec("third"))
        git("add", "-A")
        git("commit", "-qm", "another history")
        git("push", "-q", "--force")
        running.says("HistoryRewritten: ")
        running.reaches("third", "Succeeded")
        assert "another history" in world.upstream.log()
        assert "one good, one broken" not in world.upstream.log(), "a push of ours brought back what was taken away"

        world.upstream.git("update-ref", "-d", "refs/heads/main")
        running.says("BranchNotFound: ")
        git("pull", "-q", "--ff-only", str(world.clone), "refs/fetchml/seen")
        (place / "specs/fourth.yaml").write_bytes(spec("fourth"))
        git("add", "-A")
        git("commit", "-qm", "back again")
        git("push", "-q", "origin", "main")
        running.reaches("fourth", "Succeeded")
    assert len(list(world.ops.glob(".fetchml/experiments/*"))) == 4, "a run was started twice"


def test_statuses_on_a_branch_of_their_own_leave_the_specs_alone(tmp_path: Path) -> None:
    world = GitWorld(tmp_path).make("first")
    tip = world.upstream.tip
    done = world.once("--status-branch", "status")
    assert done.returncode == 0, done.stderr
    assert world.upstream.tip == tip
    assert b"phase: Succeeded" in world.upstream.read("specs/first.status.yaml", "status")
    assert world.upstream.git("ls-tree", "-r", "--name-only", "status").split() == ["specs/first.status.yaml"]
    commits = len(world.upstream.log("status"))
    assert world.once("--status-branch", "status").returncode == 0
    assert len(world.upstream.log("status")) == commits, "nothing changed, and yet there is a new commit"


def test_the_hook_wakes_a_reconciler_and_never_fails_a_push(tmp_path: Path) -> None:
    world = GitWorld(tmp_path).make("first")
    repo = str(world.upstream.root)
    installed = world.ml("hook", "install", repo)
    assert installed.returncode == 0, installed.stderr
    assert world.ml("hook", "install", repo).returncode == 0
    bell = world.upstream.root / "fetchml-look"
    assert not bell.exists()
    git, place = work_tree(world), tmp_path / "alice"
    for number in range(2):
        (place / f"{number}.txt").write_text("")
        git("add", "-A")
        git("commit", "-qm", "more")
        git("push", "-q")
        os.utime(bell, (1, 1)) if number == 0 else None
    assert bell.stat().st_mtime > 1, "the second push did not ring"
    hook = world.upstream.root / "hooks" / "post-receive"
    hook.write_text("#!/bin/sh\necho mine\n")
    refused = world.ml("hook", "install", repo)
    assert refused.returncode == 6
    assert "fetchml-look" in refused.stderr
    assert hook.read_text() == "#!/bin/sh\necho mine\n"


def test_what_is_wrong_with_an_address_is_said(tmp_path: Path) -> None:
    world = GitWorld(tmp_path).make("first")
    for address, words in {
        str(tmp_path / "alice-not-there.git"): "there is no such folder",
        "https://127.0.0.1:9/lab.git": "RemoteUnreachable: ",
        "file:///srv/lab.git": "write the path itself",
        "https://alice:secret@git.example.org/lab.git": "credential",
    }.items():
        done = world.ml("reconcile", address, "--once")
        assert words in done.stderr, done.stderr
        assert "secret" not in done.stderr
        assert "Traceback" not in done.stderr


def test_git_options_for_a_folder_are_wrong_usage(tmp_path: Path) -> None:
    world = GitWorld(tmp_path).make("first")
    (world.ops / "specs").mkdir()
    done = world.ml("reconcile", "specs", "--branch", "main")
    assert done.returncode == 2
    assert "--branch is for a git repository" in done.stderr


def test_a_spec_is_queued_as_a_commit_that_was_judged_as_it_is_pushed(tmp_path: Path) -> None:
    world = GitWorld(tmp_path).make("first")
    git, place = work_tree(world), tmp_path / "alice"
    (place / "drafts").mkdir()
    (place / "drafts" / "second.yaml").write_bytes(spec("second"))
    (place / "drafts" / "nowhere.yaml").write_bytes(spec("nowhere").replace(b"path: code", b"path: not-pushed"))
    before = world.upstream.tip

    def queue(name: str) -> "subprocess.CompletedProcess[str]":
        words = [ML, "queue", f"drafts/{name}.yaml", "--push"]
        return subprocess.run(
            words, cwd=place, env=world.environment(), capture_output=True, text=True, timeout=LIMIT, check=False
        )

    refused = queue("nowhere")
    assert refused.returncode == 4, refused.stderr
    assert "PathNotInCommit" in refused.stderr
    assert world.upstream.tip == before, "a refused spec was pushed"
    queued = queue("second")
    assert queued.returncode == 0, queued.stdout + queued.stderr
    assert world.upstream.read("specs/second.yaml") == spec("second")
    assert world.upstream.git("log", "-1", "--format=%an|%s", "main") == "Test|Queue second"
    assert world.upstream.git("rev-parse", "main^") == before
    assert "nothing was pushed" in queue("second").stdout
    (place / "drafts" / "second.yaml").write_bytes(spec("second") + b"  seed: 7\n")
    differs = queue("second")
    assert differs.returncode == 6
    assert "differs" in differs.stderr
    assert git("status", "--porcelain").split() == ["??", "drafts/"], "the work tree was touched"


def test_two_stores_on_one_repository_are_refused(tmp_path: Path) -> None:
    world = GitWorld(tmp_path).make("first")
    with reconciling(world) as running:
        running.reaches("first", "Succeeded")
        (tmp_path / "other").mkdir()
        second = subprocess.run(
            [ML, "reconcile", str(world.upstream.root), "--once"],
            cwd=tmp_path / "other", env=world.environment(), capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
    assert second.returncode == 6, second.stderr
    assert "another reconciler" in second.stderr
