"""The process runtime as its caller sees it, with every launcher."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from controller.ports import durable
from controller.ports.runtime import Limits, Mount, RuntimeRefusedError, RuntimeState
from controller.runtimes.process import procfs, records, runtime, state, supervisor
from tests.unit.runtimes.bench import LIMITS, Bench, boot_killing, eventually, log_of


def test_the_program_gets_its_folders_variables_and_nothing_of_ours(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_THE_RECONCILER", "leak")
    data = tmp_path / "data.csv"
    data.write_text("1,2\n")
    attempt = bench.python(
        "import json, os, sys; seen = json.dumps([sys.argv[2:], dict(os.environ)])"
        "; open(sys.argv[1] + '/seen.json', 'w').write(seen); print(open(sys.argv[2]).read(), os.getcwd())",
        mounts=(Mount(data, "/data/digits"),),
        mount_names={"digits": "/data/digits"},
        checkpoints=tmp_path / "checkpoints",
    )
    words = (*attempt.argv, "$(results)", "$(data.digits)", "$(workspace)", "$(checkpoints)")
    attempt = replace(attempt, argv=words, env={"OUT": "$(results)/x", "FETCHML_RUN_ID": "r"})
    assert bench.run(attempt).exit_code == 0, log_of(attempt)
    words, env = json.loads((attempt.results / "seen.json").read_text())
    inside = ["/data/digits", "/workspace", "/checkpoints"]
    outside = [str(data), str(attempt.workspace), str(attempt.checkpoints)]
    assert words == (outside if bench.launcher == "none" else inside)
    results = str(attempt.results) if bench.launcher == "none" else "/results"
    assert env["OUT"] == f"{results}/x"
    assert log_of(attempt).split() == ["1,2", words[1]]
    assert "FROM_THE_RECONCILER" not in env
    allowed = {
        "PATH",
        "HOME",
        "TMPDIR",
        "LANG",
        "PWD",
        "OUT",
        "FETCHML_RUN_ID",
        "FETCHML_ATTEMPT_NAME",
        "FETCHML_STORE_ID",
    }
    assert set(env) - {"LC_CTYPE", "OLDPWD", "SHLVL", "_"} == allowed


def test_what_the_program_leaves_in_its_folders_stays(bench: Bench) -> None:
    attempt = bench.attempt(
        "sh", "-c", "echo a > $FETCHML_RESULTS/a; echo b > b", env={"FETCHML_RESULTS": "$(results)"}
    )
    assert bench.run(attempt).exit_code == 0
    assert attempt.workspace is not None
    assert (attempt.results / "a").read_text() == "a\n"
    assert (attempt.workspace / "b").read_text() == "b\n"


def test_quotes_newlines_and_odd_bytes_in_values_arrive_as_they_are(bench: Bench) -> None:
    value = 'it\'s "quoted" $HOME `id`\n\\n \u00e9 *'
    attempt = bench.python("import os, sys; print(repr([sys.argv[1], os.environ['ODD']]))")
    attempt = replace(attempt, argv=(*attempt.argv, value), env={"ODD": value, "PYTHONUTF8": "1"})
    bench.run(attempt)
    assert log_of(attempt).strip() == repr([value, value])


@pytest.mark.parametrize(
    ("command", "code"), [("no-such-command", 127), ("/workspace-file", 126), ("/nowhere/at/all", 127)]
)
def test_a_command_that_cannot_be_run_says_so_in_the_log(bench: Bench, command: str, code: int) -> None:
    attempt = bench.attempt("placeholder")
    assert attempt.workspace is not None
    (attempt.workspace / "file").write_text("not executable")
    attempt = replace(attempt, argv=(command.replace("/workspace-file", "$(workspace)/file"),))
    seen = bench.run(attempt)
    assert (seen.state, seen.exit_code, seen.reason) == (RuntimeState.EXITED, code, "")
    assert command.rpartition("/")[2].removeprefix("workspace-") in log_of(attempt)
    assert "not found" in log_of(attempt) or "ermission denied" in log_of(attempt) or "No such file" in log_of(attempt)


def test_a_sandbox_that_cannot_be_built_is_a_failed_start(bench: Bench, tmp_path: Path) -> None:
    attempt = bench.attempt("true")
    bench.runtime.create(attempt)
    assert attempt.workspace is not None
    attempt.workspace.rmdir()
    bench.runtime.start(attempt)
    seen = bench.until(attempt, RuntimeState.EXITED)
    assert (seen.exit_code, seen.reason, seen.started_at) == (None, "StartFailed", None)
    assert "orkspace" in log_of(attempt)


def test_only_three_descriptors_reach_the_program(bench: Bench) -> None:
    attempt = bench.python("import os; print(sorted(os.listdir('/proc/self/fd')))")
    bench.run(attempt)
    assert log_of(attempt).strip() == "['0', '1', '2', '3']"  # 3 is the folder being listed


def test_the_program_has_default_signals(bench: Bench) -> None:
    before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)  # as in what a shell starts with &
    try:
        _nothing_is_ignored(bench)
    finally:
        signal.signal(signal.SIGQUIT, before)


def _nothing_is_ignored(bench: Bench) -> None:
    attempt = bench.attempt("sh", "-c", "grep SigIgn /proc/self/status")
    bench.run(attempt)
    ignored = int(log_of(attempt).split()[1], 16)
    internal = 1 << 31 | 1 << 32  # 32 and 33: the C library's own, which no program can set
    assert ignored & ~internal == 0


def test_the_observed_facts_come_from_inside(bench: Bench) -> None:
    limits = replace(LIMITS, disk=1 << 28, open_files=100)
    attempt = bench.attempt("cat", "/proc/self/status", limits=limits)
    seen = bench.run(attempt)
    facts, status = seen.sandbox, log_of(attempt)
    assert f"CapBnd:\t{facts['cap_bnd']}\n" in status
    assert facts["cap_eff"] == facts["cap_prm"] == "0" * 16
    assert facts["no_new_privs"] is True
    assert "NoNewPrivs:\t1\n" in status
    assert facts["seccomp"] == ("Seccomp:\t2\n" in status)
    assert facts["limits"]["file_size"] == {"value": str(1 << 28), "enforcer": "rlimit"}
    assert facts["limits"]["open_files"] == {"value": "100", "enforcer": "rlimit"}
    assert facts["limits"]["core"] == {"value": "0", "enforcer": "rlimit"}
    assert facts["limits"]["memory"]["enforcer"] == "supervisor (polled)"
    assert f"Cpus_allowed_list:\t{facts['limits']['cpu']['value']}\n" in status
    assert facts["outer_uid"] == os.getuid()
    if bench.launcher == "none":
        assert facts["isolated"] is False
        assert "not isolated" in facts["why"]
    else:
        assert (facts["isolated"], facts["why"]) == (True, "")
        assert facts["uid_map"] == [[1000, os.getuid(), 1]]
        assert facts["interfaces"] == ["lo"]
        assert facts["root_read_only"] is True
        assert ["/usr", "ro"] in facts["mounts"]


def test_a_preloaded_library_of_the_user_cannot_touch_the_facts(bench: Bench) -> None:
    attempt = bench.attempt(
        "true", env={"LD_PRELOAD": "$(workspace)/no-such.so", "PATH": "$(workspace)", "BASH_ENV": "x"}
    )
    attempt = replace(attempt, argv=("/usr/bin/true",))
    seen = bench.run(attempt)
    assert seen.sandbox["no_new_privs"] is True
    assert log_of(attempt).count("ld.so") == 1, "only the user's own program may be linked with it"


def test_a_long_log_is_cut_with_a_mark_and_the_run_goes_on(bench: Bench) -> None:
    attempt = bench.attempt(
        "sh", "-c", "yes | head -c 3000000; echo end > $OUT/end", env={"OUT": "$(results)"},
        limits=replace(LIMITS, log_bytes=1000),
    )  # fmt: skip
    assert bench.run(attempt).exit_code == 0
    assert (attempt.results / "end").exists()
    assert attempt.log.stat().st_size < 1200
    assert "the log is cut here, at 1000 bytes" in log_of(attempt)


def test_a_log_that_is_a_symbolic_link_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    attempt = bench.attempt("echo", "overwritten")
    attempt.log.symlink_to(tmp_path / "victim")
    bench.runtime.create(attempt)
    with pytest.raises(OSError, match="symbolic links"):
        bench.runtime.start(attempt)
    assert bench.runtime.inspect(attempt.name, attempt.run_dir).state is RuntimeState.CREATED
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_secret_is_in_the_program_s_environment_and_nowhere_else(bench: Bench) -> None:
    canary = "canary-7f3a9c"
    attempt = bench.attempt(
        "sh", "-c", "echo ready; echo value=$KEY; printf canary-7f; sleep 0.05; echo 3a9c; exec sleep 300",
        secrets={"KEY": canary},
    )  # fmt: skip
    bench.begin(attempt)
    eventually(lambda: log_of(attempt).count("[redacted]") == 2)
    lines = [" ".join(procfs.command_line(pid)) for pid in procfs.pids()]
    assert not [line for line in lines if canary in line]
    who = state.claimed_by(attempt.name, attempt.run_dir)
    assert who is not None
    assert canary.encode() not in procfs.slurp(f"/proc/{who[0]}/environ")
    bench.runtime.stop(attempt.name, attempt.run_dir, grace=0)
    assert bench.until(attempt, RuntimeState.EXITED).reason == "Stopped"
    files = [path for path in attempt.run_dir.rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not [path for path in files if canary in path.read_text(errors="replace")]


def test_the_whole_attempt_gets_sigterm_and_may_finish(bench: Bench) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(15, lambda *a: (open(sys.argv[1] + '/saved', 'w').write('state'), sys.exit(9)))\n"
        "print('ready', flush=True)\ntime.sleep(300)"
    )
    attempt = bench.python(code)
    attempt = replace(attempt, argv=(*attempt.argv, "$(results)"))
    bench.begin(attempt)
    bench.started(attempt)
    bench.runtime.stop(attempt.name, attempt.run_dir, grace=60)
    seen = bench.until(attempt, RuntimeState.EXITED)
    assert (seen.exit_code, seen.reason) == (9, "Stopped")
    assert (attempt.results / "saved").read_text() == "state"


def test_who_ignores_sigterm_is_killed_after_the_grace(bench: Bench) -> None:
    attempt = bench.attempt("sh", "-c", "trap '' TERM; echo ready; sleep 300 & sleep 300 & wait; wait; sleep 300")
    bench.begin(attempt)
    bench.started(attempt)
    bench.runtime.stop(attempt.name, attempt.run_dir, grace=0.2)
    seen = bench.until(attempt, RuntimeState.EXITED)
    assert (seen.exit_code, seen.reason) == (137, "Stopped")
    assert bench.processes(attempt) == []


def test_a_later_request_can_only_shorten_the_grace(bench: Bench) -> None:
    attempt = bench.attempt("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
    bench.begin(attempt)
    bench.started(attempt)
    bench.runtime.stop(attempt.name, attempt.run_dir, grace=3600)
    bench.runtime.stop(attempt.name, attempt.run_dir, grace=0)
    assert bench.until(attempt, RuntimeState.EXITED).exit_code == 137


def test_a_stop_file_alone_is_enough(bench: Bench) -> None:
    """The reconciler died right after it wrote the request."""
    attempt = bench.attempt("sh", "-c", "echo ready; exec sleep 300")
    bench.begin(attempt)
    bench.started(attempt)
    records.save(state.place(attempt.name, attempt.run_dir), records.STOP, {"grace": 0})
    assert bench.until(attempt, RuntimeState.EXITED).reason == "Stopped"


def test_a_supervisor_told_to_end_by_the_host_ends_the_run_properly(bench: Bench) -> None:
    attempt = bench.attempt("sh", "-c", "echo ready; exec sleep 300")
    bench.begin(attempt)
    bench.started(attempt)
    who = state.claimed_by(attempt.name, attempt.run_dir)
    assert who is not None
    os.kill(who[0], signal.SIGTERM)
    seen = bench.until(attempt, RuntimeState.EXITED)
    assert (seen.exit_code, seen.reason) == (143, "RuntimeLost")


def test_the_deadline_ends_it(bench: Bench) -> None:
    attempt = bench.attempt("sleep", "300", limits=replace(LIMITS, deadline=0.3, grace=5))
    seen = bench.run(attempt)
    assert (seen.exit_code, seen.reason) == (143, "DeadlineExceeded")


def test_when_the_program_is_killed_its_end_is_recorded(bench: Bench) -> None:
    attempt = bench.attempt("sh", "-c", "echo ready; exec sleep 300")
    bench.begin(attempt)
    bench.started(attempt)
    eventually(lambda: [pid for pid in bench.processes(attempt) if procfs.command_line(pid)[:1] == ["sleep"]])
    for pid in bench.processes(attempt):
        if procfs.command_line(pid)[:1] == ["sleep"]:
            os.kill(pid, signal.SIGKILL)
    seen = bench.until(attempt, RuntimeState.EXITED)
    assert (seen.exit_code, seen.reason) == (137, "")


def test_when_the_first_process_ends_so_do_its_children(bench: Bench) -> None:
    attempt = bench.attempt("sh", "-c", "setsid sleep 300 & setsid sh -c 'sleep 300 & sleep 300' & sleep 0.2; exit 5")
    seen = bench.run(attempt)
    assert seen.exit_code == 5
    assert bench.processes(attempt) == []


def test_a_killed_supervisor_takes_the_run_with_it(bench: Bench) -> None:
    attempt = bench.attempt("sh", "-c", "echo ready; exec sleep 300")
    bench.begin(attempt)
    bench.started(attempt)
    assert bench.processes(attempt)
    bench.kill_supervisor(attempt)
    eventually(lambda: bench.processes(attempt) == [])
    seen = bench.runtime.inspect(attempt.name, attempt.run_dir)
    assert (seen.state, seen.reason) == (RuntimeState.LOST, "SupervisorLost")


def test_strays_of_a_killed_supervisor_are_listed_and_removed(bench: Bench) -> None:
    attempt = bench.attempt("sh", "-c", "setsid sleep 300 & setsid sleep 300 & echo ready; wait")
    bench.begin(attempt)
    bench.started(attempt)
    bench.kill_supervisor(attempt)
    if bench.launcher == "none":
        eventually(lambda: len(bench.processes(attempt)) == 2)
        strays = bench.runtime.list(attempt.store_id)
        assert [(seen.name, seen.state) for seen in strays] == [(attempt.name, RuntimeState.LOST)]
    bench.restart().remove(attempt.name, attempt.run_dir)
    eventually(lambda: bench.processes(attempt) == [])
    assert bench.runtime.list(attempt.store_id) == ()


def test_a_run_without_its_records_is_still_found_and_removed(bench: Bench) -> None:
    attempt = bench.attempt("sh", "-c", "echo ready; exec sleep 300")
    bench.begin(attempt)
    bench.started(attempt)
    eventually(Path(state.place(attempt.name, attempt.run_dir), records.STARTED).exists)
    eventually(lambda: not list(attempt.run_dir.glob("attempts/1/.*")))
    for path in sorted(attempt.run_dir.joinpath("attempts").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    [seen] = bench.restart().list(attempt.store_id)
    assert (seen.name, seen.state, seen.run_id, seen.number) == (attempt.name, RuntimeState.RUNNING, "run-aaaaaaaa", 1)
    bench.runtime.remove(attempt.name, attempt.run_dir)
    eventually(lambda: bench.processes(attempt) == [])


def test_another_boot_means_the_node_was_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = bench.attempt("sleep", "300")
    bench.begin(attempt)
    monkeypatch.setattr(procfs, "boot_id", lambda: "another boot")
    seen = bench.runtime.inspect(attempt.name, attempt.run_dir)
    assert (seen.state, seen.reason) == (RuntimeState.LOST, "NodeLost")


def test_a_reused_pid_is_not_the_supervisor(bench: Bench) -> None:
    attempt = bench.attempt("true")
    bench.run(attempt)
    place = Path(state.place(attempt.name, attempt.run_dir))
    (place / records.EXIT).unlink()
    for claim in (f"{os.getpid()} 1 {procfs.boot_id()}", "not a claim"):
        (place / records.CLAIM).unlink()
        (place / records.CLAIM).symlink_to(claim)
        assert bench.runtime.inspect(attempt.name, attempt.run_dir).state is RuntimeState.LOST


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", [records.CLAIM, records.STARTED, records.EXIT])
def test_a_supervisor_killed_at_any_of_its_steps_leaves_one_start_and_no_process(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, when: str, step: str
) -> None:
    attempt = bench.attempt("sh", "-c", "echo began; sleep 0.3")
    bench.runtime.create(attempt)
    with monkeypatch.context() as patched:
        patched.setattr(runtime, "BOOT", boot_killing(when, step))
        try:
            bench.runtime.start(attempt)
        except OSError:
            assert step == records.CLAIM
    first = bench.until(attempt, RuntimeState.CREATED, RuntimeState.EXITED, RuntimeState.LOST)
    expected = {(records.CLAIM, "before"): RuntimeState.CREATED, (records.EXIT, "after"): RuntimeState.EXITED}
    assert first.state is expected.get((step, when), RuntimeState.LOST)
    bench.restart().start(attempt)
    last = bench.until(attempt, RuntimeState.EXITED, RuntimeState.LOST)
    assert (last.state is RuntimeState.EXITED) == ((step, when) in expected)
    assert log_of(attempt).count("began") <= 1
    bench.runtime.remove(attempt.name, attempt.run_dir)
    eventually(lambda: bench.processes(attempt) == [])


RECONCILER = """
import os, sys
from pathlib import Path
from controller.ports import durable
from tests.unit.runtimes.bench import Bench
bench = Bench(Path(sys.argv[1]), sys.argv[2])
bench.store_id = sys.argv[3]
attempt = bench.attempt("sh", "-c", "echo began; sleep 0.3")
def die(when, name):
    if (when, name) == (sys.argv[4], sys.argv[5]):
        os.kill(os.getpid(), 9)
durable.install_hook(die)
bench.runtime.create(attempt)
bench.runtime.start(attempt)
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", [runtime.CREATE, runtime.START])
def test_a_reconciler_killed_at_any_step_is_followed_by_one_start(bench: Bench, when: str, step: str) -> None:
    words = [sys.executable, "-c", RECONCILER, str(bench.folder), bench.launcher, bench.store_id, when, step]
    assert subprocess.run(words, check=False, cwd=Path.cwd()).returncode == -signal.SIGKILL
    attempt = bench.attempt("sh", "-c", "echo began; sleep 0.3")
    assert bench.run(attempt).exit_code == 0
    assert log_of(attempt).count("began") == 1


def test_a_reconciler_killed_before_the_claim_is_followed_by_one_start(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first supervisor is still on its way when the second one comes."""
    attempt = bench.attempt("sh", "-c", "echo began; sleep 0.3")
    bench.runtime.create(attempt)
    slow = runtime.BOOT.replace("main()", "__import__('time').sleep(1); main()")
    with monkeypatch.context() as patched:
        patched.setattr(runtime, "BOOT", slow)
        late = threading.Thread(target=bench.runtime.start, args=(attempt,))
        late.start()
        eventually(lambda: any(slow in procfs.command_line(pid) for pid in procfs.pids()))
    bench.runtime.start(attempt)
    late.join()
    assert bench.until(attempt, RuntimeState.EXITED).exit_code == 0
    assert log_of(attempt).count("began") == 1


def test_every_durable_step_of_the_runtime_is_registered() -> None:
    assert {name for name in durable.STEPS if name.startswith("process.")} == {
        "process.create", "process.start", "process.stop", "process.remove",
    }  # fmt: skip


def test_an_attempt_that_ended_is_not_listed_while_its_supervisor_leaves(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = bench.attempt("true")
    monkeypatch.setattr(runtime, "BOOT", runtime.BOOT + "; __import__('time').sleep(300)")
    bench.run(attempt)
    assert [pid for pid in procfs.pids() if runtime.BOOT in procfs.command_line(pid)]
    assert bench.runtime.list(attempt.store_id) == ()


def test_a_sandboxed_program_cannot_pass_for_a_supervisor(bench: Bench) -> None:
    forged = (
        runtime.BOOT,
        "x",
        supervisor.MARK,
        bench.store_id,
        "fetchml-forged-bbbbbbbb-1",
        "forged",
        "1",
        "/nowhere",
    )
    attempt = bench.attempt("sh", "-e", "-c", "echo ready; sleep 300; true", *forged)
    bench.begin(attempt)
    bench.started(attempt)
    assert any(procfs.command_line(pid)[-8:] == list(forged) for pid in bench.processes(attempt))
    names = [seen.name for seen in bench.runtime.list(attempt.store_id)]
    # Without a pid namespace any program can take any arguments: such runs are said to be not isolated.
    assert names == [attempt.name] if bench.launcher != "none" else names == [forged[4], attempt.name]


def test_wait_returns_when_an_attempt_ends_and_not_before(bench: Bench) -> None:
    attempt = bench.attempt("sleep", "0.2")
    bench.begin(attempt)
    bench.runtime.wait(60)
    assert bench.runtime.inspect(attempt.name, attempt.run_dir).state is RuntimeState.EXITED


def test_usage_is_what_was_seen(bench: Bench) -> None:
    code = "import time; x = b'x' * (100 << 20); t = time.process_time()\nwhile time.process_time() - t < 0.6: pass"
    seen = bench.run(bench.python(code))
    assert 100 << 20 < seen.usage["max_rss"] < 400 << 20
    assert 0.4 < seen.usage["cpu_seconds"] < 30


def test_the_network_is_the_host_s_when_it_is_allowed(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        seen = bench.run(bench.python(f"import socket; socket.create_connection(('127.0.0.1', {port}))", network=True))
    assert seen.exit_code == 0
    assert seen.sandbox["network"] is True


def test_loopback_works_inside(bench: Bench) -> None:
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())"
    attempt = bench.python(code)
    assert bench.run(attempt).exit_code == 0, log_of(attempt)


def test_attempt_json_names_secrets_and_keeps_no_value(bench: Bench) -> None:
    attempt = bench.attempt("true", secrets={"KEY": "canary"}, limits=Limits(cpu=1, memory=1 << 30, disk=1 << 30))
    bench.runtime.create(attempt)
    record = records.load(state.place(attempt.name, attempt.run_dir), records.ATTEMPT)
    assert record is not None
    assert record["secrets"] == ["KEY"]
    assert record["argv"] == ["true"]


def test_an_attempt_of_another_store_in_the_same_folder_is_refused(bench: Bench) -> None:
    attempt = bench.attempt("true")
    bench.runtime.create(attempt)
    with pytest.raises(RuntimeRefusedError) as refusal:
        bench.runtime.create(replace(attempt, store_id="somebody-else"))
    assert refusal.value.reason == "NotOurs"
