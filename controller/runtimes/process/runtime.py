"""The process runtime: attempts as processes of this host, each under its own supervisor.

Promises: what ports/runtime.py promises. create and start are idempotent; a run outlives the reconciler; a supervisor
that is killed takes its run with it, and the attempt reads LOST. Secrets pass through memory only.
Does not: need root or an engine. Without namespaces it still runs attempts and says that they are not isolated.
"""

import marshal
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import zlib
from dataclasses import asdict, fields
from math import ceil
from pathlib import Path

import controller
from controller.facts.facts import SandboxFacts
from controller.ports import durable, folders
from controller.ports.clock import Clock
from controller.ports.runtime import AttemptSpec, Observed, Runtime, RuntimeRefusedError, RuntimeState
from controller.runtimes import inside
from controller.runtimes.process import layout, procfs, records, seccomp, state, supervisor

CREATE = durable.register("process.create", "attempt.json: what was asked for")
START = durable.register("process.start", "a supervisor exists, and has claimed the attempt")
STOP = durable.register("process.stop", "stop.json: the request to stop")
REMOVE = durable.register("process.remove", "processes and scratch of an attempt are gone")

BOOT = "import sys; sys.path.append(sys.argv[1]); from controller.runtimes.process.supervisor import main; main()"
"""What the supervisor's interpreter runs: a module, so that its compiled form is cached."""

_ROOT = str(Path(controller.__file__).parent.parent)
_MARKS = ("FETCHML_STORE_ID", "FETCHML_ATTEMPT_NAME")


class ProcessRuntime(Runtime):
    """Runs attempts through bubblewrap, namespaces, or plainly, as `sandbox` says."""

    name = "process"

    def __init__(self, clock: Clock, sandbox: SandboxFacts) -> None:
        self._clock = clock
        self._sandbox = sandbox
        self._watch = select.epoll()
        self._watched: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stores: set[str] = set()
        self._waiting: dict[str, subprocess.Popen[bytes]] = {}

    def expect(self, name: str, run_dir: Path, store_id: str) -> None:
        """Start the supervisor's interpreter beside the staging; it waits for its payload, and ends if we do."""
        with self._lock:
            if name not in self._waiting and Path(state.place(name, run_dir)).is_dir():
                self._waiting[name] = _interpreter(name, run_dir, store_id)

    def create(self, attempt: AttemptSpec) -> None:
        """Write attempt.json, unless it is there.

        Raises:
            RuntimeRefusedError: see inside.check; NotOurs when another store's attempt has this name and folder.
        """
        inside.check(attempt)
        self._stores.add(attempt.store_id)
        place = records.folder(str(attempt.run_dir), attempt.number)
        existing = records.load(place, records.ATTEMPT)
        if existing is not None:
            if (existing.get("name"), existing.get("store_id")) != (attempt.name, attempt.store_id):
                raise RuntimeRefusedError("NotOurs", f"{attempt.run_dir} holds an attempt of somebody else")
            return
        for path in (Path(place), attempt.results, attempt.checkpoints):
            if path is not None:
                path.mkdir(parents=True, exist_ok=True)
        with durable.step(CREATE):
            records.save(place, records.ATTEMPT, _record(attempt))

    def start(self, attempt: AttemptSpec) -> None:
        """Start a supervisor and wait until it, or an earlier one, has claimed the attempt.

        Raises:
            LookupError: it was never created.
            OSError: no supervisor could be started or none could claim (disk full, ...).
        """
        place = records.folder(str(attempt.run_dir), attempt.number)
        if records.read(place, records.ATTEMPT) is None:
            raise LookupError(f"{attempt.name} was not created")
        if records.claimed(place) is None:
            with durable.step(START):
                self._spawn(attempt, place)
        self._observe(attempt.name, attempt.run_dir)

    def _spawn(self, attempt: AttemptSpec, place: str) -> None:
        payload = marshal.dumps(self._payload(attempt, place))
        answer = b""
        with self._lock:
            waiting = self._waiting.pop(attempt.name, None)
        if waiting is not None:
            answer = _hand_over(waiting, payload)
        if not answer:  # nobody waited, or it was killed meanwhile: without an answer nothing was claimed
            answer = _hand_over(_interpreter(attempt.name, attempt.run_dir, attempt.store_id), payload)
        if answer not in (supervisor.CLAIMED, supervisor.TAKEN):
            raise OSError(f"the supervisor of {attempt.name} did not start: {answer.decode(errors='replace').strip()}")

    def _payload(self, attempt: AttemptSpec, place: str) -> dict[str, object]:
        """Everything a supervisor needs, as plain values."""
        namespace = self._sandbox.mount_namespace
        home = "/tmp"  # noqa: S108  # the run's own tmpfs
        if not namespace:
            scratch = Path(place, records.SCRATCH)
            scratch.mkdir(mode=0o700, exist_ok=True)
            home = str(scratch)
        program, missing = seccomp.program()
        limits = attempt.limits
        exempt = os.getuid() == 0 or not namespace
        folders = (attempt.workspace, attempt.results, attempt.checkpoints)
        return {
            "folder": place,
            "log": str(attempt.log),
            "secrets": [value.encode("utf-8", "surrogateescape") for value in attempt.secrets.values()],
            "limits": asdict(limits),
            "watched": [str(path) for path in folders if path is not None],
            "spread": zlib.crc32(attempt.name.encode()),
            "why": "; ".join(text for text in (self._sandbox.why, missing) if text),
            "launch": {
                "launcher": self._sandbox.launcher,
                "bwrap": shutil.which("bwrap") or "",
                "argv": inside.command(attempt, namespace=namespace),
                "env": layout.environment(attempt, namespace=namespace, home=home),
                "cwd": inside.working_directory(attempt, namespace=namespace),
                "operations": layout.operations(attempt) if namespace else [],
                "network": attempt.network or not self._sandbox.network_namespace,
                "seccomp": program,
                "uid": layout.UID,
                "cpus": ceil(limits.cpu),
                "rlimits": {
                    "file_size": limits.disk,
                    "open_files": limits.open_files,
                    "processes": 0 if exempt else limits.processes,
                },
            },
        }

    def inspect(self, name: str, run_dir: Path) -> Observed:
        """The records, and whether the supervisor lives."""
        return self._observe(name, run_dir)

    def _observe(self, name: str, run_dir: Path) -> Observed:
        seen = state.observe(name, run_dir)
        if seen.state is RuntimeState.RUNNING:
            self._watch_end(name, run_dir)
        return seen

    def _watch_end(self, name: str, run_dir: Path) -> None:
        """Let wait() return when this supervisor ends."""
        who = state.claimed_by(name, run_dir)
        with self._lock:
            if who is None or name in self._watched:
                return
            try:
                fd = os.pidfd_open(who[0])
            except OSError:
                return
            self._watched[name] = fd
            self._watch.register(fd, select.EPOLLIN)

    def stop(self, name: str, run_dir: Path, *, grace: float) -> None:
        """Leave a request, which stands even if this process dies now, and wake the supervisor."""
        seen = state.observe(name, run_dir)
        if seen.state not in (RuntimeState.CREATED, RuntimeState.RUNNING):
            return
        place = state.place(name, run_dir)
        with durable.step(STOP):
            records.save(place, records.STOP, {"grace": grace})
        if seen.state is RuntimeState.CREATED and records.claim(place, "0 0 stopped"):
            records.save(place, records.EXIT, state.never_started(self._clock.now()))

    def remove(self, name: str, run_dir: Path) -> None:
        """Kill what is left of the attempt and delete its scratch."""
        with self._lock:
            waiting = self._waiting.pop(name, None)
        if waiting is not None:
            _dismiss(waiting)
        with durable.step(REMOVE):
            for pid, _store, found, folder in _supervisors():
                if found == name and folder == str(run_dir):
                    procfs.signal_process(pid, signal.SIGKILL, lambda pid=pid: _is_supervisor(pid, name))
            self._kill_strays(name, run_dir)
            place = state.place(name, run_dir)
            if place:
                records.clear(place)
                folders.remove(Path(place, records.SCRATCH))

    def _kill_strays(self, name: str, run_dir: Path) -> None:
        """Kill processes that began with the attempt's environment, until there are none."""
        record = records.load(state.place(name, run_dir), records.ATTEMPT) or {}
        stores = self._stores | {str(record.get("store_id"))}
        for _ in range(100):
            strays = [(pid, marks) for pid, marks in _marked() if marks[1] == name and marks[0] in stores]
            if not strays:
                return
            for pid, marks in strays:
                procfs.signal_process(
                    pid, signal.SIGKILL, lambda pid=pid, marks=marks: procfs.marks(pid, _MARKS) == marks
                )
            self._clock.sleep(0.01)

    def list(self, store_id: str) -> tuple[Observed, ...]:
        """Living supervisors of this store (CREATED: about to claim), and what dead ones left behind (LOST)."""
        self._stores.add(store_id)
        found: dict[str, Observed] = {}
        for _pid, store, name, folder in _supervisors():
            seen = state.observe(name, Path(folder)) if store == store_id else None
            if seen is not None and seen.state is RuntimeState.ABSENT:
                found[name] = state.unrecorded(name)
            elif seen is not None and seen.state in (RuntimeState.CREATED, RuntimeState.RUNNING):
                found[name] = seen  # others of that name are late: ended, or never to claim
        for _pid, (store, name) in _marked():
            if store == store_id and name not in found:
                found[name] = state.stray(name)
        return tuple(found[name] for name in sorted(found))

    def wait(self, timeout: float) -> None:
        """Return when a supervisor that start, inspect or list has seen running ends."""
        ended = {fd for fd, _ in self._watch.poll(timeout)}
        with self._lock:
            for name, fd in [item for item in self._watched.items() if item[1] in ended]:
                self._watch.unregister(fd)
                os.close(fd)
                del self._watched[name]


def _interpreter(name: str, run_dir: Path, store_id: str) -> "subprocess.Popen[bytes]":
    """A supervisor that waits for its payload on standard input; without one it ends."""
    number = state.number_of(name)
    words = [sys.executable, "-I", "-S", "-c", BOOT, _ROOT, supervisor.MARK, store_id, name, state.run_id_of(name)]
    with Path(state.place(name, run_dir), "supervisor.log").open("ab") as errors:
        return subprocess.Popen(
            [*words, str(number), str(run_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd="/",
            env={},
        )


def _hand_over(process: "subprocess.Popen[bytes]", payload: bytes) -> bytes:
    """Give it its payload; its answer, empty when it died before it claimed anything."""
    assert process.stdin is not None  # noqa: S101  # opened as pipes
    assert process.stdout is not None  # noqa: S101  # as above
    try:
        process.stdin.write(payload)
        process.stdin.close()
    except OSError:
        pass  # it is dead; its answer says so
    answer = process.stdout.readline()
    _dismiss(process)
    return answer


def _dismiss(process: "subprocess.Popen[bytes]") -> None:
    """Let go of it; one that has no payload ends by itself."""
    for pipe in (process.stdin, process.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except OSError:
            pass  # what was not delivered is lost with it
    process.wait()  # the first process; the supervisor is its child


def _record(attempt: AttemptSpec) -> dict[str, object]:
    """attempt.json: the request with the names of its secrets, never their values."""
    values = {field.name: getattr(attempt, field.name) for field in fields(attempt)}
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}
    return plain | {
        "format": "fetchml.process/v1",
        "secrets": sorted(attempt.secrets),
        "mounts": [[str(mount.source), mount.target] for mount in attempt.mounts],
        "mount_names": dict(attempt.mount_names),
        "env": dict(attempt.env),
        "limits": asdict(attempt.limits),
    }


def _supervisors() -> list[tuple[int, str, str, str]]:
    """pid, store id, attempt name and run folder of every living supervisor in our pid namespace.

    A sandboxed program can take the same arguments, but not leave its pid namespace.
    """
    found = []
    for pid in procfs.pids():
        words = procfs.command_line(pid)
        if len(words) == 12 and words[6] == supervisor.MARK and procfs.own_namespace(pid):
            found.append((pid, words[7], words[8], words[11]))
    return found


def _is_supervisor(pid: int, name: str) -> bool:
    words = procfs.command_line(pid)
    return len(words) == 12 and words[6] == supervisor.MARK and words[8] == name


def _marked() -> list[tuple[int, tuple[str, ...]]]:
    """Processes that began with an attempt's marks in their environment."""
    pairs = ((pid, procfs.marks(pid, _MARKS)) for pid in procfs.pids())
    return [(pid, marks) for pid, marks in pairs if marks is not None]
