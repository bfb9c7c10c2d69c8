"""SIGKILL around every git step, and what a crash or a bad disk leaves in the clone: the next start goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cli import LIMIT
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


FULL = """
import os, subprocess, sys
from pathlib import Path
from controller.inventory.clock import SystemClock
from controller.ports.repository import RepositoryTroubleError
from controller.ports.source import Key
from controller.sources.git import Branches, BranchSource
from tests.fakes.upstream import Upstream

disk, upstream = Path(sys.argv[1]), Upstream(Path(sys.argv[2]))
source = BranchSource(upstream.clone(disk, SystemClock()), Branches("main", "specs"), SystemClock())
source.poll()
upstream.put({"big": os.urandom(4 * 2**20), "specs/other.yaml": Path(sys.argv[3]).read_bytes()})
change = source.poll()
assert (change.stalled, change.keys) == ("DiskFull", frozenset()), change
assert not list(disk.rglob("tmp_*")), "half a pack keeps the disk full"
(document,) = source.get(Key("Experiment", "default", "victim"))
with open(disk / "ballast", "ab", buffering=0) as ballast:
    try:
        while True:
            ballast.write(bytes(4096))
    except OSError:
        pass
source.write_status(document, {"phase": "Running"})
try:
    source.flush()
    raise SystemExit("a commit was made on a full disk")
except RepositoryTroubleError as trouble:
    assert trouble.reason in ("DiskFull", "RepositoryFailed"), trouble
subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
change = source.poll()
assert (change.stalled, {key.name for key in change.keys}) == ("", {"other"}), change
assert source.flush() == 1
"""


@pytest.mark.needs("tmpfs")
def test_a_disk_that_is_really_full(world: GitWorld) -> None:
    disk = world.folder / "disk"
    disk.mkdir()
    (world.folder / "other.yaml").write_bytes(spec("other"))
    (world.folder / "full.py").write_text(FULL)
    script = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" "$3" "$1" "$4" "$5"'
    words = [disk, sys.executable, world.folder / "full.py", world.upstream.root, world.folder / "other.yaml"]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *map(str, words)],
        env=world.environment(), capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"phase: Running" in world.upstream.read("specs/victim.yaml")
