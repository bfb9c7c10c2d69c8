"""SIGKILL of the supervisor and of the run itself, at several moments: a retry or a failure with its reason.

The reconciler is alive here; tests/faults/test_kill_reconciler.py kills it too.
"""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.world import SPEC, World, check_after_recovery

pytestmark = pytest.mark.needs("git")

PAUSE = 'pause: "0.3"'
RETRIES = "retries: {max: 2, reasons: [SupervisorLost, NodeLost, RuntimeLost]}"


def processes(world: World, marker: bytes) -> list[int]:
    """Processes of this world with the marker as one of their arguments."""
    found = []
    for proc in Path("/proc").iterdir():
        if proc.name.isdigit():
            try:
                words = (proc / "cmdline").read_bytes().split(b"\0")
                environ = (proc / "environ").read_bytes()
            except OSError:
                continue
            ours = any(word.startswith(bytes(world.base)) for word in words) or b"FETCHML_RUN_ID=victim-" in environ
            if marker in words and ours:
                found.append(int(proc.name))
    return found


def supervisors(world: World) -> list[int]:
    """Supervisors of this world."""
    found = []
    for pid in processes(world, b"-S"):
        with suppress(OSError):  # it may end while we look
            if b"FETCHML" not in (Path("/proc") / str(pid) / "environ").read_bytes():
                found.append(pid)
    return found


def started(world: World, *arguments: str) -> "subprocess.Popen[bytes]":
    """`ml run` in the background, once its program has begun."""
    reconciler = world.start("run", "specs/victim.yaml", *arguments)
    world.wait_until(world.starts, 60)
    return reconciler


def test_a_supervisor_that_is_killed_while_its_program_runs_is_retried(tmp_path: Path) -> None:
    world = World(tmp_path).make(spec=SPEC.replace(PAUSE, 'pause: "3"'))
    before = world.user_part()
    reconciler = started(world)
    (supervisor,) = supervisors(world)
    os.kill(supervisor, signal.SIGKILL)
    assert reconciler.wait(timeout=90) == 0
    check_after_recovery(world, before, attempts=2)
    assert len(world.starts()) == 2


def test_every_attempt_loses_its_supervisor(tmp_path: Path) -> None:
    world = World(tmp_path).make(spec=SPEC.replace(PAUSE, 'pause: "60"').replace("max: 2", "max: 1"))
    reconciler = world.start("run", "specs/victim.yaml")
    for attempt in (1, 2):
        world.wait_until(lambda attempt=attempt: len(world.starts()) == attempt, 60)
        (supervisor,) = supervisors(world)
        os.kill(supervisor, signal.SIGKILL)
    assert reconciler.wait(timeout=90) == 7
    assert world.status()["phase"] == "Failed"
    conditions = {item["type"]: item for item in world.status()["conditions"]}  # type: ignore[attr-defined]  # a list
    assert conditions["Failed"]["reason"] == "SupervisorLost"
    assert "1 of 1 retries used" in conditions["Failed"]["message"]
    assert all(len(lines) == 1 for lines in world.starts().values())
    assert world.leftovers() == []


def test_a_supervisor_that_is_killed_before_its_program_begins(tmp_path: Path) -> None:
    world = World(tmp_path).make()
    before = world.user_part()
    reconciler = world.start("run", "specs/victim.yaml")
    world.wait_until(lambda: supervisors(world), 60)
    for supervisor in supervisors(world):
        os.kill(supervisor, signal.SIGKILL)
    if reconciler.wait(timeout=90):  # it died before it could claim the attempt: an error, and the next run goes on
        again = world.ml("run", "specs/victim.yaml")
        assert again.returncode == 0, again.stdout + again.stderr
    check_after_recovery(world, before, attempts=2)


def test_a_supervisor_that_is_killed_while_it_stops_its_program(tmp_path: Path) -> None:
    stubborn = SPEC.replace(PAUSE, 'pause: "60"').replace("graceSeconds: 1", "graceSeconds: 60")
    world = World(tmp_path).make(spec=stubborn)
    (world.repo / "code" / "run.sh").write_text('trap "" TERM\necho 1 >> "$1/starts.txt"\nwhile :; do sleep 1; done\n')
    for words in (["add", "-A"], ["commit", "-qm", "stubborn"]):
        subprocess.run(["git", *words], cwd=world.repo, check=True, env=world.environment())
    reconciler = started(world)
    assert world.ml("cancel", "victim").returncode == 0
    (supervisor,) = supervisors(world)
    world.wait_until(lambda: list(world.base.glob("experiments/*/attempts/1/stop.json")), 60)
    os.kill(supervisor, signal.SIGKILL)
    assert reconciler.wait(timeout=90) == 7
    assert world.status()["phase"] == "Cancelled"
    assert world.leftovers() == []


def test_a_program_that_is_killed_is_a_failure_with_its_code(tmp_path: Path) -> None:
    world = World(tmp_path).make(spec=SPEC.replace(PAUSE, 'pause: "60"'))
    reconciler = started(world)
    programs = processes(world, b"run.sh")
    assert programs
    for pid in programs:
        os.kill(pid, signal.SIGKILL)
    assert reconciler.wait(timeout=90) == 7
    conditions = {item["type"]: item for item in world.status()["conditions"]}  # type: ignore[attr-defined]  # a list
    assert conditions["Failed"]["reason"] == "NonZeroExit"
    assert world.status()["run"]["exitCode"] == 137  # type: ignore[index]  # a mapping
    assert len(world.starts()) == 1
    assert world.leftovers() == []


def test_a_supervisor_that_is_killed_while_nobody_watches(tmp_path: Path) -> None:
    world = World(tmp_path).make(spec=SPEC.replace(PAUSE, 'pause: "3"'))
    before = world.user_part()
    reconciler = started(world)
    reconciler.kill()
    reconciler.wait(timeout=30)
    (supervisor,) = supervisors(world)
    os.kill(supervisor, signal.SIGKILL)
    again = world.ml("run", "specs/victim.yaml")
    assert again.returncode == 0, again.stdout + again.stderr
    check_after_recovery(world, before, attempts=2)
