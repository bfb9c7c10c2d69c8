"""The sandbox through bubblewrap: its arguments, and the script that is the first program inside.

Promises: pure text. The script reads what isolation is in force before the run's environment is set, so that nothing of
the user's (LD_PRELOAD, PATH) can touch the reading; then it closes the descriptor and becomes the user's program.
Does not: start anything. Imported by the supervisor: built-in modules only.
"""

FACTS_FD = 3
SCRIPT_FD = 4
ARGS_FD = 5
SECCOMP_FD = 6
FACTS = ("status", "uid_map", "net/dev", "mountinfo", "limits")
"""Files beneath /proc/self that are read inside."""
END = b"fetchml:end"


def arguments(operations: list[tuple[str, str, str]], cwd: str, uid: int, *, network: bool, seccomp: bool) -> list[str]:
    """What goes through --args (never secrets)."""
    words = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    words += [] if network else ["--unshare-net"]
    words += ["--die-with-parent", "--new-session", "--hostname", "fetchml", "--cap-drop", "ALL"]
    words += ["--uid", str(uid), "--gid", str(uid), "--proc", "/proc", "--dev", "/dev"]
    for kind, source, target in operations:
        words += _operation(kind, source, target)
    words += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", cwd]
    return words + (["--seccomp", str(SECCOMP_FD)] if seccomp else [])


def _operation(kind: str, source: str, target: str) -> list[str]:
    if kind == "tmpfs":
        return ["--size", source, "--tmpfs", target]
    return [{"ro": "--ro-bind", "rw": "--bind", "link": "--symlink"}[kind], source, target]


def script(env: dict[str, str], processes: int) -> bytes:
    """The first program inside, for sh; `processes` limits the user namespace (0 leaves it alone)."""
    files = " ".join(f"/proc/self/{name}" for name in FACTS)
    lines = [
        # dash calls this limit -p, bash -u
        f"ulimit -u {processes} 2>/dev/null || ulimit -p {processes}" if processes else ":",
        f"{{ /usr/bin/grep -H '' {files}; echo {END.decode()}; }} >&{FACTS_FD} 2>/dev/null",
        f"exec {FACTS_FD}>&- {SCRIPT_FD}>&-",
        *(f"export {name}={_quote(value)}" for name, value in env.items()),
        'exec "$@"',
    ]
    return "\n".join(lines).encode("utf-8", "surrogateescape") + b"\n"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"
