"""Attacks from inside a container: each first succeeds with its guard switched off, then not, on both engines."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from controller.ports.runtime import Observed, RuntimeRefusedError, RuntimeState
from controller.runtimes.container import request as requests
from tests.testbed import engines
from tests.unit.runtimes.container.bench import LIMITS, ContainerBench, log_of

SYSCALLS = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def refused(number, *words):
    ctypes.set_errno(0)
    libc.syscall(number, *words)
    return ctypes.get_errno() == errno.EPERM
"""
BPF, KEYCTL, PERF, HANDLE, USERFAULT, PTRACE, UNSHARE = 321, 250, 298, 304, 323, 101, 272
"""Numbers of x86-64."""

Body = dict[str, Any]


def host(**changes: Any) -> Callable[[Body], None]:
    """A guard off: parts of HostConfig as they would be without it."""
    return lambda body: body["HostConfig"].update(changes)


def as_root(body: Body) -> None:
    """The privileges that an engine gives by default, and two more."""
    body["User"] = "0:0"
    body["HostConfig"].update(
        CapDrop=[], CapAdd=["SYS_ADMIN", "DAC_READ_SEARCH"], SecurityOpt=["seccomp=unconfined"], ReadonlyRootfs=False
    )


def unfiltered(body: Body) -> None:
    """Without the seccomp profile only."""
    body["HostConfig"]["SecurityOpt"] = ["no-new-privileges", "seccomp=unconfined"]


def without_bounds(body: Body) -> None:
    """Without the limit on the size of a file."""
    body["HostConfig"]["Ulimits"] = [each for each in body["HostConfig"]["Ulimits"] if each["Name"] != "fsize"]


@dataclass(frozen=True)
class Attack:
    """A program that prints PWNED when it gets what it wants."""

    code: str
    guard_off: Callable[[Body], None]
    reason: str = ""
    """Of the contained attempt, where it does not survive."""
    busybox: bool = False
    open_limits: dict[str, Any] = field(default_factory=dict)


ATTACKS = {
    "writes to its image": Attack("touch /usr/pwned && echo PWNED; true", as_root, busybox=True),
    "mounts": Attack("mount -t tmpfs none /tmp && echo PWNED; true", as_root, busybox=True),
    "makes a device": Attack("mknod /tmp/disk b 254 0 && echo PWNED; true", as_root, busybox=True),
    "changes another's files": Attack("echo x >> /etc/passwd && echo PWNED; true", as_root, busybox=True),
    "sees the processes of the host": Attack(
        "test $(ls /proc | grep -c '^[0-9]') -gt 30 && echo PWNED; true", host(PidMode="host"), busybox=True
    ),
    "forks without end": Attack(
        "import os, time\nn = 0\ntry:\n"
        "    while n < 150:\n        pid = os.fork()\n        if not pid: time.sleep(20); os._exit(0)\n        n += 1\n"
        "except OSError: pass\nprint('PWNED' if n == 150 else n)",
        host(PidsLimit=1000),
    ),
    "takes all memory": Attack(
        "x = bytearray(400 << 20); print('PWNED')", host(Memory=1 << 30, MemorySwap=1 << 30), reason="OutOfMemory"
    ),
    "fills memory with files": Attack(
        "try:\n    for n in range(4): open(f'/dev/shm/{n}', 'wb').write(bytes(40 << 20))\n"
        "    print('PWNED')\nexcept OSError: pass",
        host(ShmSize=1 << 30, Memory=1 << 30, MemorySwap=1 << 30),
    ),
    "writes one huge file": Attack(
        "try:\n    open('/results/x', 'wb').write(bytes(100 << 20)); print('PWNED')\nexcept OSError: pass",
        without_bounds,
        open_limits={"disk": 1 << 30},
    ),
    "traces a process": Attack(SYSCALLS + f"print('' if refused({PTRACE}, 0, 0, 0, 0) else 'PWNED')", unfiltered),
    "loads a BPF program": Attack(
        SYSCALLS + f"print('' if refused({BPF}, 0, 0, 0) else 'PWNED')",
        lambda body: (as_root(body), body["HostConfig"].update(ReadonlyRootfs=True))[0],
    ),
    "uses the kernel's keys": Attack(SYSCALLS + f"print('' if refused({KEYCTL}, 0, -3, 1) else 'PWNED')", unfiltered),
    "opens a file by its handle": Attack(
        SYSCALLS + f"print('' if refused({HANDLE}, -1, 0, 0) else 'PWNED')", as_root
    ),
    "makes a user namespace": Attack(
        SYSCALLS + f"print('' if refused({UNSHARE}, 0x10000000) else 'PWNED')", unfiltered
    ),
    "watches the kernel": Attack(SYSCALLS + f"print('' if refused({PERF}, 0, 0, -1, -1, 0) else 'PWNED')", as_root),
}  # fmt: skip


@pytest.fixture(
    params=[
        pytest.param("docker", marks=pytest.mark.needs("docker")),
        pytest.param("podman", marks=pytest.mark.needs("podman")),
    ]
)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ContainerBench]:
    """A runtime on each engine in turn."""
    made = ContainerBench(tmp_path, request.param)
    yield made
    made.close()


def weaken(monkeypatch: pytest.MonkeyPatch, guard_off: Callable[[Body], None]) -> None:
    """From now on containers are made without a guard."""
    real = requests.body

    def weak(*words: Any) -> Body:
        body = real(*words)
        guard_off(body)
        return body

    monkeypatch.setattr(requests, "body", weak)


def ran(bench: ContainerBench, attack: Attack, number: int, **changes: Any) -> tuple[Observed, bool]:
    """How the attempt ended, and whether the attack succeeded."""
    make = bench.shell if attack.busybox else bench.python
    if attack.busybox:
        changes = {"image": engines.image("BUSYBOX"), **changes}
    attempt = make(attack.code, number=number, **changes)
    seen = bench.run_it(attempt)
    return seen, "PWNED" in log_of(attempt)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_contained(bench: ContainerBench, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    attack = ATTACKS[name]
    with monkeypatch.context() as patch:
        weaken(patch, attack.guard_off)
        limits = replace(LIMITS, **attack.open_limits)
        assert ran(bench, attack, 1, limits=limits)[1], "without its guard the attack must succeed"
    (bench.folder / bench.run / "results" / "x").unlink(missing_ok=True)
    seen, succeeded = ran(bench, attack, 2)
    assert not succeeded
    assert seen.reason == attack.reason


def test_the_network_cannot_be_reached(bench: ContainerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        probe = Attack(
            f"import socket\nprint(socket.create_connection(('127.0.0.1', {port}), 20).recv(9).decode())", id
        )
        with monkeypatch.context() as patch:
            weaken(patch, host(NetworkMode="host"))
            assert ran(bench, probe, 1)[1], "without its guard the attack must succeed"
        assert not ran(bench, probe, 2)[1]


def answer(server: socket.socket) -> None:
    """Whoever connects is told PWNED."""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.sendall(b"PWNED")


def test_the_engine_cannot_be_reached(bench: ContainerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Attack("test -S /run/docker.sock && echo PWNED; true", id, busybox=True)
    place = bench.engine.url.removeprefix("unix://")
    bind = {"Type": "bind", "Source": place, "Target": "/run/docker.sock", "ReadOnly": False}
    with monkeypatch.context() as patch:
        weaken(patch, lambda body: body["HostConfig"]["Mounts"].append(bind))
        seen, succeeded = ran(bench, probe, 1)
        assert succeeded, "without its guard the attack must succeed"
        assert seen.sandbox["engine_socket"] is True, "what was reachable is observed from inside"
    seen, succeeded = ran(bench, probe, 2)
    assert (succeeded, seen.sandbox["engine_socket"]) == (False, False)


def test_a_program_with_the_setuid_bit_gains_nothing(bench: ContainerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = f"FROM {engines.image('PYTHON')}\nRUN cp /usr/bin/python3.11 /suid && chmod 4755 /suid\n"
    image = engines.publish("setuid", "1", recipe)
    list(bench.engine.pull(image))
    probe = Attack("/suid -I -c 'import os; print(\"PWNED\" if os.geteuid() == 0 else os.geteuid())'", id, busybox=True)
    with monkeypatch.context() as patch:
        weaken(patch, host(SecurityOpt=["seccomp=unconfined"]))
        assert ran(bench, probe, 1, image=image)[1], "without its guard the attack must succeed"
    assert not ran(bench, probe, 2, image=image)[1]


def test_an_image_that_preloads_is_refused(bench: ContainerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = f"FROM {engines.image('BUSYBOX')}\nENV LD_PRELOAD=/evil.so\nWORKDIR /proc/self/fd\nVOLUME /hidden\n"
    image = engines.publish("preload", "1", recipe)
    list(bench.engine.pull(image))
    probe = Attack('test -n "$LD_PRELOAD" && echo PWNED; pwd; true', id, busybox=True)
    with monkeypatch.context() as patch:
        patch.setattr(type(bench.runtime), "_usable_image", lambda *_words: ("/hidden",))
        assert ran(bench, probe, 1, image=image)[1], "without its guard the attack must succeed"
        assert "/results" in log_of(bench.made[-1]), "the image does not choose where a run begins"
    with pytest.raises(RuntimeRefusedError) as refusal:
        bench.runtime.create(bench.shell("true", number=2, image=image))
    assert refusal.value.reason == "UnsafeImage"


def test_a_volume_of_the_image_is_memory(bench: ContainerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = f"FROM {engines.image('BUSYBOX')}\nRUN mkdir -m 777 /hidden\nVOLUME /hidden\n"
    image = engines.publish("volume", "1", recipe)
    list(bench.engine.pull(image))
    probe = Attack("grep -q ' /hidden .* tmpfs ' /proc/self/mountinfo || echo PWNED; true", id, busybox=True)
    with monkeypatch.context() as patch:
        weaken(patch, lambda body: body["HostConfig"]["Tmpfs"].pop("/hidden"))
        assert ran(bench, probe, 1, image=image)[1], "without its guard the attack must succeed"
    assert not ran(bench, probe, 2, image=image)[1]


def test_a_tag_that_moves_changes_nothing(bench: ContainerBench) -> None:
    recipe = "FROM {}\nENV WHICH={}\n"
    first = engines.publish("moving", "1", recipe.format(engines.image("BUSYBOX"), "first"))
    engines.publish("moving", "1", recipe.format(engines.image("BUSYBOX"), "PWNED"))
    probe = Attack("echo $WHICH", id, busybox=True)
    tag = first.partition("@")[0] + ":1"
    list(bench.engine.pull(tag))
    list(bench.engine.pull(first))
    with pytest.raises(RuntimeRefusedError, match="digest"):
        bench.runtime.create(bench.shell("true", number=3, image=tag))
    moved = bench.engine.image(tag)
    assert "WHICH=PWNED" in moved["Config"]["Env"], "whoever runs the tag runs the other one"
    assert not ran(bench, probe, 2, image=first)[1]


def test_filling_the_disk_file_by_file_ends_it(bench: ContainerBench) -> None:
    filler = "i=0; while :; do i=$((i+1)); dd if=/dev/zero of=/results/$i bs=1M count=8 2>/dev/null; done"
    seen = bench.run_it(bench.shell(filler, limits=replace(LIMITS, disk=16 << 20)))
    assert seen.reason == "DiskLimitExceeded"


def test_a_flood_in_the_log_is_cut_and_the_run_goes_on(bench: ContainerBench) -> None:
    attempt = bench.shell("yes 2>/dev/null | head -c 300000; echo ended > /results/end")
    attempt = replace(attempt, argv=("sh", "-c", "dd if=/dev/zero bs=1000 count=300; echo ended > /results/end"))
    attempt = replace(attempt, limits=replace(LIMITS, log_bytes=100_000))
    assert bench.run_it(attempt).exit_code == 0
    assert os.path.getsize(attempt.log) < 101_000  # noqa: PTH202  # as short as it gets
    assert "the log is cut here" in log_of(attempt)
    assert (attempt.results / "end").read_text() == "ended\n"


def test_a_secret_is_in_no_answer_of_the_engine_and_no_log(bench: ContainerBench) -> None:
    canary = "can'ary-5d1f\nsecond line"
    code = "import os; print('ready', flush=True); print(os.environ['KEY'])"
    attempt = bench.python(code, secrets={"KEY": canary})
    bench.begin(attempt)
    bench.started(attempt)
    assert "5d1f" not in str(bench.engine.inspect(attempt.name))
    seen = bench.until(attempt, RuntimeState.EXITED)
    assert seen.exit_code == 0
    assert "[redacted]" in log_of(attempt)
    for path in attempt.run_dir.rglob("*"):
        assert not path.is_file() or b"5d1f" not in path.read_bytes(), path
