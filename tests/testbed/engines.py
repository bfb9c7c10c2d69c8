"""Where the container engines of tests/testbed/containers listen, and their test images by digest.

Promises: never the machine's own engine, unless TESTBED_DOCKER_HOST or TESTBED_PODMAN_HOST names it.
"""

import functools
import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parent / "containers"


@functools.cache
def environment() -> dict[str, str]:
    """TESTBED_* as `containers env` prints them, under those that are set already."""
    try:
        printed = subprocess.run([SCRIPT, "env"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        printed = ""
    found = dict(word.split("=", 1) for word in printed.split() if "=" in word)
    return found | {name: value for name, value in os.environ.items() if name.startswith("TESTBED_")}


def host(engine: str) -> str:
    """The socket of docker or podman; empty when there is none."""
    return environment().get(f"TESTBED_{engine.upper()}_HOST", "")


def image(name: str) -> str:
    """BUSYBOX or PYTHON by digest."""
    return environment()[f"TESTBED_{name.upper()}"]


def answers(engine: str) -> bool:
    """Does it answer, and has it the images?"""
    import docker
    import docker.errors

    try:
        api = docker.APIClient(base_url=host(engine), version="auto", timeout=30)
        api.inspect_image(image("BUSYBOX"))
        api.inspect_image(image("PYTHON"))
    except (docker.errors.DockerException, KeyError):
        return False
    return True
