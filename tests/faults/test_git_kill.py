"""SIGKILL around every git step, and what a crash or a bad disk leaves in the clone: the next start goes on."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.faults.git_world import GitWorld, spec

pytestmark = pytest.mark.needs("git", "userns")

KILLED = -signal.SIGKILL
STEPS = ("clone.create", "clone.fetch", "clone.mark", "clone.commit", "clone.push")


@pytest.fixture
def world(tmp_path: Path) -> GitWorld:
    return GitWorld(tmp_path).make("victim")


def test_a_kill_before_and_after_every_git_step(world: GitWorld) -> None:
    """One start after the other is killed a little later on its way; the last one finishes."""
    before = world.upstream.tip
    for step in STEPS:
        for phase in ("before", "after"):
            killed = world.once(point=f"{phase}:{step}")
            assert killed.returncode == KILLED, f"{phase}:{step}: {killed.stdout}{killed.stderr}"
    again = world.once()
    assert again.returncode == 0, again.stderr
    world.check("victim")
    assert world.upstream.git("merge-base", before, "main") == before, "a user's commit is gone"
    assert world.upstream.read("README") == b"hello\n"


def test_locks_and_half_written_files_of_a_killed_git_are_cleared(world: GitWorld) -> None:
    assert world.once().returncode == 0
    for name in ("index.lock", "packed-refs.lock", "refs/remotes/origin/main.lock", "refs/fetchml/seen.lock"):
        (world.clone / name).write_text("")
    (world.clone / "objects" / "pack").mkdir(exist_ok=True)
    (world.clone / "objects" / "pack" / "tmp_pack_XXXX").write_text("half")
    stuck = subprocess.run(
        ["git", "-C", world.clone, "update-ref", "refs/fetchml/seen", "refs/remotes/origin/main"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "File exists" in stuck.stderr, "the locks stop nobody: the test tests nothing"
    world.upstream.put(
        {"specs/victim.yaml": world.upstream.read("specs/victim.yaml"), "specs/other.yaml": spec("other")}
    )
    assert world.once().returncode == 0
    world.check("other")
    assert not list(world.clone.rglob("*.lock"))
    assert not list(world.clone.rglob("tmp_*"))


def test_a_damaged_clone_is_thrown_away_and_made_again(world: GitWorld) -> None:
    assert world.once().returncode == 0
    for path in world.clone.glob("objects/??/*"):
        os.chmod(path, 0o644)  # noqa: PTH101  # it is a file of git
        path.write_bytes(b"not an object")
    world.upstream.put({"specs/other.yaml": spec("other")})
    assert world.once().returncode == 0
    world.check("victim")
    world.check("other")


def test_a_full_disk_at_a_git_step_is_told_and_tried_again(world: GitWorld) -> None:
    """Every step fails once as the kernel fails it; the same process tries again and gets there."""
    done = world.once(point=",".join(f"full:{step}" for step in STEPS[1:]))
    assert done.returncode == 0, done.stderr
    assert "DiskFull: " in done.stderr
    again = world.once()
    assert again.returncode == 0, again.stderr
    world.check("victim")
