"""Which sandbox works here, found by trying it.

Promises: one real trial of each launcher, best first, until one starts a program; remembered for the process.
Does not: guess from versions or settings.
"""

import marshal
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import controller
from controller.facts.facts import SandboxFacts
from controller.runtimes.process import layout, seccomp

LAUNCHERS = ("bwrap", "unshare", "none")

_BOOT = "import sys; sys.path.append(sys.argv[1]); from controller.runtimes.process.launch import trial; trial()"


@cache
def probe_sandbox(launchers: tuple[str, ...] = LAUNCHERS) -> SandboxFacts:
    """The first of `launchers` that works; "none" always does."""
    program, missing = seccomp.program()
    failures = []
    for launcher in launchers:
        if launcher == "none":
            break
        failure = _try(launcher, program)
        if not failure:
            return SandboxFacts(
                launcher, mount_namespace=True, network_namespace=True, seccomp=program is not None, why=missing
            )
        failures.append(f"{launcher}: {failure}")
    why = "not isolated: " + ("; ".join(failures) or "no sandbox was asked for")
    return SandboxFacts("none", mount_namespace=False, network_namespace=False, seccomp=program is not None, why=why)


def _try(launcher: str, program: bytes | None) -> str:
    """Start `true` as an attempt would be started; empty when that works, else why not."""
    bwrap = shutil.which("bwrap") or ""
    if launcher == "bwrap" and not bwrap:
        return "not installed"
    values = {
        "launcher": launcher,
        "bwrap": bwrap,
        "argv": ["/usr/bin/true"],
        "env": {},
        "cwd": "/",
        "operations": layout.trial_operations(),
        "network": False,
        "seccomp": program,
        "uid": layout.UID,
        "cpus": 1,
        "rlimits": {"file_size": 1 << 20, "open_files": 64, "processes": 0 if os.getuid() == 0 else 64},
    }
    root = str(Path(controller.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _BOOT, root], input=marshal.dumps(values), capture_output=True, check=False,
        timeout=30, cwd="/", env={},
    )  # fmt: skip
    words = (done.stdout + done.stderr).decode(errors="replace").strip()
    return "" if done.returncode == 0 else words[-300:] or f"exit code {done.returncode}"
