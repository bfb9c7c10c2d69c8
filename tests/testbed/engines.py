"""Where the container engines of tests/testbed/containers listen, and their test images by digest.

Promises: never the machine's own engine, unless TESTBED_DOCKER_HOST or TESTBED_PODMAN_HOST names it.
"""

import functools
import io
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


def publish(name: str, tag: str, recipe: str, *, context: bytes = b"") -> str:
    """Build an image with Docker, push it to the registry under the tag, forget it there; its name by digest.

    `context` is a tar with a Dockerfile, in place of the recipe alone.
    """
    import docker

    api = docker.APIClient(base_url=host("docker"), version="auto", timeout=120)
    place = f"{environment()['TESTBED_REGISTRY']}/testbed/{name}"
    source = io.BytesIO(context or recipe.encode())
    words = {"tag": f"{place}:{tag}", "rm": True, "forcerm": True, "decode": True, "custom_context": bool(context)}
    list(api.build(fileobj=source, **words))
    said = list(api.push(place, tag=tag, stream=True, decode=True))
    api.remove_image(f"{place}:{tag}", force=True)
    digests = [line["aux"]["Digest"] for line in said if "aux" in line]
    if not digests:
        raise RuntimeError(f"{place}:{tag} was not pushed: {said}")
    return f"{place}@{digests[0]}"
