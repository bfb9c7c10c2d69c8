"""What the facts observed inside a run say about its isolation.

Promises: pure reading of `Observed.sandbox` (ports/runtime.py); a fact that is absent or unreadable is not shown.
Does not: observe anything. Facts: launcher, cap_eff, cap_prm, cap_inh, cap_amb (hex), no_new_privs, seccomp, uid_map,
outer_uid, interfaces, root_read_only, limits ({name: {value, enforcer}}), and from containers fresh and engine_socket.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_LAUNCHERS_WITH_ROOT = frozenset({"bwrap", "unshare"})
_CAPABILITIES = ("cap_eff", "cap_prm")
_MORE_CAPABILITIES = ("cap_inh", "cap_amb")
_FINITE = {"pids": ("pids", "processes"), "memory": ("memory",), "cpu": ("cpu",)}
_CPU_LIST = re.compile(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*")
_WHOLE_RANGE = 4294967295


def hides_keys(facts: Mapping[str, Any]) -> bool:
    """Was the run shown to have its own minimal, read-only root, in which the reconciler's home and keys are not?"""
    return facts.get("launcher") in _LAUNCHERS_WITH_ROOT and facts.get("root_read_only") is True


def outer_uid(facts: Mapping[str, Any]) -> int | None:
    """The run's user id outside its user namespace; None when not shown.

    That is the fact outer_uid, else what the only line of uid_map (inside, outside, count) maps to.
    """
    if "outer_uid" in facts:
        return _number(facts["outer_uid"])
    line = _only_mapping(facts.get("uid_map"))
    return None if line is None or line[2] == _WHOLE_RANGE else line[1]


def isolation_gaps(facts: Mapping[str, Any], reconciler_uid: int | None) -> tuple[str, ...]:
    """What L3 asks for and the facts do not show, in words."""
    return tuple(_gaps(facts, reconciler_uid))


def _gaps(facts: Mapping[str, Any], reconciler_uid: int | None) -> Iterator[str]:
    if not _no_capabilities(facts):
        yield "the run has capabilities"
    if _number(facts.get("no_new_privs")) != 1:
        yield "the run can gain privileges"
    if not _filtered(facts.get("seccomp")):
        yield "there is no seccomp filter"
    if not _unprivileged(outer_uid(facts), reconciler_uid):
        yield "its outer user id is not shown to be unprivileged and another than the reconciler's"
    if facts.get("interfaces") not in (["lo"], ("lo",), [], ()):
        yield "it sees network interfaces beside loopback"
    if facts.get("root_read_only") is not True:
        yield "its root is writable"
    yield from _limit_gaps(facts.get("limits"))
    if facts.get("engine_socket") is True:
        yield "it can reach an engine socket"


def _limit_gaps(limits: Any) -> Iterator[str]:
    known = limits if isinstance(limits, Mapping) else {}
    for name, spellings in _FINITE.items():
        if not any(_finite(known.get(spelling)) for spelling in spellings):
            yield f"no finite {name} limit is enforced by the kernel"


def _finite(limit: Any) -> bool:
    """A limit that somebody polls is a cap, not a promise (design laws, "process runtime")."""
    if not isinstance(limit, Mapping):
        return False
    value, enforcer = limit.get("value"), str(limit.get("enforcer") or "none")
    if enforcer.startswith(("none", "supervisor", "reconciler")):
        return False
    if isinstance(value, float):
        return 0 < value < float("inf")
    return (_number(value) or 0) > 0 or bool(isinstance(value, str) and _CPU_LIST.fullmatch(value))


def _no_capabilities(facts: Mapping[str, Any]) -> bool:
    shown = [facts.get(name) for name in _CAPABILITIES] + [facts[name] for name in _MORE_CAPABILITIES if name in facts]
    return all(_number(value, base=16) == 0 for value in shown)


def _filtered(seccomp: Any) -> bool:
    return seccomp is True or _number(seccomp) == 2  # SECCOMP_MODE_FILTER


def _unprivileged(outside: int | None, reconciler_uid: int | None) -> bool:
    return outside is not None and reconciler_uid is not None and outside not in {0, reconciler_uid}


def _number(value: Any, base: int = 10) -> int | None:
    if isinstance(value, int):
        return int(value)
    try:
        return int(value, base) if isinstance(value, str) else None
    except ValueError:
        return None


def _only_mapping(uid_map: Any) -> tuple[int, int, int] | None:
    lines = uid_map.splitlines() if isinstance(uid_map, str) else uid_map
    if not isinstance(lines, list | tuple) or len(lines) != 1:
        return None
    words = lines[0].split() if isinstance(lines[0], str) else lines[0]
    numbers = [_number(word) for word in words] if isinstance(words, list | tuple) else []
    if len(numbers) != 3 or None in numbers:
        return None
    return numbers[0] or 0, numbers[1] or 0, numbers[2] or 0
