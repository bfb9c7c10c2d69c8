"""Processes as /proc shows them: who they are, who descends from whom, what they use.

Promises: an identity is pid + start time + boot id, so that a reused pid is never mistaken for the process it was.
Does not: raise when a process vanishes while it is looked at. Imported by the supervisor: built-in modules only.
"""

import os

from controller.runtimes.process import signals

Identity = tuple[int, int, str]
"""pid, start time in clock ticks since boot, boot id."""

TICK = os.sysconf("SC_CLK_TCK")


def slurp(path: str) -> bytes:
    """The bytes of a /proc file; empty when the process is gone or hidden."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        parts = []
        while part := os.read(fd, 1 << 16):
            parts.append(part)
    except OSError:
        return b""
    else:
        return b"".join(parts)
    finally:
        os.close(fd)


def boot_id() -> str:
    """Random id of this boot of the kernel."""
    return slurp("/proc/sys/kernel/random/boot_id").decode().strip()


def stat_fields(pid: int) -> list[bytes]:
    """Fields of /proc/<pid>/stat from the state on (state, ppid, pgrp, session, ...); empty when gone."""
    return slurp(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def start_time(pid: int) -> int | None:
    """Clock ticks since boot at which a process began; None when it is gone or a zombie."""
    fields = stat_fields(pid)
    return int(fields[19]) if len(fields) > 19 and fields[0] not in (b"Z", b"X") else None


def identity(pid: int) -> Identity:
    """Who a living process is."""
    return (pid, start_time(pid) or 0, boot_id())


def alive(who: Identity) -> bool:
    """Is this very process still running?"""
    return who[0] > 0 and who[2] == boot_id() and start_time(who[0]) == who[1]


def pids() -> list[int]:
    """Every process that can be seen."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def own_namespace(pid: int) -> bool:
    """Is the process in our pid namespace, rather than in one below it?"""
    return len(status(pid).get(b"NSpid", b"").split()) == len(status(os.getpid()).get(b"NSpid", b"").split())


def status(pid: int) -> dict[bytes, bytes]:
    """/proc/<pid>/status."""
    pairs = (line.partition(b":") for line in slurp(f"/proc/{pid}/status").splitlines())
    return {key: value.strip() for key, _, value in pairs}


def command_line(pid: int) -> list[str]:
    """The arguments of a process."""
    return [os.fsdecode(part) for part in slurp(f"/proc/{pid}/cmdline").split(b"\0")[:-1]]


def marks(pid: int, names: tuple[str, ...]) -> tuple[str, ...] | None:
    """Values of environment variables a process began with; None unless it has them all."""
    raw = slurp(f"/proc/{pid}/environ")
    if not raw:
        return None
    pairs = dict(entry.partition(b"=")[::2] for entry in raw.split(b"\0"))
    values = tuple(os.fsdecode(pairs.get(name.encode(), b"")) for name in names)
    return values if all(values) else None


def signal_process(pid: int, number: int, still: "object" = None) -> bool:
    """Signal a process through a descriptor, so that a reused pid is never hit.

    `still` is called after the process is pinned and must say that it is the one that was meant.
    """
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if callable(still) and not still():
            return False
        signals.pidfd_send_signal(fd, number)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(fd)


class Tree:
    """The descendants of one process, kept up to date at the cost of the new processes only.

    Who descends from the root once does so for ever: the root is a subreaper, so orphans come back to it
    (or to the init of their pid namespace, which descends from it).
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._seen: set[int] = set()
        self.members: set[int] = set()

    def update(self, *, fresh: bool = False) -> set[int]:
        """The members now; `fresh` asks again about processes seen before (before anything is signalled)."""
        now = set(pids())
        if fresh:
            self._seen.clear()
            self.members.clear()
        self._seen &= now
        self.members &= now
        parents = {pid: self._parent(pid) for pid in now - self._seen}
        family = self.members | {self._root}
        while found := {pid for pid, parent in parents.items() if parent in family and pid not in family}:
            family |= found
        self.members = family - {self._root}
        self._seen = now
        return self.members

    @staticmethod
    def _parent(pid: int) -> int:
        fields = stat_fields(pid)
        return int(fields[1]) if len(fields) > 1 and fields[0] not in (b"Z", b"X") else -1


def usage(members: set[int]) -> dict[str, int]:
    """Bytes of memory (anonymous, shared, resident) and clock ticks of CPU of some processes.

    Anonymous pages that forked processes share are counted in each of them: an upper bound; `exact_memory` is not.
    """
    total = {"anonymous": 0, "shared": 0, "resident": 0, "ticks": 0, "processes": 0}
    for pid in members:
        values = status(pid)
        kib = [int(values.get(key, b"0 kB").split()[0]) for key in (b"RssAnon", b"RssShmem", b"VmRSS")]
        for key, value in zip(("anonymous", "shared", "resident"), kib, strict=True):
            total[key] += value * 1024
        fields = stat_fields(pid)
        total["ticks"] += sum(int(field) for field in fields[11:15])
        total["processes"] += bool(values)
    return total


def exact_memory(members: set[int]) -> tuple[int, int]:
    """Proportional anonymous and shared bytes of some processes."""
    anonymous = shared = 0
    for pid in members:
        for line in slurp(f"/proc/{pid}/smaps_rollup").splitlines():
            key, _, value = line.partition(b":")
            if key == b"Pss_Anon":
                anonymous += int(value.split()[0]) * 1024
            elif key == b"Pss_Shmem":
                shared += int(value.split()[0]) * 1024
    return anonymous, shared
