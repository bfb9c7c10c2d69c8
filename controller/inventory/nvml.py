"""NVIDIA GPUs, through NVML when the library is there.

Promises: never raises: no GPU is an empty tuple and a sentence that says why. Does not: see other vendors' GPUs, or
keep NVML open.
"""

import importlib
from typing import Any

from controller.facts.facts import GpuFacts

Gpus = tuple[tuple[GpuFacts, ...], str]


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
        return GpuFacts(_str(nvml.nvmlDeviceGetUUID(handle)), _str(nvml.nvmlDeviceGetName(handle)), memory)
    except nvml.NVMLError as error:
        return GpuFacts(f"index:{index}", "unknown", 0, healthy=False, why=str(error))


def _str(value: str | bytes) -> str:
    """Older bindings return bytes."""
    return value.decode() if isinstance(value, bytes) else value
