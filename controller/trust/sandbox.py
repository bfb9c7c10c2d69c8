"""What the facts observed inside a run say about its isolation.

Promises: pure reading of `Observed.sandbox` (ports/runtime.py); a fact that is absent or unreadable is not shown.
Does not: observe anything. Facts: caps, no_new_privs, seccomp, uid_map, uid, interfaces, root_read_only, limits,
launcher, and (container runtimes) fresh, engine_socket.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_LAUNCHERS_WITH_ROOT = frozenset({"bwrap", "unshare"})
_FINITE = {"pids": ("pids", "processes", "nproc"), "memory": ("memory",), "cpu": ("cpu",)}
_LOOPBACK = frozenset({"lo"})


def hides_keys(facts: Mapping[str, Any]) -> bool:
    """Was the run shown to have its own mount namespace, in which the reconciler's home and keys do not exist?"""
    return facts.get("launcher") in _LAUNCHERS_WITH_ROOT and facts.get("mount_namespace", True) is True


def outer_uid(facts: Mapping[str, Any]) -> int | None:
    """The user id outside the user namespace (first line of uid_map: inside, outside, count); None when not shown.

    A process in no namespace of its own maps 0 to 0 for the whole range: then its outer uid is the observed ``uid``.
    """
    line = _first_mapping(facts.get("uid_map"))
    if line is None:
        return None
    inside, outside, count = line
    if (inside, outside, count) == (0, 0, 4294967295):
        return _number(facts.get("uid"))
    return outside


def isolation_gaps(facts: Mapping[str, Any], reconciler_uid: int | None) -> tuple[str, ...]:
    """What L3 asks for and the facts do not show, in words."""
    return tuple(_gaps(facts, reconciler_uid))


def _gaps(facts: Mapping[str, Any], reconciler_uid: int | None) -> Iterator[str]:
    if not _no_capabilities(facts.get("caps")):
        yield "capabilities"
    if _number(facts.get("no_new_privs")) != 1:
        yield "no_new_privs is not 1"
    if not _filtered(facts.get("seccomp")):
        yield "no seccomp filter"
    outside = outer_uid(facts)
    if outside is None or outside == 0 or outside == reconciler_uid or reconciler_uid is None:
        yield "the outer user id is not shown to be unprivileged and other than the reconciler's"
    interfaces = facts.get("interfaces")
    if not isinstance(interfaces, list | tuple) or set(interfaces) - _LOOPBACK:
        yield "network interfaces beside loopback"
    if facts.get("root_read_only") is not True:
        yield "the root is writable"
    yield from _limit_gaps(facts.get("limits"))
    if facts.get("engine_socket") is True:
        yield "an engine socket is reachable"


def _limit_gaps(limits: Any) -> Iterator[str]:
    known = limits if isinstance(limits, Mapping) else {}
    for name, spellings in _FINITE.items():
        if not any(_finite(known.get(spelling)) for spelling in spellings):
            yield f"no finite {name} limit"


def _finite(limit: Any) -> bool:
    """A limit is a number, or an object with a value; one that a supervisor only polls is a cap, not a promise."""
    value = limit.get("value") if isinstance(limit, Mapping) else limit
    polled = isinstance(limit, Mapping) and limit.get("enforcer") in {None, "", "none", "supervisor"}
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0 and not polled


def _no_capabilities(caps: Any) -> bool:
    sets = caps.values() if isinstance(caps, Mapping) else [caps]
    return bool(sets) and all(_number(value, base=16) == 0 for value in sets)


def _filtered(seccomp: Any) -> bool:
    return seccomp is True or _number(seccomp) == 2  # SECCOMP_MODE_FILTER


def _number(value: Any, base: int = 10) -> int | None:
    if isinstance(value, int):
        return int(value)
    try:
        return int(value, base) if isinstance(value, str) else None
    except ValueError:
        return None


def _first_mapping(uid_map: Any) -> tuple[int, int, int] | None:
    line = uid_map[0] if isinstance(uid_map, list | tuple) and uid_map else uid_map
    parts = line.split("\n")[0].split() if isinstance(line, str) else line
    if isinstance(uid_map, list | tuple) and len(uid_map) == 3 and all(isinstance(part, int) for part in uid_map):
        parts = uid_map
    if not isinstance(parts, list | tuple) or len(parts) != 3:
        return None
    numbers = [_number(part) for part in parts]
    return None if None in numbers else (numbers[0], numbers[1], numbers[2])  # type: ignore[return-value]  # no None left
