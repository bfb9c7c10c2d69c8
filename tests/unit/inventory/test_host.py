"""What the host says of itself; the limits of cgroups v1 and v2 on trees made for it."""

import os
import sys
import types
from pathlib import Path

import pytest

from controller.facts.facts import GpuFacts, SandboxFacts
from controller.inventory import nvml
from controller.inventory.host import HostInventory, disk_free, machine_id, os_name, usable_cpus, usable_memory

SANDBOX = SandboxFacts("bwrap", mount_namespace=True, network_namespace=True, seccomp=True)
MEMINFO = "MemTotal:       8000000 kB\nMemFree: 1 kB\n"
TOTAL = 8000000 * 1024


def lay_out(root: Path, **files: str) -> Path:
    """Files beneath a root; __ stands for /, and _0_ for a dot."""
    for name, content in files.items():
        place = root / name.replace("_0_", ".").replace("__", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    return root


@pytest.mark.needs("linux")
def test_this_host(tmp_path: Path) -> None:
    host = HostInventory(tmp_path, lambda: SANDBOX).host()
    assert host.hostname == os.uname().nodename
    assert host.kernel == os.uname().release
    assert host.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert 1 <= host.cpus <= len(os.sched_getaffinity(0))
    assert 0 < host.memory <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert host.disk_free > 0
    assert host.cpu_model
    assert host.sandbox == SANDBOX


def test_everything_but_the_disk_is_read_once(tmp_path: Path) -> None:
    calls: list[str] = []

    def sandbox() -> SandboxFacts:
        calls.append("sandbox")
        return SANDBOX

    inventory = HostInventory(tmp_path, sandbox, gpus=lambda: ((GpuFacts("GPU-1", "A100", 40),), ""))
    assert inventory.host().gpus == inventory.host().gpus == (GpuFacts("GPU-1", "A100", 40),)
    assert calls == ["sandbox"]


def test_free_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert disk_free(tmp_path / "not/yet") > 0


@pytest.mark.parametrize(
    ("files", "memory"),
    [
        ({}, TOTAL),
        ({"proc__self__cgroup": "0::/a/b\n", "sys__fs__cgroup__a__b__memory_0_max": "1000000\n"}, 1000000),
        ({"proc__self__cgroup": "0::/a/b\n", "sys__fs__cgroup__a__memory_0_max": "2000000\n"}, 2000000),
        ({"proc__self__cgroup": "0::/\n", "sys__fs__cgroup__memory_0_max": "3000000\n"}, 3000000),
        ({"proc__self__cgroup": "0::/a\n", "sys__fs__cgroup__a__memory_0_max": "max\n"}, TOTAL),
        (
            {
                "proc__self__cgroup": "5:memory:/c\n3:cpu,cpuacct:/c\n",
                "sys__fs__cgroup__memory__c__memory_0_limit_in_bytes": "4000000\n",
            },
            4000000,
        ),
        (
            {
                "proc__self__cgroup": "5:memory:/c\n",
                "sys__fs__cgroup__memory__c__memory_0_limit_in_bytes": "9223372036854771712\n",
            },
            TOTAL,
        ),
    ],
)
def test_memory_is_what_every_cgroup_above_us_allows(tmp_path: Path, files: dict[str, str], memory: int) -> None:
    assert usable_memory(lay_out(tmp_path, proc__meminfo=MEMINFO, **files)) == memory


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({"proc__self__cgroup": "0::/a\n", "sys__fs__cgroup__a__cpu_0_max": "150000 100000\n"}, 1),
        ({"proc__self__cgroup": "0::/a\n", "sys__fs__cgroup__a__cpu_0_max": "50000 100000\n"}, 1),
        ({"proc__self__cgroup": "0::/a\n", "sys__fs__cgroup__a__cpu_0_max": "max 100000\n"}, None),
        (
            {
                "proc__self__cgroup": "3:cpu,cpuacct:/c\n",
                "sys__fs__cgroup__cpu__c__cpu_0_cfs_quota_us": "100000\n",
                "sys__fs__cgroup__cpu__c__cpu_0_cfs_period_us": "100000\n",
            },
            1,
        ),
        (
            {
                "proc__self__cgroup": "3:cpu,cpuacct:/c\n",
                "sys__fs__cgroup__cpu__c__cpu_0_cfs_quota_us": "-1\n",
                "sys__fs__cgroup__cpu__c__cpu_0_cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
)
def test_cpus_are_whole_and_at_least_one(tmp_path: Path, files: dict[str, str], most: int | None) -> None:
    assert usable_cpus(lay_out(tmp_path, **files)) == (most or len(os.sched_getaffinity(0)))


def test_the_machines_id_and_what_stands_for_it(tmp_path: Path) -> None:
    assert machine_id(tmp_path).startswith("hostname:")
    lay_out(tmp_path, sys__class__dmi__id__product_uuid="AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE\n")
    assert machine_id(tmp_path) == "aaaaaaaabbbbccccddddeeeeeeeeeeee"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("uninitialized\n")
    assert machine_id(tmp_path) == "aaaaaaaabbbbccccddddeeeeeeeeeeee"
    (tmp_path / "etc/machine-id").write_text("0" * 32 + "\n")
    assert machine_id(tmp_path) == "0" * 32


def test_the_name_of_the_system(tmp_path: Path) -> None:
    assert os_name(lay_out(tmp_path, usr__lib__os_release="")) == "Linux"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('NAME=x\nPRETTY_NAME="Debian 12"\n')
    assert os_name(tmp_path) == "Debian 12"


def binding(monkeypatch: pytest.MonkeyPatch, **functions: object) -> None:
    """A stand-in for NVIDIA's binding, with its calls and its error class (no driver is on most test machines)."""
    module = types.ModuleType("pynvml")
    module.NVMLError = type("NVMLError", (Exception,), {})  # type: ignore[attr-defined]  # a module made here
    for name, function in {"nvmlInit": lambda: None, "nvmlShutdown": lambda: None, **functions}.items():
        setattr(module, name, function)
    monkeypatch.setitem(sys.modules, "pynvml", module)


def test_without_the_binding_there_are_no_gpus_and_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml.gpus() == ((), "GPUs were not looked for: install fetchml[gpu]")


def test_without_a_driver_there_are_no_gpus_and_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise sys.modules["pynvml"].NVMLError("NVML Shared Library Not Found")

    binding(monkeypatch, nvmlInit=missing)
    assert nvml.gpus() == ((), "no NVIDIA driver: NVML Shared Library Not Found")


def test_a_gpu_that_fell_off_the_bus_is_unhealthy_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def handle(index: int) -> int:
        if index == 1:
            raise sys.modules["pynvml"].NVMLError("GPU is lost")
        return index

    binding(
        monkeypatch,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=handle,
        nvmlDeviceGetMemoryInfo=lambda _handle: types.SimpleNamespace(total=80 * 2**30),
        nvmlDeviceGetUUID=lambda _handle: b"GPU-1",
        nvmlDeviceGetName=lambda _handle: "NVIDIA H100",
    )
    found, why = nvml.gpus()
    assert found[0] == GpuFacts("GPU-1", "NVIDIA H100", 80 * 2**30)
    assert (found[1].healthy, found[1].why) == (False, "GPU is lost")
    assert why == ""
