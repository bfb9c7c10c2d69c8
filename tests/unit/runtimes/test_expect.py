"""The supervisor that is started before there is an attempt: used if it can be, never in the way or left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from controller.ports.runtime import AttemptSpec, RuntimeState
from controller.runtimes.process import procfs, records, supervisor
from tests.unit.runtimes.bench import Bench, eventually, log_of


def _waiting(attempt: AttemptSpec) -> list[int]:
    """Supervisors of this attempt that have detached, whatever they do."""
    mine = [supervisor.MARK, attempt.name, str(attempt.run_dir)]
    return [pid for pid in procfs.pids() if _words(pid) == mine and _is_detached(pid)]


def _is_detached(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def _words(pid: int) -> list[str]:
    words = procfs.command_line(pid)
    return [words[6], words[8], words[11]] if len(words) == 12 else []


def _expected(bench: Bench) -> AttemptSpec:
    attempt = bench.attempt("sh", "-c", "echo began; sleep 0.2")
    Path(records.folder(str(attempt.run_dir), attempt.number)).mkdir(parents=True, exist_ok=True)
    bench.runtime.expect(attempt.name, attempt.run_dir, attempt.store_id)
    eventually(lambda: bool(_waiting(attempt)))
    return attempt


def test_the_one_that_waits_is_the_one_that_runs_it(bench: Bench) -> None:
    attempt = _expected(bench)
    bench.runtime.expect(attempt.name, attempt.run_dir, attempt.store_id)
    bench.runtime.create(attempt)
    (waiting,) = _waiting(attempt)
    bench.runtime.start(attempt)
    assert (records.claimed(records.folder(str(attempt.run_dir), 1)) or "").split()[0] == str(waiting)
    assert bench.until(attempt, RuntimeState.EXITED).exit_code == 0
    assert log_of(attempt).count("began") == 1


def test_nothing_is_known_of_it_before_create(bench: Bench) -> None:
    attempt = _expected(bench)
    assert bench.runtime.inspect(attempt.name, attempt.run_dir).state is RuntimeState.ABSENT


def test_another_is_started_when_it_was_killed(bench: Bench) -> None:
    attempt = _expected(bench)
    bench.runtime.create(attempt)
    os.kill(_waiting(attempt)[0], signal.SIGKILL)
    bench.runtime.start(attempt)
    assert bench.until(attempt, RuntimeState.EXITED).exit_code == 0
    assert log_of(attempt).count("began") == 1


def test_remove_sends_it_away(bench: Bench) -> None:
    attempt = _expected(bench)
    bench.runtime.remove(attempt.name, attempt.run_dir)
    eventually(lambda: not _waiting(attempt))


def test_it_ends_with_a_reconciler_that_dies(bench: Bench) -> None:
    attempt = bench.attempt("true")
    Path(records.folder(str(attempt.run_dir), attempt.number)).mkdir(parents=True, exist_ok=True)
    program = (
        "import sys; from pathlib import Path; from controller.facts.facts import SandboxFacts;"
        "from controller.inventory.clock import SystemClock;"
        "from controller.runtimes.process.runtime import ProcessRuntime;"
        "facts = SandboxFacts('none', mount_namespace=False, network_namespace=False, seccomp=False, why='');"
        "ProcessRuntime(SystemClock(), facts).expect(sys.argv[1], Path(sys.argv[2]), sys.argv[3]);"
        "print('ready', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", program, attempt.name, str(attempt.run_dir), attempt.store_id]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        eventually(lambda: bool(_waiting(attempt)))
        process.kill()
    eventually(lambda: not _waiting(attempt))
