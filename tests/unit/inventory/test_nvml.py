"""GPUs through the real binding, against a simulated libnvidia-ml (tests/testbed/fake_nvml.c)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.world import ROOT

LOOK = "import json; from dataclasses import asdict; from controller.inventory import nvml; found, why = nvml.gpus(); "
LOOK += "print(json.dumps([[asdict(gpu) for gpu in found], why]))"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the simulated library."""
    folder = tmp_path_factory.mktemp("nvml")
    name = "libnvidia-ml.so.1"
    words = ["gcc", "-O1", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name)]
    subprocess.run([*words, str(ROOT / "tests/testbed/fake_nvml.c")], check=True, capture_output=True)
    return folder


def look(library: Path, *lines: str, **environ: str) -> tuple[list[dict[str, Any]], str]:
    """What the inventory says of GPUs that are described so."""
    (library / "gpus.conf").write_text("\n".join(lines) + "\n")
    env = {**os.environ, "LD_LIBRARY_PATH": str(library), "FAKE_NVML": str(library / "gpus.conf"), **environ}
    done = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=60
    )
    found, why = json.loads(done.stdout)
    return found, why


@pytest.mark.needs("gcc")
def test_eight_gpus_of_which_some_may_not_be_given_out(library: Path) -> None:
    described = [
        "gpu name=NVIDIA_A100-SXM4-80GB memory=81920",
        "gpu lost=1",
        "gpu procs=1:900",
        "gpu ecc=2",
        "gpu remap_pending=1",
        "gpu remap_failure=1",
        "gpu throttle=0x40",
        "gpu mig=1",
    ]
    found, why = look(library, *described)
    assert why == ""
    assert (found[0]["model"], found[0]["memory"]) == ("NVIDIA A100-SXM4-80GB", 80 * 2**30)
    assert [gpu["healthy"] for gpu in found] == [True] + [False] * 7
    words = ["lost", "not ours: 1", "2 uncorrectable", "wait to be remapped", "could not be", "heat", "MIG"]
    assert all(word in gpu["why"] for word, gpu in zip(words, found[1:], strict=True)), found


@pytest.mark.needs("gcc")
def test_a_process_of_one_of_our_runs_is_no_reason(library: Path) -> None:
    child = subprocess.Popen(["sleep", "300"], env={**os.environ, "FETCHML_ATTEMPT_NAME": "fetchml-x-1"})
    try:
        found, _ = look(library, f"gpu procs={child.pid}:900")
    finally:
        child.kill()
        child.wait()
    assert found[0]["healthy"], found[0]["why"]


@pytest.mark.needs("gcc")
def test_without_a_loaded_driver_there_is_none_and_a_reason(library: Path) -> None:
    found, why = look(library, "init driver_not_loaded")
    assert (found, why) == ([], "no NVIDIA driver: Driver Not Loaded")
