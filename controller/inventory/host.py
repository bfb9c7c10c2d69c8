"""What this machine is and has.

Promises: CPUs and memory are what this process may use (affinity, cgroup v1 and v2 limits of every level), not what
is built in; free disk and the health of GPUs are fresh, the rest is read once. Does not: probe the sandbox (the
runtime does; wiring passes the function).
"""

import os
import platform
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from controller.facts.facts import GpuFacts, HostFacts, SandboxFacts
from controller.inventory import nvml
from controller.ports.inventory import Inventory

_UNLIMITED = 1 << 60  # cgroup v1 writes a huge number for "no limit"


class HostInventory(Inventory):
    """This host; `base` is where the runs lie, `root` where /proc, /sys and /etc are read."""

    def __init__(
        self,
        base: Path,
        sandbox: Callable[[], SandboxFacts],
        *,
        root: Path = Path("/"),
        gpus: Callable[[], tuple[tuple[GpuFacts, ...], str]] = nvml.gpus,
    ) -> None:
        self._base = base
        self._sandbox = sandbox
        self._root = root
        self._gpus = gpus

    def host(self) -> HostFacts:
        """See Inventory."""
        gpus = self._gpus()[0] if self._lasting.gpus else ()  # where there was none, none is looked for again
        return replace(self._lasting, disk_free=disk_free(self._base), gpus=gpus)

    @cached_property
    def _lasting(self) -> HostFacts:
        gpus, _ = self._gpus()
        return HostFacts(
            hostname=socket.gethostname(),
            machine_id=machine_id(self._root),
            boot_id=_text(self._root / "proc/sys/kernel/random/boot_id"),
            kernel=platform.release(),
            os=os_name(self._root),
            arch=platform.machine(),
            cpu_model=cpu_model(self._root),
            cpus=usable_cpus(self._root),
            memory=usable_memory(self._root),
            disk_free=0,
            gpus=gpus,
            sandbox=self._sandbox(),
        )


def disk_free(place: Path) -> int:
    """Bytes that we may still write where `place` lies (or will lie)."""
    absolute = place.absolute()
    there = next((folder for folder in (absolute, *absolute.parents) if folder.exists()), Path("/"))
    return shutil.disk_usage(there).free


def machine_id(root: Path) -> str:
    """The machine's id; where it has none, the hardware's uuid, else one made of the host name."""
    for name in ("etc/machine-id", "var/lib/dbus/machine-id", "sys/class/dmi/id/product_uuid"):
        text = _text(root / name).replace("-", "").lower()
        if re.fullmatch("[0-9a-f]{32}", text):
            return text
    return f"hostname:{socket.gethostname()}"


def os_name(root: Path) -> str:
    """PRETTY_NAME of os-release."""
    text = _text(root / "etc/os-release") or _text(root / "usr/lib/os-release")
    found = re.search(r"^PRETTY_NAME=(.*)$", text, re.MULTILINE)
    return found[1].strip("\"'") if found else platform.system()


def cpu_model(root: Path) -> str:
    """The first CPU's name."""
    found = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    return found[1].strip() if found else platform.processor()


def usable_cpus(root: Path) -> int:
    """CPUs that this process may use: affinity, and the cgroups' quota rounded down (at least 1)."""
    affinity = len(os.sched_getaffinity(0))
    quotas = [quota for folder in cgroup_folders(root, "cpu") if (quota := _cpu_quota(folder)) is not None]
    return max(1, int(min([float(affinity), *quotas])))


def _cpu_quota(folder: Path) -> float | None:
    two = _text(folder / "cpu.max").split()
    one = [_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")]
    for words in (two, one):
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            return int(words[0]) / int(words[1])
    return None


def usable_memory(root: Path) -> int:
    """Bytes of memory that this process may use: the machine's, and the cgroups' limits."""
    found = re.search(r"^MemTotal:\s*(\d+) kB$", _text(root / "proc/meminfo"), re.MULTILINE)
    total = int(found[1]) * 1024 if found else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    names = ("memory.max", "memory.limit_in_bytes")
    limits = [_text(folder / name) for folder in cgroup_folders(root, "memory") for name in names]
    return min([total, *(int(limit) for limit in limits if limit.isdigit() and int(limit) < _UNLIMITED)])


def cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """Every folder of our cgroup and those above it, v2 and v1."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, names, path = (*line.split(":", 2), "", "")[:3]
        if number == "0" and not names:
            mount = root / "sys/fs/cgroup"
        elif controller in names.split(","):
            mount = root / "sys/fs/cgroup" / controller
        else:
            continue
        own = mount / path.strip("/")
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(mount))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
