"""The parts of the process runtime that need no process of their own."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from controller.ports.runtime import AttemptSpec, Mount, RuntimeRefusedError
from controller.runtimes import inside
from controller.runtimes.process import bubblewrap, layout, observed, procfs, records
from controller.runtimes.process.capture import Log
from controller.runtimes.redact import REDACTED, Redactor
from tests.unit.runtimes.bench import Bench

FACTS = b"""\
/proc/self/status:Name:\tgrep
/proc/self/status:Uid:\t1000\t1000\t1000\t1000
/proc/self/status:CapInh:\t0000000000000000
/proc/self/status:CapPrm:\t0000000000000000
/proc/self/status:CapEff:\t0000000000000000
/proc/self/status:CapBnd:\t0000000000000000
/proc/self/status:CapAmb:\t0000000000000000
/proc/self/status:NoNewPrivs:\t1
/proc/self/status:Seccomp:\t2
/proc/self/status:Cpus_allowed_list:\t1
/proc/self/uid_map:      1000       1001          1
/proc/self/net/dev:Inter-|   Receive    |  Transmit
/proc/self/net/dev:    lo:       0       0    0
/proc/self/mountinfo:65 42 0:40 / / ro,nosuid,nodev - tmpfs tmpfs rw
/proc/self/mountinfo:66 65 254:0 /usr /usr ro,nosuid - ext4 /dev/vda rw
/proc/self/limits:Max file size             1024                 1024                 bytes     \n\
fetchml:end
"""
LIMITS: dict[str, object] = {"memory": 1, "disk": 2, "processes": 3, "deadline": None, "log_bytes": 4}


def facts_of(text: bytes, launcher: str = "bwrap", *, network: bool = False) -> dict[str, object]:
    return observed.sandbox(text, launcher, 1001, network=network, why="", limits=LIMITS)


def test_a_complete_sandbox_is_isolated() -> None:
    facts = facts_of(FACTS)
    assert (facts["isolated"], facts["why"]) == (True, "")
    assert facts["uid_map"] == [[1000, 1001, 1]]
    assert facts["mounts"] == [["/", "ro"], ["/usr", "ro"]]
    assert facts["limits"] == {
        "file_size": {"value": "1024", "enforcer": "rlimit"},
        "processes": {"value": 3, "enforcer": "rlimit, supervisor (polled)"},
        "cpu": {"value": "1", "enforcer": "affinity"},
        "memory": {"value": 1, "enforcer": "supervisor (polled)"},
        "disk": {"value": 2, "enforcer": "supervisor (polled)"},
        "log": {"value": 4, "enforcer": "supervisor"},
        "deadline": {"value": None, "enforcer": "supervisor"},
    }


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"CapEff:\t0000000000000000", b"CapEff:\t0000000000000001", "capabilities"),
        (b"CapPrm:\t0000000000000000", b"CapPrm:\t0000000000000001", "capabilities"),
        (b"NoNewPrivs:\t1", b"NoNewPrivs:\t0", "gain privileges"),
        (b"/ / ro", b"/ / rw", "root is writable"),
        (b"    lo:", b"  eth0:", "interfaces"),
        (FACTS, b"", "capabilities"),
    ],
)
def test_each_gap_is_named(old: bytes, new: bytes, why: str) -> None:
    facts = facts_of(FACTS.replace(old, new))
    assert facts["isolated"] is False
    assert why in str(facts["why"])


def test_without_a_launcher_nothing_is_isolated() -> None:
    assert facts_of(FACTS, "none")["isolated"] is False


def test_a_shared_network_is_said_and_not_a_gap() -> None:
    facts = facts_of(FACTS.replace(b"    lo:", b"  eth0:"), network=True)
    assert (facts["network"], facts["isolated"], facts["interfaces"]) == (True, True, ["eth0"])


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_secrets_are_redacted_however_the_stream_is_cut(size: int) -> None:
    text = b"a secret and a sesecret, sec and secrets; secre"
    redactor = Redactor([b"secret", b"secrets", b""])
    shown = b"".join(redactor.feed(text[at : at + size]) for at in range(0, len(text), size)) + redactor.rest()
    assert b"secret" not in shown
    assert shown.count(REDACTED) == 3
    assert shown.startswith(b"a [redacted] and a se[redacted], sec and [redacted]")
    assert shown.endswith(b"; secre")


def test_without_secrets_nothing_is_held_back() -> None:
    assert Redactor([]).feed(b"x") == b"x"


def test_a_log_that_cannot_be_written_is_drained_and_noted(tmp_path: Path) -> None:
    log = Log("/dev/full", 1000, [])
    os.write(log.sink, b"x" * 100)
    os.close(log.sink)
    log.close()
    assert "No space" in log.error


def test_a_record_is_whole_or_absent(tmp_path: Path) -> None:
    assert records.load(str(tmp_path), "x.json") is None
    records.save(str(tmp_path), "x.json", {"a": 1})
    assert records.load(str(tmp_path), "x.json") == {"a": 1}
    (tmp_path / "x.json").write_text("{torn")
    assert records.load(str(tmp_path), "x.json") is None
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_claim_is_given_once(tmp_path: Path) -> None:
    assert records.claimed(str(tmp_path)) is None
    assert records.claim(str(tmp_path), "first")
    assert not records.claim(str(tmp_path), "second")
    assert records.claimed(str(tmp_path)) == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["claim"]


def test_the_tree_holds_children_grandchildren_and_nobody_else() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 300 & sleep 300 & wait"]) as family, subprocess.Popen(
        ["sleep", "300"]
    ) as other:  # fmt: skip
        tree = procfs.Tree(family.pid)
        while len(tree.update(fresh=True)) < 2:
            pass
        children = set(tree.members)
        assert other.pid not in children
        assert tree.update() == children
        assert procfs.usage(children)["processes"] == 2
        for pid in children:
            assert procfs.signal_process(pid, 9)
        family.kill()
        other.kill()
    assert tree.update(fresh=True) == set()
    assert procfs.start_time(family.pid) is None


def test_a_signal_is_not_sent_to_somebody_else() -> None:
    with subprocess.Popen(["sleep", "300"]) as process:
        assert not procfs.signal_process(process.pid, 9, lambda: False)
        assert process.poll() is None
        assert procfs.signal_process(process.pid, 9, lambda: True)
    assert not procfs.signal_process(process.pid, 9)


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptSpec:
    return Bench(tmp_path, "none").attempt("true", interpreter_prefix=None)


def refusal(attempt: AttemptSpec) -> str:
    with pytest.raises(RuntimeRefusedError) as error:
        inside.check(attempt)
    return error.value.reason


@pytest.mark.parametrize(
    "target",
    ["data", "/", "/data/../etc", "/etc/x", "/usr/share/x", "/proc/x", "/tmp", "/lib/x", "/workspace", "/results"],
)  # fmt: skip
def test_a_mount_over_the_system_is_refused(attempt: AttemptSpec, target: str) -> None:
    assert refusal(replace(attempt, mounts=(Mount(Path("/usr"), target),))) == "UnsafeMount"


def test_a_mount_through_a_link_of_the_code_is_refused(attempt: AttemptSpec) -> None:
    assert attempt.workspace is not None
    (attempt.workspace / "link").symlink_to("/")
    assert refusal(replace(attempt, mounts=(Mount(Path("/usr"), "/workspace/link/data"),))) == "UnsafeMount"
    inside.check(replace(attempt, mounts=(Mount(Path("/usr"), "/workspace/data"),)))


def test_a_folder_that_holds_the_home_is_refused(attempt: AttemptSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    home = attempt.run_dir / "home" / "alice"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    for path in (Path("/"), Path("/etc"), home, home.parent, attempt.run_dir):
        assert refusal(replace(attempt, interpreter_prefix=path)) == "UnsafePath"
    inside.check(replace(attempt, interpreter_prefix=home / ".pyenv"))


@pytest.mark.parametrize(
    ("name", "value"), [("A B", "x"), ("A=B", "x"), ("", "x"), ("1A", "x"), ("A", "x\0y"), ("A;id", "")]
)
def test_a_variable_that_no_shell_can_hold_is_refused(attempt: AttemptSpec, name: str, value: str) -> None:
    assert refusal(replace(attempt, secrets={name: value})) == "BadEnvironment"


def test_a_reference_to_nothing_is_refused(attempt: AttemptSpec) -> None:
    assert refusal(replace(attempt, argv=("cat", "$(data.missing)"))) == "UnknownReference"
    assert refusal(replace(attempt, env={"A": "$(checkpoints)"})) == "UnknownReference"
    inside.check(replace(attempt, argv=("echo", "$(other)", "$HOME", "$(results)")))


def test_the_run_sees_no_home_store_or_whole_etc(attempt: AttemptSpec) -> None:
    shown = [(source, target) for kind, source, target in layout.operations(attempt) if kind in ("ro", "rw")]
    writable = {target for kind, _, target in layout.operations(attempt) if kind == "rw"}
    assert writable == {"/workspace", "/results"}
    assert not {"/", "/home", "/root", "/etc", "/var", str(Path.home()), str(attempt.run_dir)} & {s for s, _ in shown}
    assert {target for _, target in shown if target.startswith("/etc")} <= {
        "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime",
        "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts",
    }  # fmt: skip


def test_secrets_and_variables_are_on_no_command_line(attempt: AttemptSpec) -> None:
    words = bubblewrap.arguments(layout.operations(attempt), "/results", 1000, network=False, seccomp=True)
    env = layout.environment(replace(attempt, secrets={"KEY": "canary"}), namespace=True, home="/tmp")
    assert env["KEY"] == "canary"
    assert "canary" not in " ".join(words)
    assert b"export KEY='canary'" in bubblewrap.script(env, 0)


@pytest.mark.parametrize("shell", [["dash"], ["bash", "--posix"]])
@pytest.mark.parametrize("value", ["it's", "a\nb", "$(id) `id` $HOME", "\\", "'\"'\"'", ""])
def test_any_value_survives_the_shell(tmp_path: Path, shell: list[str], value: str) -> None:
    script = tmp_path / "script"
    script.write_bytes(bubblewrap.script({"VALUE": value}, 0))
    done = subprocess.run([*shell, script, "printenv", "VALUE"], capture_output=True, check=True, env={})
    assert done.stdout.decode() == value + "\n"
