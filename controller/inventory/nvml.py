"""NVIDIA GPUs, through NVML when the library is there.

Promises: never raises: no GPU is an empty tuple and a sentence that says why; a GPU that is lost, has uncorrectable
memory errors, rows to be remapped, is slowed down by its hardware, is split (MIG), or is used by a process that is not
ours, is there but not healthy, and says why. Does not: see other vendors' GPUs, or keep NVML open.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from controller.facts.facts import GpuFacts

Gpus = tuple[tuple[GpuFacts, ...], str]

_SLOWED = {0x8: "power or heat", 0x40: "heat", 0x80: "a power brake"}
"""Bits of the clocks' throttle reasons that only broken or overheated hardware sets."""
_UNCORRECTED, _SINCE_BOOT = 1, 0
_MARK = b"FETCHML_ATTEMPT_NAME="


def gpus() -> Gpus:
    """The GPUs of this host, and why there are none (empty when there are some)."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return (), "GPUs were not looked for: install fetchml[gpu]"
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return (), f"no NVIDIA driver: {error}"
    try:
        found = tuple(_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    except nvml.NVMLError as error:
        return (), f"the NVIDIA driver failed: {error}"
    finally:
        nvml.nvmlShutdown()
    return found, "" if found else "the NVIDIA driver sees no GPU"


def _gpu(nvml: Any, index: int) -> GpuFacts:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
        uuid, name = _str(nvml.nvmlDeviceGetUUID(handle)), _str(nvml.nvmlDeviceGetName(handle))
    except nvml.NVMLError as error:
        return GpuFacts(f"index:{index}", "unknown", 0, healthy=False, why=str(error))
    why = "; ".join(_troubles(nvml, handle))
    return GpuFacts(uuid, name, memory, healthy=not why, why=why)


def _troubles(nvml: Any, handle: Any) -> Iterator[str]:
    """What speaks against giving it out, in words. A reading that the GPU does not have speaks for nothing."""

    def read(function: str, *words: Any) -> Any:
        with suppress(nvml.NVMLError, AttributeError):
            return getattr(nvml, function)(handle, *words)
        return None

    yield from _memory_troubles(read)
    slowed = read("nvmlDeviceGetCurrentClocksThrottleReasons") or 0
    reasons = [words for bit, words in _SLOWED.items() if slowed & bit]
    if reasons:
        yield f"slowed down by its hardware: {', '.join(reasons)}"
    mig = read("nvmlDeviceGetMigMode")
    if mig and mig[0]:
        yield "split into MIG instances, which are not given out"
    foreign = [process.pid for process in read("nvmlDeviceGetComputeRunningProcesses") or () if not _ours(process.pid)]
    if foreign:
        yield f"used by a process that is not ours: {', '.join(map(str, foreign))}"


def _memory_troubles(read: Callable[..., Any]) -> Iterator[str]:
    errors = read("nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _SINCE_BOOT)
    if errors:
        yield f"{errors} uncorrectable memory error(s) since the driver was loaded"
    rows = read("nvmlDeviceGetRemappedRows")
    if rows and rows[3]:
        yield "a row of its memory could not be remapped"
    elif rows and rows[2]:
        yield "rows of its memory wait to be remapped; reset it"


def _ours(pid: int) -> bool:
    """Did it begin in one of our attempts?"""
    try:
        return any(entry.startswith(_MARK) for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return False


def _str(value: str | bytes) -> str:
    """Older bindings return bytes."""
    return value.decode() if isinstance(value, bytes) else value
