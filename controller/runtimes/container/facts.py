"""The sandbox facts of a container, from what its launcher read inside.

Promises: pure; the shape that trust/sandbox.py reads. Does not: judge, or take the engine's word for what can be seen
from inside; only `fresh`, `image`, and the limits of disk and time are known from outside.
"""

from collections.abc import Mapping
from typing import Any

from controller.runtimes.procfacts import mounts, pairs, parse

_WHOLE_RANGE = 4294967295


def sandbox(text: bytes, outside: Mapping[str, Any]) -> dict[str, Any]:
    """Facts by name. `outside` adds what only the runtime knows: image, fresh, launcher_sha256, network, limits."""
    files = parse(text)
    status = pairs(files.get("status", []))
    mounted = mounts(files.get("mountinfo", []))
    uid_map = [[int(word) for word in line.split()] for line in files.get("uid_map", [])]
    uid = int(status["Uid"].split()[0]) if "Uid" in status else None
    return {
        "launcher": "container",
        "uid_map": uid_map,
        "uid": uid,
        "outer_uid": outer(uid, uid_map),
        **{f"cap_{name.lower()}": status.get(f"Cap{name}", "") for name in ("Eff", "Prm", "Bnd", "Inh", "Amb")},
        "no_new_privs": status.get("NoNewPrivs") == "1",
        "seccomp": status.get("Seccomp") == "2",
        "interfaces": sorted(line.split(":")[0].strip() for line in files.get("net/dev", []) if "|" not in line),
        "root_read_only": ["/", "ro"] in mounted,
        "mounts": [entry for entry in mounted if not entry[0].startswith(("/proc/", "/sys/"))],
        "engine_socket": bool(files.get("socket")),
        "devices": files.get("device", []),
        **{name: value for name, value in outside.items() if name != "limits"},
        "limits": {**outside["limits"], **_limits(files)},
    }


def outer(uid: int | None, uid_map: list[list[int]]) -> int | None:
    """The user id outside; None when no line of the map has it."""
    for inside, outside, count in (line for line in uid_map if len(line) == 3):
        if uid is not None and inside <= uid < inside + count:
            return outside + uid - inside
    return None


def _limits(files: Mapping[str, list[str]]) -> dict[str, Any]:
    """What the cgroup says in there: version 2 first, else 1. A limit that is not there is not listed."""
    memory = _number(files, "memory.max") or _number(files, "memory/memory.limit_in_bytes")
    pids = _number(files, "pids.max") or _number(files, "pids/pids.max")
    quota = (files.get("cgroup/cpu.max") or [""])[0].split()
    if not quota:
        quota = [str(_number(files, f"cpu/cpu.cfs_{name}_us") or "max") for name in ("quota", "period")]
    cpu = int(quota[0]) / int(quota[1]) if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit() else None
    found = {"memory": memory, "processes": pids, "cpu": cpu}
    return {name: {"value": value, "enforcer": "cgroup"} for name, value in found.items() if value}


def _number(files: Mapping[str, list[str]], name: str) -> int | None:
    text = (files.get(f"cgroup/{name}") or [""])[0].strip()
    return int(text) if text.isdigit() and int(text) < 1 << 60 else None  # version 1 writes a huge number for no limit
