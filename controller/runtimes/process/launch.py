"""From the supervisor's fork to the user's program.

Promises: the program starts with default signals, only descriptors 0 to 2 and its limits, and dies with the supervisor;
what isolation is in force is read inside, by code that no user's variable has touched, and written to the facts
descriptor, which is closed before the program begins. A command that cannot be run: a line in the log, exit 127 or 126.
Does not: return in the child. Imported by the supervisor: built-in modules only.
"""

import errno
import os
import resource
import select

from controller.runtimes.process import bubblewrap, namespaces, signals

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


class Launch:
    """What is needed to start one program; made by the reconciler, handed over in memory."""

    __slots__ = (
        "argv",
        "bwrap",
        "cpus",
        "cwd",
        "env",
        "launcher",
        "network",
        "operations",
        "rlimits",
        "seccomp",
        "uid",
    )

    def __init__(self, values: dict[str, object]) -> None:
        for name in self.__slots__:
            setattr(self, name, values[name])

    argv: list[str]
    env: dict[str, str]
    cwd: str
    launcher: str
    bwrap: str
    """Path of bubblewrap."""
    operations: list[tuple[str, str, str]]
    network: bool
    seccomp: bytes | None
    uid: int
    cpus: int
    rlimits: dict[str, int]
    """file_size, open_files, processes (0: not set, because the uid is exempt or shared)."""


def start(launch: Launch, output: int, facts: int, spread: int) -> int:
    """Fork the run; returns its first process. `output` and `facts` are the write ends of pipes."""
    supervisor = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        _child(launch, output, facts, supervisor, spread)
    except BaseException as error:  # noqa: BLE001  # a fork must never run on as a second supervisor
        os.write(2, f"fetchml: the sandbox could not be built: {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(1)


def _child(launch: Launch, output: int, facts: int, supervisor: int, spread: int) -> None:
    namespaces.die_with_parent(supervisor)
    os.setsid()
    _descriptors(output, facts)
    _limits(launch, spread)
    for number in signals.valid_signals() - {signals.SIGKILL, signals.SIGSTOP}:  # a shell's & ignores SIGQUIT too
        signals.signal(number, signals.SIG_DFL)
    {"bwrap": _through_bubblewrap, "unshare": _through_namespaces, "none": _plainly}[launch.launcher](launch)


def _descriptors(output: int, facts: int) -> None:
    """0 is /dev/null, 1 and 2 the log, 3 the facts; nothing else stays open."""
    for source, target in (
        (os.open("/dev/null", os.O_RDONLY), 0),
        (output, 1),
        (output, 2),
        (facts, bubblewrap.FACTS_FD),
    ):
        os.dup2(source, target)
    os.set_inheritable(bubblewrap.FACTS_FD, True)
    os.closerange(bubblewrap.FACTS_FD + 1, os.sysconf("SC_OPEN_MAX"))


def _limits(launch: Launch, spread: int) -> None:
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, launch.rlimits["file_size"]),
        (resource.RLIMIT_NOFILE, launch.rlimits["open_files"]),
    ):
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))
    allowed = sorted(os.sched_getaffinity(0))
    begin = spread % len(allowed)
    os.sched_setaffinity(0, (allowed * 2)[begin : begin + min(launch.cpus, len(allowed))])
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")  # when the kernel must choose, it takes the run and not its supervisor


def _through_bubblewrap(launch: Launch) -> None:
    words = bubblewrap.arguments(
        launch.operations, launch.cwd, launch.uid, network=launch.network, seccomp=launch.seccomp is not None
    )
    script = bubblewrap.script(launch.env, launch.rlimits["processes"])
    _memory(bubblewrap.SCRIPT_FD, script)
    _memory(bubblewrap.ARGS_FD, b"".join(os.fsencode(word) + b"\0" for word in words))
    if launch.seccomp is not None:
        _memory(bubblewrap.SECCOMP_FD, launch.seccomp)
    shell = ["/bin/sh", f"/proc/self/fd/{bubblewrap.SCRIPT_FD}", *launch.argv]
    os.execve(launch.bwrap, ["bwrap", "--args", str(bubblewrap.ARGS_FD), "--", *shell], {})


def _memory(target: int, data: bytes) -> None:
    """Put bytes where an inherited descriptor reads them."""
    fd = os.memfd_create("fetchml", 0)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    if fd != target:
        os.dup2(fd, target)
        os.close(fd)


def _through_namespaces(launch: Launch) -> None:
    namespaces.unshare(launch.uid, network=launch.network)
    lifeline, held = os.pipe()
    pid = os.fork()
    if pid:
        os.close(bubblewrap.FACTS_FD)
        os._exit(_shell_code(os.waitpid(pid, 0)[1]))
    os.close(held)
    namespaces.die_with_parent(0)  # the parent is outside the pid namespace, so its pid reads as 0, dead or alive
    poller = select.poll()
    poller.register(lifeline, 0)
    if poller.poll(0):  # hung up: the parent ended before it was watched
        os._exit(1)
    os.close(lifeline)
    namespaces.build_root(launch.operations)
    namespaces.confine(launch.seccomp)
    namespaces.hide()
    os.chdir(launch.cwd)
    program = os.fork()
    if program:
        os.close(bubblewrap.FACTS_FD)
        _reap_until(program)
    if launch.rlimits["processes"]:
        resource.setrlimit(resource.RLIMIT_NPROC, (launch.rlimits["processes"],) * 2)
    _become(launch)


def _reap_until(program: int) -> None:
    """Be the init of the pid namespace: its end ends everything in it."""
    while True:
        pid, status = os.wait()
        if pid == program:
            os._exit(_shell_code(status))


def _shell_code(status: int) -> int:
    """As shells and bubblewrap say it: 128 + the signal for who was killed."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _plainly(launch: Launch) -> None:
    namespaces.confine(launch.seccomp)
    os.chdir(launch.cwd)
    _become(launch)


def _become(launch: Launch) -> None:
    """Read the facts, then be the user's program."""
    lines = []
    for name in bubblewrap.FACTS:
        with open(f"/proc/self/{name}", "rb") as file:
            lines += [b"/proc/self/" + name.encode() + b":" + line.rstrip(b"\n") for line in file]
    data = memoryview(b"\n".join([*lines, bubblewrap.END, b""]))
    while data:
        data = data[os.write(bubblewrap.FACTS_FD, data) :]
    os.close(bubblewrap.FACTS_FD)
    _execute(launch.argv, launch.env)


def _execute(argv: list[str], env: dict[str, str]) -> None:
    """As execvpe, which would import a module that may not exist in this file system."""
    failure = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    places = [""] if "/" in argv[0] else [f"{folder}/" for folder in env["PATH"].split(":")]
    for place in places:
        try:
            os.execve(place + argv[0], argv, env)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                failure = error
    os.write(2, f"fetchml: cannot run {argv[0]!r}: {failure.strerror}\n".encode("utf-8", "replace"))
    os._exit(_NOT_FOUND if failure.errno == errno.ENOENT else _NOT_EXECUTABLE)


def trial() -> None:
    """Start the program on standard input (a marshalled Launch) and exit as it did: what the probe calls."""
    import marshal

    wanted = Launch(marshal.loads(os.read(0, 1 << 20)))  # noqa: S302  # from our own parent
    facts, sink = os.pipe()
    output = os.dup(1)
    pid = start(wanted, output, sink, 0)
    os.close(sink)
    text = b""
    while data := os.read(facts, 1 << 16):
        text += data
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os._exit(code % 256 if text.rstrip().endswith(bubblewrap.END) else code % 256 or 1)
