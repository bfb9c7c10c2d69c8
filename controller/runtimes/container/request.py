"""What an engine is asked for: the body of POST /containers/create, as plain JSON.

Promises: pure, apart from resolving the real place of mounts; every container has every guard of `_guards`, and nothing
in a spec can take one away. The image is named by digest. Does not: know a secret's value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.ports.runtime import AttemptSpec, Limits
from controller.runtimes import inside
from controller.runtimes.container.launcher import INSIDE, SECRETS, Kit

LABEL = "fetchml.dev/"
HOME = "/tmp"  # noqa: S108  # the run's own tmpfs
_LOG_SLACK = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Place:
    """What the host and the engine decide, rather than the attempt."""

    engine: str
    """docker or podman."""
    user: str
    """uid:gid of the run."""
    keep_id: bool
    """Rootless Podman: map the user to itself."""
    kit: Kit
    seccomp: str
    """The profile: JSON for docker, a path for podman."""
    processes: int
    """Upper bound of RLIMIT_NPROC that this host allows; -1: none."""
    secrets: Path | None = None
    """File of the secrets, in memory."""
    volumes: tuple[str, ...] = ()
    """Folders that the image declares as volumes: they become folders in memory."""


def labels(attempt: AttemptSpec) -> dict[str, str]:
    """Whose container it is."""
    return {
        f"{LABEL}store": attempt.store_id,
        f"{LABEL}run": attempt.run_id,
        f"{LABEL}attempt": str(attempt.number),
        f"{LABEL}plan": attempt.plan_sha256.removeprefix("sha256:")[:32],
    }


def body(attempt: AttemptSpec, place: Place) -> dict[str, Any]:
    """The whole request."""
    return {
        "Image": attempt.image,
        "Entrypoint": list(place.kit.entrypoint),
        "Cmd": inside.command(attempt, namespace=True),
        "Env": [f"{name}={value}" for name, value in environment(attempt).items()],
        "WorkingDir": inside.working_directory(attempt, namespace=True),
        "User": place.user,
        "Labels": labels(attempt),
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": _guards(attempt, place) | _resources(attempt.limits, place) | {"Mounts": _mounts(attempt, place)},
    }


def environment(attempt: AttemptSpec) -> dict[str, str]:
    """Ours, over the image's own. NVIDIA_VISIBLE_DEVICES is always said, or NVIDIA's runtime would show every GPU."""
    paths = inside.inside_paths(attempt, namespace=True)
    values = {
        "HOME": HOME,
        "TMPDIR": HOME,
        "LANG": "C.UTF-8",
        "PWD": inside.working_directory(attempt, namespace=True),
        "NVIDIA_VISIBLE_DEVICES": ",".join(attempt.gpus) or "void",
    }
    values |= {name: inside.substitute(value, paths) for name, value in attempt.env.items()}
    return values | {"FETCHML_ATTEMPT_NAME": attempt.name, "FETCHML_STORE_ID": attempt.store_id}


def _guards(attempt: AttemptSpec, place: Place) -> dict[str, Any]:
    """The sandbox."""
    memory = {"size": f"size={attempt.limits.memory}"}
    return {
        "NetworkMode": "default" if attempt.network else "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", f"seccomp={place.seccomp}"],
        "IpcMode": "private",
        "UsernsMode": "keep-id" if place.keep_id else "",
        "Tmpfs": {
            HOME: f"mode=1777,size={min(attempt.limits.disk, attempt.limits.memory)}",
            **dict.fromkeys(place.volumes, f"mode=1777,{memory['size']}"),
        },
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
        "DeviceRequests": _gpus(attempt),
    }


def _gpus(attempt: AttemptSpec) -> list[dict[str, Any]]:
    """Exactly the GPUs that were given to it."""
    if not attempt.gpus:
        return []
    return [{"Driver": "nvidia", "DeviceIDs": list(attempt.gpus), "Capabilities": [["gpu"]]}]


def _resources(limits: Limits, place: Place) -> dict[str, Any]:
    processes = limits.processes if place.processes < 0 else min(limits.processes, place.processes)
    bounds = {"nofile": limits.open_files, "nproc": max(processes, 4096), "fsize": limits.disk, "core": 0}
    if place.processes >= 0:
        bounds["nproc"] = min(bounds["nproc"], place.processes)
    log_type = {"docker": "json-file", "podman": "k8s-file"}[place.engine]
    return {
        "Memory": limits.memory,
        "MemorySwap": limits.memory,
        "NanoCpus": round(limits.cpu * 1e9),
        "PidsLimit": limits.processes,
        "ShmSize": limits.memory // 2,
        "Ulimits": [{"Name": name, "Soft": value, "Hard": value} for name, value in bounds.items()],
        # Never rotated away before it was cut at log_bytes: the engine's form of a byte takes at most four.
        "LogConfig": {"Type": log_type, "Config": {"max-size": str(4 * limits.log_bytes + _LOG_SLACK)}},
    }


def _mounts(attempt: AttemptSpec, place: Place) -> list[Mapping[str, Any]]:
    own = zip((attempt.workspace, attempt.results, attempt.checkpoints), inside.OWN, strict=True)
    writable = [_bind(source, target, read_only=False) for source, target in own if source is not None]
    read = [_bind(mount.source, mount.target, read_only=True) for mount in attempt.mounts]
    read.append(_bind(place.kit.folder, INSIDE, read_only=True))
    if place.secrets is not None:
        read.append(_bind(place.secrets, SECRETS, read_only=True))
    return [*writable, *read]


def _bind(source: Path, target: str, *, read_only: bool) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(source.resolve()),
        "Target": target,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }
