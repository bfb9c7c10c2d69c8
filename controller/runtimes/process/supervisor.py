"""The process that stays with one attempt: starts it once, watches it, ends it, records its end.

Promises: of any number of supervisors of an attempt exactly one passes the claim; the run dies with it; exit.json is
written when no process of the attempt is left. It outlives the reconciler and needs nothing from it once claimed.
Does not: retry, judge, or read any configuration. It starts with the standard library's built-in modules only, because
every import delays the user's first instruction; json is imported once the run is on its way.
"""

import marshal
import os
import select
import sys
import time

from controller.runtimes import measure
from controller.runtimes.process import bubblewrap, launch, namespaces, observed, procfs, records, signals
from controller.runtimes.process.capture import Log

MARK = "fetchml-supervisor"
"""Argument by which supervisors are recognised; followed by store id, attempt name, run id, number and run folder."""

CLAIMED = b"claimed\n"
TAKEN = b"taken\n"
_SIGNALLED = 128
"""Exit codes above it: the signal that ended the process, as shells say it."""
_LONGEST_TICK = 0.1
_DISK_EVERY = 1.0
_IN_MEMORY = ("tmp", "dev/shm")
"""The run's own tmpfs."""


def main() -> None:
    """Detach, wait for the payload on standard input, claim, supervise. Standard output is answered once."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    given = _read_all(0)
    if not given:
        return  # the reconciler died, or does not want us any more
    payload = marshal.loads(given)  # noqa: S302  # from our own parent, through a pipe that only it could write
    try:
        attempt = Attempt(payload)  # opens the log: what fails here leaves the attempt unclaimed, for a later start
        mine = records.claim(payload["folder"], "{} {} {}".format(*procfs.identity(os.getpid())))
    except OSError as error:
        _answer(f"error {error}\n".encode())
        return
    _answer(CLAIMED if mine else TAKEN)
    if mine:
        attempt.supervise()


def _read_all(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def _answer(line: bytes) -> None:
    """Tell the reconciler, which may be dead, and let go of its descriptors."""
    try:
        os.write(1, line)
    except OSError:
        pass  # it died; the attempt goes on
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)


def _stamp() -> str:
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"


class Attempt:
    """One attempt under way."""

    def __init__(self, payload: dict[str, object]) -> None:
        self.folder = str(payload["folder"])
        self.launch = launch.Launch(payload["launch"])  # type: ignore[arg-type]  # marshal keeps no types
        self.limits: dict[str, float] = payload["limits"]  # type: ignore[assignment]  # as above
        self.watched: list[str] = payload["watched"]  # type: ignore[assignment]  # as above
        self.spread = int(payload["spread"])  # type: ignore[call-overload]  # as above
        self.why = str(payload["why"])
        secrets: list[bytes] = payload["secrets"]  # type: ignore[assignment]  # as above
        self.log = Log(str(payload["log"]), int(self.limits["log_bytes"]), secrets)
        self.facts_pipe = -1
        self.facts = b""
        self.sandbox: dict[str, object] = {}
        self.child = 0
        self.code: int | None = None
        self.started_at: str | None = None
        self.began = time.monotonic()
        self.reason = self.message = ""
        self.kill_at: float | None = None
        self.told = False
        self.terminated = False
        self.stop_seen = 0
        self.tree = procfs.Tree(os.getpid())
        self.depth = len(procfs.status(os.getpid()).get(b"NSpid", b"").split())
        self.window = 0
        self.unlinked = 0
        self.peak = {"max_rss": 0, "ticks": 0}
        self.rusage = 0.0
        self.tick = 0.005
        self.sample_at = self.disk_at = 0.0
        self.poller = select.poll()

    def supervise(self) -> None:
        """From the claim to exit.json."""
        signals.signal(signals.SIGTERM, self._on_sigterm)
        signals.signal(signals.SIGINT, signals.SIG_IGN)
        signals.signal(signals.SIGHUP, signals.SIG_IGN)
        namespaces.become_subreaper()
        self.check_stop_file()
        if not self.reason:
            self.spawn()
            while self.code is None:
                self.turn()
        self.kill_everything()
        self.finish()

    def _on_sigterm(self, *_args: object) -> None:
        self.terminated = True

    def spawn(self) -> None:
        """Start the run and watch its pipes and its end."""
        self.facts_pipe, facts_sink = os.pipe()
        self.child = launch.start(self.launch, self.log.sink, facts_sink, self.spread)
        os.close(facts_sink)
        os.close(self.log.sink)
        self.poller.register(self.log.source, select.POLLIN)
        self.poller.register(self.facts_pipe, select.POLLIN)
        self.poller.register(os.pidfd_open(self.child), select.POLLIN)

    def turn(self) -> None:
        """Wait a little for news, then look at everything."""
        for fd, event in self.poller.poll(self.tick * 1000):
            if fd == self.log.source and not self.log.pump() and event & select.POLLHUP:
                self.poller.unregister(fd)
            elif fd == self.facts_pipe:
                self.read_facts()
        self.sample()
        self.check_requests()
        self.reap()

    def read_facts(self) -> None:
        """Collect what is said from inside; once it is complete the user's program begins."""
        data = os.read(self.facts_pipe, 1 << 16)
        self.facts += data
        complete = self.facts.rstrip().endswith(bubblewrap.END)
        if complete:
            self.begin()
        if complete or not data:
            self.poller.unregister(self.facts_pipe)

    def begin(self) -> None:
        """Record that the sandbox stands and the program runs."""
        self.started_at = _stamp()
        self.began = time.monotonic()
        self.sandbox = observed.sandbox(
            self.facts,
            self.launch.launcher,
            os.getuid(),
            network=self.launch.network,
            why=self.why,
            limits=dict(self.limits),
        )
        try:
            records.save(self.folder, records.STARTED, {"started_at": self.started_at, "sandbox": self.sandbox})
        except OSError:
            pass  # a full disk; exit.json says the same

    def check_requests(self) -> None:
        """Stop file, SIGTERM, deadline, and the end of a grace."""
        now = time.monotonic()
        self.check_stop_file()
        if self.terminated:
            self.end(
                "RuntimeLost", "the supervisor was told to end, as at a shutdown of the host", self.limits["grace"]
            )
        deadline = self.limits["deadline"]
        if deadline is not None and now - self.began > deadline:
            self.end("DeadlineExceeded", f"still running after {deadline:g} s", self.limits["grace"])
        if self.kill_at is None:
            return
        if time.monotonic() >= self.kill_at:
            self.kill()
        elif not self.told:
            self.told = self.signal_programs(signals.SIGTERM)

    def check_stop_file(self) -> None:
        """Obey the newest request to stop; a later one can only shorten the grace."""
        try:
            seen = os.stat(os.path.join(self.folder, records.STOP)).st_mtime_ns
        except OSError:
            return
        if seen != self.stop_seen:
            self.stop_seen = seen
            request = records.load(self.folder, records.STOP) or {}
            self.end("Stopped", "stopped on request", float(str(request.get("grace", 0))))

    def end(self, reason: str, message: str, grace: float) -> None:
        """SIGTERM now, SIGKILL after `grace` seconds; the first reason stands, the earliest kill counts."""
        if not self.reason:
            self.reason, self.message = reason, message
        kill_at = time.monotonic() + grace
        self.kill_at = kill_at if self.kill_at is None else min(kill_at, self.kill_at)

    def signal_programs(self, number: int) -> bool:
        """Signal the user's processes, not the launcher around them; False when there are none yet."""
        if self.started_at is None:
            return False
        programs = [pid for pid in self.tree.update(fresh=True) if self.is_program(pid)]
        return sum(procfs.signal_process(pid, number) for pid in programs) > 0

    def is_program(self, pid: int) -> bool:
        """Is it the user's, rather than the launcher or the init of its namespace?"""
        inner = procfs.status(pid).get(b"NSpid", b"").split()
        return self.launch.launcher == "none" or (len(inner) > self.depth and inner[-1] != b"1")

    def sample(self) -> None:
        """Look at memory, processes and disk; what is over its limit ends at once."""
        now = time.monotonic()
        if now < self.sample_at or self.started_at is None:
            return
        members = self.tree.update()
        seen = procfs.usage(members)
        self.peak["max_rss"] = max(self.peak["max_rss"], seen["resident"])
        self.peak["ticks"] = max(self.peak["ticks"], seen["ticks"])
        used = self.memory(members, seen)
        if used > self.limits["memory"]:
            self.end("OutOfMemory", f"used {used} bytes of {self.limits['memory']}", 0)
        if seen["processes"] > self.limits["processes"]:
            self.end("ProcessLimitExceeded", f"{seen['processes']} processes of {self.limits['processes']}", 0)
        if now >= self.disk_at:
            self.check_disk(now, members)
        busy = used > self.limits["memory"] / 2 or seen["processes"] > self.limits["processes"] / 2
        self.tick = min(0.02 if busy else _LONGEST_TICK, self.tick * 2)
        self.sample_at = now + self.tick

    def memory(self, members: set[int], seen: dict[str, int]) -> int:
        """Bytes in use: anonymous memory, and the larger of mapped shared memory and the run's files in memory."""
        files = self.tmpfs_bytes(members) + self.unlinked
        used = seen["anonymous"] + max(seen["shared"], files)
        if used > self.limits["memory"]:
            anonymous, shared = procfs.exact_memory(members)
            used = anonymous + max(shared, files)
        return used

    def tmpfs_bytes(self, members: set[int]) -> int:
        """What the run keeps in its own /tmp and /dev/shm."""
        if self.launch.launcher == "none":
            return 0
        if self.window not in members:  # the launcher is a member too, and its /tmp is the host's
            self.window = next((pid for pid in members if self.is_program(pid)), 0)
        if not self.window:
            return 0
        total = 0
        for place in _IN_MEMORY:
            try:
                stat = os.statvfs(f"/proc/{self.window}/root/{place}")
            except OSError:
                continue
            total += (stat.f_blocks - stat.f_bfree) * stat.f_frsize
        return total

    def check_disk(self, now: float, members: set[int]) -> None:
        """Measure the run's folders and its files without a name; the larger they are, the rarer."""
        unlinked = measure.unlinked_bytes(members)
        disks = {measure.device_of(path) for path in self.watched}
        own = {measure.device_of(f"/proc/{self.window}/root/{place}") for place in _IN_MEMORY}
        self.unlinked = sum(size for device, size in unlinked.items() if device not in disks | own)
        try:
            used = sum(measure.folder_bytes(path) for path in self.watched)
        except OSError as error:
            self.end("DiskLimitExceeded", f"part of its folders cannot be measured: {error.strerror}", 0)
            return
        used += sum(size for device, size in unlinked.items() if device in disks)
        if used > self.limits["disk"]:
            self.end("DiskLimitExceeded", f"wrote {used} bytes of {self.limits['disk']}", 0)
        after = time.monotonic()
        self.disk_at = after + max(_DISK_EVERY, 20 * (after - now))

    def reap(self) -> None:
        """Collect what has ended; the run's end is that of its first process."""
        while True:
            try:
                pid, status, rusage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.rusage += rusage.ru_utime + rusage.ru_stime
            if pid == self.child:
                code = os.waitstatus_to_exitcode(status)
                self.code = code if code >= 0 else 128 - code

    def kill(self) -> None:
        """SIGKILL for every process of the run."""
        for pid in self.tree.update(fresh=True):
            procfs.signal_process(pid, signals.SIGKILL)

    def kill_everything(self) -> None:
        """Until there is no child left, orphans included; the log is drained meanwhile."""
        while True:
            self.kill()
            self.log.pump()
            self.reap()
            try:
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            time.sleep(0.001)

    def finish(self) -> None:
        """Record the end; while the disk is full, again every second: a run that ended must not seem lost."""
        if self.facts_pipe >= 0 and self.started_at is None:
            self.read_rest()
        self.log.close()
        record = self.exit_record()
        while True:
            try:
                records.save(self.folder, records.EXIT, record)
            except FileNotFoundError:
                return  # the folder was deleted: nobody is left to tell
            except OSError:
                time.sleep(1)
            else:
                return

    def read_rest(self) -> None:
        """Facts that were still in the pipe when a very short run ended."""
        while self.started_at is None and (data := os.read(self.facts_pipe, 1 << 16)):
            self.facts += data
            if self.facts.rstrip().endswith(bubblewrap.END):
                self.begin()

    def exit_record(self) -> dict[str, object]:
        """exit.json."""
        if self.started_at is None and not self.reason:
            self.reason, self.message = "StartFailed", "the sandbox could not be built; the log says why"
            if self.code is not None and self.code > _SIGNALLED:
                signal = self.code - _SIGNALLED
                self.reason, self.message = (
                    "RuntimeLost",
                    f"signal {signal} ended the launcher at its start",
                )
            self.code = None
        cpu = max(self.peak["ticks"] / procfs.TICK, self.rusage)
        return {
            "exit_code": self.code,
            "reason": self.reason,
            "message": self.message,
            "started_at": self.started_at,
            "ended_at": _stamp(),
            "sandbox": self.sandbox,
            "usage": {"max_rss": self.peak["max_rss"], "cpu_seconds": round(cpu, 3)},
            "log": {"truncated": self.log.truncated, "error": self.log.error},
        }


if __name__ == "__main__":
    sys.exit("started by the process runtime only")
