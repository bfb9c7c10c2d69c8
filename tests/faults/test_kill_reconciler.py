"""SIGKILL of the reconciler before and after every durable step, then one resync: nothing lost, doubled or left behind.

The points of a plain run are found by tracing one; every registered step must be killed by some test here (or in the
tests named in ELSEWHERE), or `test_every_registered_step_is_killed` fails.
"""

import importlib
import json
import os
import pkgutil
import signal
import subprocess
from pathlib import Path

import pytest

import controller
from controller.ports import durable
from tests.faults.world import SPEC, World, check_after_recovery

KILLED = -signal.SIGKILL

RUN = {
    "store.create": 1,
    "store.lease": 1,
    "store.observe": 1,
    "store.intend": 1,
    "store.commit": 9,
    "inputs.environment_ready": 1,
    "inputs.export": 1,
    "run.write_record": 7,
    "process.create": 1,
    "store.advance.created": 1,
    "process.start": 1,
    "store.advance.started": 1,
    "store.advance.exited": 1,
    "process.remove": 1,
    "store.advance.collected": 1,
    "store.finish": 1,
    "store.save_status": 2,
    "folder.write_temp": 2,
    "folder.exchange": 2,
    "folder.unlink_displaced": 2,
    "store.release": 1,
}
"""Step to how often a plain run passes it."""

RUN_POINTS = [
    f"{phase}:{step}:{count}"
    for step, times in RUN.items()
    for count in range(1, times + 1)
    for phase in ("before", "after")
]

ELSEWHERE = {
    "container.record": "tests/faults/test_kill_container.py",
    "container.create": "tests/faults/test_kill_container.py",
    "container.claim": "tests/faults/test_kill_container.py",
    "container.start": "tests/faults/test_kill_container.py",
    "container.begin": "tests/faults/test_kill_container.py",
    "container.stop": "tests/faults/test_kill_container.py",
    "container.exit": "tests/faults/test_kill_container.py",
    "container.remove": "tests/faults/test_kill_container.py",
    "images.fetch": "tests/faults/test_kill_container.py",
    "store.migrate": "tests/faults/test_store_kill.py",
    "clone.create": "tests/faults/test_git_kill.py",
    "clone.fetch": "tests/faults/test_git_kill.py",
    "clone.mark": "tests/faults/test_git_kill.py",
    "clone.commit": "tests/faults/test_git_kill.py",
    "clone.push": "tests/faults/test_git_kill.py",
    "objects.put": "tests/unit/stores/test_objects.py",
    "objects.put_many": "tests/unit/stores/test_objects.py",
    "objects.delete": "tests/unit/stores/test_objects.py",
    "catalogue.write": "tests/faults/test_kill_data.py",
    "inputs.prefetch": "tests/faults/test_kill_data.py",
    "ssh.put": "tests/faults/test_kill_data.py",
    "ssh.delete": "tests/faults/test_kill_data.py",
    "backup.appear": "tests/faults/test_backup.py",
    "backup.restore": "tests/faults/test_backup.py",
    "objects.upload": "tests/unit/stores/test_objects_s3.py",
    "objects.remove": "tests/unit/stores/test_objects_s3.py",
}
"""Steps that no command of this issue passes, and the test that kills them."""

OTHERS = {
    "folder.write_sidecar",
    "process.stop",
    "store.cancel",
    "store.approve",
    "store.backup",
    "store.delete",
    "store.intend_again",
    "store.withdraw",
    "store.advance.recorded",
    "identity.write_key",
    "identity.publish_key",
    "identity.record_key",
    "identity.revoke_key",
    "export.publish",
    "scratch.make",
}
"""Steps that the tests below kill one by one."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path).make()


@pytest.mark.needs("git")
@pytest.mark.parametrize("point", RUN_POINTS)
def test_a_run_survives(world: World, point: str) -> None:
    before = world.user_part()
    killed = world.ml("run", "specs/victim.yaml", point=point)
    assert killed.returncode == KILLED, f"{point} was not reached: {killed.stdout}{killed.stderr}"
    again = world.ml("run", "specs/victim.yaml")
    assert again.returncode == 0, again.stdout + again.stderr
    check_after_recovery(world, before)


SECOND = [
    "before:store.commit:1",
    "after:store.commit:2",
    "before:run.write_record:2",
    "after:store.save_status:1",
    "before:folder.exchange:1",
]


@pytest.mark.needs("git")
@pytest.mark.parametrize(
    "first",
    [
        "after:store.intend",
        "after:process.create",
        "after:process.start",
        "before:store.advance.exited",
        "after:store.advance.collected",
        "before:store.finish",
    ],
)
def test_a_second_kill_during_recovery(world: World, first: str) -> None:
    before = world.user_part()
    assert world.ml("run", "specs/victim.yaml", point=first).returncode == KILLED
    killed = sum(world.ml("run", "specs/victim.yaml", point=second).returncode == KILLED for second in SECOND)
    assert killed >= 2, f"only {killed} of {len(SECOND)} second kills happened"
    again = world.ml("run", "specs/victim.yaml")
    assert again.returncode == 0, again.stdout + again.stderr
    check_after_recovery(world, before)


@pytest.mark.needs("git")
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_sidecar_write(tmp_path: Path, phase: str) -> None:
    other = (
        "---\napiVersion: fetchml.dev/v1alpha1\nkind: Experiment\nmetadata: {name: other}\nspec: {command: [echo]}\n"
    )
    world = World(tmp_path).make(spec=SPEC + other)
    text = world.spec.read_bytes()
    arguments = ("run", "specs/victim.yaml", "--name", "victim")
    assert world.ml(*arguments, point=f"{phase}:folder.write_sidecar").returncode == KILLED
    again = world.ml(*arguments)
    assert again.returncode == 0, again.stdout + again.stderr
    assert world.spec.read_bytes() == text
    assert "phase: Succeeded" in (world.repo / "specs" / "victim.status.yaml").read_text()
    assert world.leftovers() == []


@pytest.mark.needs("git")
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_cancel(tmp_path: Path, phase: str) -> None:
    world = World(tmp_path).make(spec=SPEC.replace('pause: "0.3"', 'pause: "60"'))
    before = world.user_part()
    reconciler = world.start("run", "specs/victim.yaml", point=f"{phase}:process.stop")
    world.wait_until(world.starts)
    assert world.ml("cancel", "victim", point=f"{phase}:store.cancel").returncode == KILLED
    assert world.ml("cancel", "victim").returncode == 0
    assert reconciler.wait(timeout=30) == KILLED
    again = world.ml("run", "specs/victim.yaml")
    assert again.returncode == 7, again.stdout + again.stderr
    assert world.status()["phase"] == "Cancelled"
    assert world.user_part() == before
    assert all(len(lines) == 1 for lines in world.starts().values())
    assert world.leftovers() == []


@pytest.mark.needs("git")
@pytest.mark.parametrize("step", ["store.intend_again", "store.advance.recorded"])
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_retry(tmp_path: Path, phase: str, step: str) -> None:
    world = World(tmp_path).make(spec=SPEC.replace('pause: "0.3"', 'pause: "2"'))
    before = world.user_part()
    reconciler = world.start("run", "specs/victim.yaml", point=f"{phase}:{step}")
    world.wait_until(world.starts)
    kill_supervisors(world)
    assert reconciler.wait(timeout=30) == KILLED
    again = world.ml("run", "specs/victim.yaml")
    assert again.returncode == 0, again.stdout + again.stderr
    check_after_recovery(world, before, attempts=2)


def kill_supervisors(world: World) -> None:
    """SIGKILL every supervisor of this world."""
    killed = 0
    for proc in Path("/proc").iterdir():
        if proc.name.isdigit():
            try:
                words = (proc / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(word.startswith(str(world.base).encode()) for word in words) and b"-S" in words:
                os.kill(int(proc.name), signal.SIGKILL)
                killed += 1
    assert killed == 1, f"{killed} supervisors"


@pytest.mark.needs("git")
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_deletion(world: World, phase: str) -> None:
    assert world.ml("run", "specs/victim.yaml").returncode == 0
    world.spec.unlink()
    reconciler = world.start("reconcile", "specs", point=f"{phase}:store.delete")
    assert reconciler.wait(timeout=30) == KILLED
    quiet = world.start("reconcile", "specs")
    try:
        world.wait_until(lambda: '"items": []' in world.ml("status", "-o", "json").stdout)
    finally:
        quiet.terminate()
        quiet.wait(timeout=20)
    assert (world.run_folders()[0] / "attestation.dsse.json").exists(), "history stays"
    assert world.leftovers() == []


@pytest.mark.needs("git")
@pytest.mark.parametrize("phase", ["before", "after"])
def test_an_approval(world: World, phase: str) -> None:
    assert world.ml("approve", "specs/victim.yaml", point=f"{phase}:store.approve").returncode == KILLED
    assert world.ml("approve", "specs/victim.yaml").returncode == 0
    assert world.ml("run", "specs/victim.yaml").returncode == 0


@pytest.mark.needs("git")
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_backup(world: World, phase: str) -> None:
    assert world.ml("run", "specs/victim.yaml").returncode == 0
    target = world.folder / "backup.tar.gz"
    assert world.ml("backup", str(target), point=f"{phase}:store.backup").returncode == KILLED
    assert not target.exists(), "half a backup must not look like a whole one"
    assert world.ml("backup", str(target)).returncode == 0
    world.base.rename(world.folder / "lost")
    assert world.ml("restore", str(target), "--yes").returncode == 0
    assert '"completed": 1' in world.ml("status", "-o", "json").stdout
    assert world.ml("verify", "victim").returncode == 0


@pytest.mark.needs("git")
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_run_whose_code_is_damaged(world: World, phase: str) -> None:
    before = world.user_part()
    named = subprocess.run(
        ["git", "rev-parse", "HEAD:code/run.sh"], cwd=world.repo, check=True, capture_output=True, text=True
    ).stdout.strip()
    place = world.repo / ".git/objects" / named[:2] / named[2:]
    whole = place.read_bytes()
    place.chmod(0o644)
    place.write_bytes(b"rubbish")
    assert world.ml("run", "specs/victim.yaml", point=f"{phase}:store.withdraw").returncode == KILLED
    again = world.ml("run", "specs/victim.yaml")
    assert (again.returncode, world.run_folders()) == (8, [])
    assert "SourceUnreadable" in again.stderr
    assert "git fsck" in again.stderr
    place.write_bytes(whole)
    mended = world.ml("run", "specs/victim.yaml")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    check_after_recovery(world, before)


@pytest.mark.needs("git")
@pytest.mark.parametrize("phase", ["before", "after"])
def test_an_export(world: World, phase: str) -> None:
    assert world.ml("run", "specs/victim.yaml").returncode == 0
    target = world.folder / "victim.tar"
    words = ("export", "victim", "--to", str(target))
    assert world.ml(*words, point=f"{phase}:export.publish").returncode == KILLED
    assert target.exists() == (phase == "after"), "half an archive must not look like a whole one"
    assert world.ml(*words).returncode == (0 if phase == "before" else 6)
    assert world.ml("export", "victim", "--to", f"{target}.again").returncode == 0
    assert target.read_bytes() == Path(f"{target}.again").read_bytes()


@pytest.mark.needs("git")
@pytest.mark.parametrize("point", ["before:scratch.make", "after:scratch.make", "after:process.start"])
def test_a_reproduction_goes_on_where_it_was(world: World, point: str) -> None:
    assert world.ml("run", "specs/victim.yaml").returncode == 0
    original = world.run_folders()[0]
    assert world.ml("reproduce", "victim", point=point).returncode == KILLED
    again = world.ml("reproduce", "victim")
    assert again.returncode == 0, again.stdout + again.stderr
    rerun = World(world.base / "reproductions" / original.name)
    assert len(list((rerun.folder / ".fetchml" / "experiments").iterdir())) == 1
    assert (original / "reproduction" / "comparison.dsse.json").is_file()
    assert world.ml("verify", "victim").returncode == 0
    assert not list(world.base.glob("reproductions/.*.tmp"))


@pytest.mark.parametrize("step", ["identity.write_key", "identity.publish_key"])
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_new_key(tmp_path: Path, phase: str, step: str) -> None:
    world = World(tmp_path).make(key=False)
    assert world.ml("key", "new", point=f"{phase}:{step}").returncode == KILLED
    assert world.ml("key", "new").returncode == 0
    listed = world.ml("key", "list", "-o", "json")
    assert listed.returncode == 0, listed.stderr
    assert world.ml("run", "specs/victim.yaml").returncode == 0
    assert world.ml("verify", "victim").returncode == 0


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_key_with_an_owner(world: World, phase: str) -> None:
    """A key for approvals never counts for more than it was made for, not even in between."""
    new = ("key", "new", "--owner", "bob", "--use", "approvals")
    assert world.ml(*new, point=f"{phase}:identity.record_key").returncode == KILLED
    uses = [item["uses"] for item in json.loads(world.ml("key", "list", "-o", "json").stdout)["items"]]
    assert uses.count(["runs"]) == 1, "the key that was there"
    assert world.ml(*new).returncode == 0
    assert world.ml("approve", "specs/victim.yaml").returncode == 0


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_revocation(world: World, phase: str) -> None:
    key = world.ml("key", "list", "-o", "name").stdout.strip()
    assert world.ml("key", "revoke", key, "--reason", "lost", point=f"{phase}:identity.revoke_key").returncode == KILLED
    assert world.ml("key", "revoke", key, "--reason", "lost").returncode == 0
    assert '"revoked": "lost"' in world.ml("key", "list", "-o", "json").stdout


def test_every_registered_step_is_killed() -> None:
    for module in pkgutil.walk_packages(controller.__path__, "controller."):
        importlib.import_module(module.name)
    missing = set(durable.STEPS) - set(RUN) - OTHERS - set(ELSEWHERE)
    assert not missing, f"no fault test kills {sorted(missing)}"
    gone = (set(RUN) | OTHERS | set(ELSEWHERE)) - set(durable.STEPS)
    assert not gone, f"not registered any more: {sorted(gone)}"
    for path in ELSEWHERE.values():
        assert Path(path).exists(), path
    print(
        f"{len(durable.STEPS)} registered steps; {len(RUN_POINTS)} points of a run, {2 * len(OTHERS)} of other commands"
    )


def test_tracing_a_run_finds_no_point_that_is_not_in_the_table(world: World) -> None:
    trace = world.folder / "trace"
    assert world.ml("run", "specs/victim.yaml", trace=trace).returncode == 0
    seen = {line.split(":")[1] for line in trace.read_text().split()}
    assert seen <= set(RUN), f"a run passes {sorted(seen - set(RUN))} too"
