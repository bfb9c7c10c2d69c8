"""Attacks on the process runtime. Each first succeeds with its guard switched off, then fails with it.

An attack is a program that prints "breached" when it got what it wanted.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.ports.runtime import AttemptSpec, Observed
from controller.runtimes.process import runtime, seccomp
from tests.unit.runtimes.bench import LIMITS, OPEN_BOOT, PYTHON, Bench, eventually, log_of

NAMESPACES = [
    pytest.param("bwrap", marks=pytest.mark.needs("bwrap")),
    pytest.param("unshare", marks=pytest.mark.needs("userns")),
]
MIB = 1 << 20


@pytest.fixture(params=NAMESPACES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A runtime with each launcher that isolates."""
    made = Bench(tmp_path, request.param)
    yield made
    made.close()


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Bench]:
    """A runtime without namespaces."""
    folder = tmp_path / "bare"
    folder.mkdir()
    made = Bench(folder, "none")
    yield made
    made.close()


def attack(bench: Bench, code: str, *words: str, **changes: Any) -> tuple[bool, Observed]:
    """Did it get through?"""
    attempt = bench.python(code, run=f"attack-{len(bench.made):08d}", **changes)
    attempt = replace(attempt, argv=(*attempt.argv, *words))
    seen = bench.run(attempt)
    return "breached" in log_of(attempt), seen


@contextmanager
def bystander(*command: str) -> Iterator[int]:
    """A process of the host that has nothing to do with any run; gives its pid."""
    process = subprocess.Popen(command)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def unfiltered(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No seccomp filter, until undone."""
    with monkeypatch.context() as patched:
        patched.setattr(seccomp, "program", lambda: (None, "switched off by a test"))
        yield patched


@pytest.fixture
def privileged(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Plain runs keep the reconciler's privileges, until undone."""
    with monkeypatch.context() as patched:
        patched.setattr(runtime, "BOOT", OPEN_BOOT)
        yield patched


READ = "import sys\nif 'precious' in open(sys.argv[1]).read(): print('breached')"


@pytest.mark.parametrize("place", ["home", "keys", "store"])
def test_reading_what_is_ours(bench: Bench, bare: Bench, place: str) -> None:
    root = Path.home() if place == "home" else bench.folder
    with tempfile.TemporaryDirectory(dir=root, prefix=".fetchml-test-") as folder:
        target = Path(folder) / place
        target.write_text("precious")
        assert attack(bare, READ, str(target))[0]
        assert not attack(bench, READ, str(target))[0]


def test_reading_secrets_of_etc(bench: Bench, bare: Bench) -> None:
    code = "import os\nif len(os.listdir('/etc')) > 12 or os.path.exists('/etc/shadow'): print('breached')"
    assert attack(bare, code)[0]
    assert not attack(bench, code)[0]


def test_writing_outside_of_the_results(bench: Bench, bare: Bench) -> None:
    code = (
        "import sys\n"
        "for place in sys.argv[1:]:\n"
        "    try: open(place + '/planted', 'w').write('x')\n"
        "    except OSError: continue\n"
        "    print('breached')"
    )
    places = [str(bench.folder), "/usr", "/etc", "/", "/dev", "/proc"]
    assert attack(bare, code, str(bare.folder))[0]
    assert not attack(bench, code, *places)[0]
    assert not (bench.folder / "planted").exists()


def test_remounting_the_root_writable(bench: Bench, unfiltered: pytest.MonkeyPatch) -> None:
    code = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None)\n"
        "if libc.unshare(0x10020000) == 0 and libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0: print('breached')"
    )
    assert attack(bench, code)[0]
    unfiltered.undo()
    assert not attack(bench, code)[0]


@pytest.mark.parametrize("call", ["unshare(0x10000000)", "syscall(56, 0x10000011, 0, 0, 0, 0)"])
def test_new_user_namespaces(bench: Bench, unfiltered: pytest.MonkeyPatch, call: str) -> None:
    code = f"import ctypes\nif ctypes.CDLL(None).{call} >= 0: print('breached', flush=True)"
    assert attack(bench, code)[0]
    unfiltered.undo()
    assert not attack(bench, code)[0]


def test_tracing_another_process(bench: Bench, unfiltered: pytest.MonkeyPatch) -> None:
    code = (
        "import ctypes, os, time\n"
        "pid = os.fork()\n"
        "if pid == 0: time.sleep(30); os._exit(0)\n"
        "if ctypes.CDLL(None).ptrace(16, pid, None, None) == 0: print('breached')\n"
        "os.kill(pid, 9)"
    )
    assert attack(bench, code)[0]
    unfiltered.undo()
    assert not attack(bench, code)[0]


def test_reading_another_process_s_memory(bench: Bench, unfiltered: pytest.MonkeyPatch) -> None:
    code = (
        "import ctypes, os, time\n"
        "buffer = ctypes.create_string_buffer(b'precious'); room = ctypes.create_string_buffer(8)\n"
        "pid = os.fork()\n"
        "if pid == 0: time.sleep(30); os._exit(0)\n"
        "class V(ctypes.Structure): _fields_ = [('b', ctypes.c_void_p), ('l', ctypes.c_size_t)]\n"
        "here, there = V(ctypes.addressof(room), 8), V(ctypes.addressof(buffer), 8)\n"
        "n = ctypes.CDLL(None).process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)\n"
        "if n == 8 and room.raw == b'precious': print('breached')\n"
        "os.kill(pid, 9)"
    )
    assert attack(bench, code)[0]
    unfiltered.undo()
    assert not attack(bench, code)[0]


def test_turning_off_address_randomisation(bench: Bench, unfiltered: pytest.MonkeyPatch) -> None:
    code = (
        "import ctypes\nlibc = ctypes.CDLL(None)\n"
        "assert libc.personality(0xffffffff) == 0, 'asking is allowed'\n"
        "if libc.personality(0x0040000) >= 0: print('breached')"
    )
    assert attack(bench, code)[0]
    unfiltered.undo()
    breached, seen = attack(bench, code)
    assert (breached, seen.exit_code) == (False, 0)


def test_the_init_of_the_namespace_is_no_way_out(bench: Bench) -> None:
    """It is not the user's program and has its user id: it must hold no privilege that the program lacks."""
    code = (
        "import os, sys\n"
        "def facts(pid):\n"
        "    lines = dict(line.split(':', 1) for line in open(f'/proc/{pid}/status'))\n"
        "    names = ('CapEff', 'CapPrm', 'CapBnd', 'NoNewPrivs', 'Seccomp', 'Seccomp_filters')\n"
        "    return [lines[name] for name in names]\n"
        "if facts(1) != facts('self'): print('breached', facts(1))\n"
        "if 'fetchml-' 'supervisor' in open('/proc/1/cmdline').read(): print('breached: paths of the host')"
    )
    breached, seen = attack(bench, code)
    assert (breached, seen.exit_code) == (False, 0)


def test_reaching_a_listener_of_the_host(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        code = "import socket, sys\nsocket.create_connection(('127.0.0.1', int(sys.argv[1])))\nprint('breached')"
        assert attack(bench, code, port, network=True)[0]
        assert not attack(bench, code, port)[0]


def test_reaching_an_abstract_socket_of_the_host(bench: Bench) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0fetchml-test-{os.getpid()}")
        server.listen()
        code = "import socket, sys\nsocket.socket(socket.AF_UNIX).connect('\\0' + sys.argv[1])\nprint('breached')"
        assert attack(bench, code, f"fetchml-test-{os.getpid()}", network=True)[0]
        assert not attack(bench, code, f"fetchml-test-{os.getpid()}")[0]


SPY = (
    "import glob\n"
    "for path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline'):\n"
    "    try: text = open(path, 'rb').read()\n"
    "    except OSError: continue\n"
    "    if b'canary-of-' + b'the-victim' in text: print('breached', path)"
)


def test_reading_the_secrets_of_another_run_and_its_supervisor(
    bench: Bench, bare: Bench, privileged: pytest.MonkeyPatch
) -> None:
    victims = [
        made.attempt("sh", "-c", "echo ready; exec sleep 300", secrets={"KEY": "canary-of-the-victim"})
        for made in (bare, bench)
    ]
    for made, victim in zip((bare, bench), victims, strict=True):
        made.begin(victim)
        made.started(victim)
    assert attack(bare, SPY)[0]
    privileged.undo()
    assert not attack(bench, SPY)[0]


def test_signalling_processes_of_the_host(bench: Bench, bare: Bench) -> None:
    code = "import os, sys\nos.kill(int(sys.argv[1]), 0)\nprint('breached')"
    with bystander("sleep", "300") as victim:
        assert attack(bare, code, str(victim))[0]
        assert not attack(bench, code, str(victim))[0]


FORKS = (
    "import os, time\n"
    "for _ in range(120):\n"
    "    if os.fork() == 0: time.sleep(30); os._exit(0)\n"
    "time.sleep(1)\nprint('breached', flush=True)"
)


def test_a_fork_bomb(bench: Bench) -> None:
    assert attack(bench, FORKS, limits=replace(LIMITS, processes=200))[0]
    breached, seen = attack(bench, FORKS, limits=replace(LIMITS, processes=40))
    assert not breached
    # Who is not exempt meets the kernel's limit first (EAGAIN, exit 1), else the supervisor ends the run.
    assert seen.reason == "ProcessLimitExceeded" or seen.exit_code == 1


BLOAT = (
    "import time\nparts = []\n"
    "for _ in range(30):\n    parts.append(bytearray(10 << 20)); time.sleep(0.02)\n"
    "time.sleep(0.5)\nprint('breached')"
)


@pytest.mark.parametrize(
    "code",
    [
        BLOAT,
        BLOAT.replace("bytearray(10 << 20)", "mmap.mmap(-1, 10 << 20)")
        .replace("time.sleep(0.02)", "parts[-1].write(b'x' * (10 << 20)); time.sleep(0.02)")
        .replace("import time", "import mmap, time"),
        BLOAT.replace("parts = []", "import os").replace(
            "parts.append(bytearray(10 << 20))",
            "os.fork() or (bytearray(10 << 20), time.sleep(2), os._exit(0))",
        ),
        (
            "import time\nopen('/dev/shm/x', 'wb').write(b'x' * (85 << 20))\n"
            "x = bytearray(110 << 20)\ntime.sleep(1)\nprint('breached')"
        ),
    ],
    ids=["heap", "shared", "children", "files-in-memory"],
)
def test_a_memory_bomb(bench: Bench, code: str) -> None:
    assert attack(bench, code, limits=replace(LIMITS, memory=2048 * MIB))[0]
    breached, seen = attack(bench, code, limits=replace(LIMITS, memory=180 * MIB))
    assert not breached
    assert (seen.exit_code, seen.reason) == (137, "OutOfMemory")


@pytest.mark.parametrize("place", ["/tmp/x", "/dev/shm/x"])
def test_filling_memory_with_files(bench: Bench, place: str) -> None:
    code = f"open({place!r}, 'wb').write(b'x' * (60 << 20))\nprint('breached')"
    assert attack(bench, code)[0]
    assert not attack(bench, code, limits=replace(LIMITS, memory=50 * MIB))[0]


def test_one_file_that_fills_the_disk(bench: Bench) -> None:
    code = "import sys\nopen(sys.argv[1] + '/x', 'wb').write(b'x' * (20 << 20))\nprint('breached')"
    assert attack(bench, code, "$(results)")[0]
    assert not attack(bench, code, "$(results)", limits=replace(LIMITS, disk=10 * MIB))[0]


def test_many_files_that_fill_the_disk(bench: Bench) -> None:
    code = (
        "import sys, time\n"
        "for n in range(20): open(f'{sys.argv[1]}/{n}', 'wb').write(b'x' * (1 << 20))\n"
        "time.sleep(3)\nprint('breached')"
    )
    assert attack(bench, code, "$(results)")[0]
    breached, seen = attack(bench, code, "$(results)", limits=replace(LIMITS, disk=10 * MIB))
    assert (breached, seen.exit_code, seen.reason) == (False, 137, "DiskLimitExceeded")


def test_more_open_files_than_allowed(bench: Bench) -> None:
    code = "files = [open('/dev/null') for _ in range(200)]\nprint('breached')"
    assert attack(bench, code)[0]
    assert not attack(bench, code, limits=replace(LIMITS, open_files=100))[0]


def test_more_processors_than_asked_for(bench: Bench) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("a machine with one processor has no second one to take")
    code = "import os\nif len(os.sched_getaffinity(0)) > 1: print('breached')"
    assert attack(bench, code, limits=replace(LIMITS, cpu=2))[0]
    assert not attack(bench, code, limits=replace(LIMITS, cpu=0.5))[0]


ORDINARY = """
import json, os, sys
from pathlib import Path
from controller.runtimes.process import runtime
from tests.unit.runtimes import bench as benches
folder, launcher, guarded, code = sys.argv[1:]
if guarded == "no":
    runtime.BOOT = benches.OPEN_BOOT
bench = benches.Bench(Path(folder), launcher)
limits = benches.replace(benches.LIMITS, processes=40)
attempt = bench.attempt(benches.PYTHON, "-I", "-c", code, folder, interpreter_prefix=benches.PREFIX, limits=limits)
try:
    seen = bench.run(attempt)
    print(json.dumps({"uid": os.getuid(), "log": benches.log_of(attempt), "code": seen.exit_code, "reason": seen.reason,
                      "sandbox": seen.sandbox}))
finally:
    bench.close()
"""


class Ordinary:
    """Runs attempts as an account without any privilege."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fetchml-ordinary-"))
        self.folder.chmod(0o755)
        root = Path(__file__).parents[2]
        for name in ("controller", "tests"):
            shutil.copytree(root / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__", "fixtures"))
        for module in ("pyseccomp", "rfc8785"):
            found = Path(str(__import__(module).__file__))
            source = found.parent if found.name == "__init__.py" else found
            target = self.folder / source.name
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        (self.folder / "work").mkdir()
        self._as_account("chmod", "-R", "a+rX", str(self.folder), uid="0")
        os.chown(self.folder / "work", 65534, 65534)
        self.python = next(path for path in (PYTHON, "/usr/bin/python3") if self._works(path))
        self.runs = 0

    @staticmethod
    def _as_account(*words: str, uid: str = "65534", **options: Any) -> subprocess.CompletedProcess[str]:
        command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *words]
        return subprocess.run(command, check=False, capture_output=True, text=True, **options)

    def _works(self, python: str) -> bool:
        code = "import os, sys; sys.exit(sys.version_info < (3, 11) or not os.access(sys.executable, os.X_OK))"
        try:
            return self._as_account(python, "-c", code).returncode == 0
        except OSError:
            return False

    def attack(self, launcher: str, code: str, *, guarded: bool = True) -> dict[str, Any]:
        """The outcome of one attempt."""
        self.runs += 1
        folder = self.folder / "work" / str(self.runs)
        folder.mkdir()
        os.chown(folder, 65534, 65534)
        env = {"PYTHONPATH": str(self.folder), "HOME": "/nonexistent", "PATH": os.environ["PATH"]}
        words = (self.python, "-c", ORDINARY, str(folder), launcher, "yes" if guarded else "no", code)
        done = self._as_account(*words, env=env, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = __import__("json").loads(done.stdout)
        assert result["uid"] == 65534
        return result


@pytest.fixture(scope="module")
def ordinary() -> Iterator[Ordinary]:
    made = Ordinary()
    yield made
    shutil.rmtree(made.folder)


@pytest.mark.needs("unprivileged")
@pytest.mark.parametrize("launcher", NAMESPACES)
def test_an_ordinary_account_isolates_its_runs(ordinary: Ordinary, launcher: str) -> None:
    seen = ordinary.attack(launcher, "import os; print(os.getuid(), os.listdir('/results'))")
    assert (seen["code"], seen["log"].strip()) == (0, "1000 []")
    assert seen["sandbox"]["isolated"] is True, seen["sandbox"]["why"]
    assert seen["sandbox"]["seccomp"] is True
    assert seen["sandbox"]["uid_map"][0][0] == 1000
    assert seen["sandbox"]["outer_uid"] == 65534
    assert seen["sandbox"]["limits"]["processes"] == {"value": 40, "enforcer": "rlimit, supervisor (polled)"}


@pytest.mark.needs("unprivileged")
@pytest.mark.parametrize("launcher", NAMESPACES)
def test_the_kernel_counts_the_processes_of_an_ordinary_account(ordinary: Ordinary, launcher: str) -> None:
    code = "import os, resource\nprint(resource.getrlimit(resource.RLIMIT_NPROC))\n" + FORKS
    seen = ordinary.attack(launcher, code)
    assert "(40, 40)" in seen["log"]
    assert "breached" not in seen["log"]
    assert "BlockingIOError" in seen["log"], "fork itself must fail, before the supervisor looks"


@pytest.mark.needs("unprivileged")
def test_a_setuid_program_gains_nothing(ordinary: Ordinary) -> None:
    tool = ordinary.folder / "setuid-id"
    shutil.copy("/usr/bin/id", tool)
    tool.chmod(0o4755)
    code = (
        f"import subprocess\nshown = subprocess.run([{str(tool)!r}, '-u'], capture_output=True).stdout\n"
        "if shown == b'0\\n': print('breached')"
    )
    assert "breached" in ordinary.attack("none", code, guarded=False)["log"]
    assert "breached" not in ordinary.attack("none", code)["log"]
    inside = (
        "import glob, os, stat\n"
        "found = [p for p in glob.glob('/usr/bin/*') if os.path.exists(p) and os.stat(p).st_mode & stat.S_ISUID]\n"
        "assert found, 'nothing to try'\n"
        "if any(not os.statvfs(p).f_flag & os.ST_NOSUID for p in found): print('breached')"
    )
    assert "breached" in ordinary.attack("none", inside)["log"]
    for launcher in ("bwrap", "unshare"):
        seen = ordinary.attack(launcher, inside)
        assert (seen["code"], seen["log"]) == (0, "")


@pytest.mark.needs("unprivileged")
@pytest.mark.parametrize("launcher", NAMESPACES)
def test_one_account_s_runs_do_not_see_each_other(ordinary: Ordinary, launcher: str) -> None:
    command = (
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "env",
        "KEY=canary-of-the-victim",
        "sleep",
        "300",
    )
    with bystander(*command) as victim:
        eventually(lambda: b"canary-of-the-victim" in Path(f"/proc/{victim}/environ").read_bytes())
        assert "breached" in ordinary.attack("none", SPY)["log"]
        assert "breached" not in ordinary.attack(launcher, SPY)["log"]


def test_python_of_the_tests_is_what_runs(bench: Bench) -> None:
    attempt: AttemptSpec = bench.python("import sys; print(sys.version.split()[0])")
    assert bench.run(attempt).exit_code == 0
    assert log_of(attempt).strip() == sys.version.split()[0]
