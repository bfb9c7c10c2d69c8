"""What isolation was in force, from what was read inside the run.

Promises: pure. `parse` believes only the lines that the launcher wrote before the user's program existed.
Does not: judge (trust does). Imported by the supervisor: built-in modules only.
"""

from controller.runtimes.procfacts import mounts, pairs, parse

Values = dict[str, object]

_RLIMITS = {"Max file size": "file_size", "Max open files": "open_files", "Max core file size": "core"}
_POLLED = "supervisor (polled)"


def sandbox(text: bytes, launcher: str, outer_uid: int, *, network: bool, why: str, limits: Values) -> Values:
    """The sandbox facts of an attempt.

    Shape: launcher, uid_map, outer_uid, uid, cap_{eff,prm,bnd,inh,amb}, no_new_privs, seccomp, interfaces,
    root_read_only, mounts ([[target, "ro" or "rw"]]), limits ({name: {value, enforcer}}), network, isolated, why.
    """
    files = parse(text)
    status = pairs(files.get("status", []))
    mounted = mounts(files.get("mountinfo", []))
    interfaces = [line.split(":")[0].strip() for line in files.get("net/dev", []) if "|" not in line]
    facts: Values = {
        "launcher": launcher,
        "uid_map": [[int(word) for word in line.split()] for line in files.get("uid_map", [])],
        "uid": int(status["Uid"].split()[0]) if "Uid" in status else None,
        "outer_uid": outer_uid,
        **{f"cap_{name.lower()}": status.get(f"Cap{name}", "") for name in ("Eff", "Prm", "Bnd", "Inh", "Amb")},
        "no_new_privs": status.get("NoNewPrivs") == "1",
        "seccomp": status.get("Seccomp") == "2",
        "interfaces": sorted(interfaces),
        "network": network,
        "root_read_only": ["/", "ro"] in mounted,
        "mounts": mounted,
        "limits": _limits(files.get("limits", []), status, launcher, outer_uid, limits),
    }
    reasons = [why, *_gaps(facts)] if launcher != "none" else [why]
    facts["why"] = "; ".join(reason for reason in reasons if reason)
    facts["isolated"] = launcher != "none" and not _gaps(facts)
    return facts


def _gaps(facts: Values) -> list[str]:
    """What an isolated run would have and this one has not, as sentences."""
    interfaces = facts["interfaces"]
    checks = (
        (facts["cap_eff"] != "0" * 16 or facts["cap_prm"] != "0" * 16, "the run has capabilities"),
        (not facts["no_new_privs"], "the run can gain privileges"),
        (not facts["root_read_only"], "the root is writable"),
        (not facts["network"] and interfaces != ["lo"], f"the run sees the network interfaces {interfaces}"),
    )
    return [sentence for bad, sentence in checks if bad]


def _limits(lines: list[str], status: dict[str, str], launcher: str, outer_uid: int, wanted: Values) -> Values:
    """Each limit as it stands, with who enforces it."""
    result: Values = {}
    for line in lines:
        for title, name in _RLIMITS.items():
            if line.startswith(title):
                result[name] = {"value": line[len(title) :].split()[0], "enforcer": "rlimit"}
    counted = launcher != "none" and outer_uid != 0
    result["processes"] = {"value": wanted["processes"], "enforcer": f"rlimit, {_POLLED}" if counted else _POLLED}
    result["cpu"] = {"value": status.get("Cpus_allowed_list", ""), "enforcer": "affinity"}
    result["memory"] = {"value": wanted["memory"], "enforcer": _POLLED}
    result["disk"] = {"value": wanted["disk"], "enforcer": _POLLED}
    result["log"] = {"value": wanted["log_bytes"], "enforcer": "supervisor"}
    result["deadline"] = {"value": wanted["deadline"], "enforcer": "supervisor"}
    return result
