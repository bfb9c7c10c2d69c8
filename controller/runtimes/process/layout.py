"""What a run sees: its folders, environment and command, worked out before anything is started.

Promises: only what is listed here is visible in a mount namespace: a read-only /usr, a handful of public files of /etc,
the interpreter, the environment, the inputs, and the run's own folders. Never a home, the store, keys or all of /etc.
Does not: mount anything (bubblewrap.py and namespaces.py do).
"""

from pathlib import Path

from controller.ports.runtime import AttemptSpec
from controller.runtimes.inside import OWN, inside_paths, substitute, working_directory

Operation = tuple[str, str, str]
"""kind, source, target: ro and rw bind a host path; link makes a symlink; tmpfs takes its size in bytes as source."""

UID = 1000
"""The user inside; the only one that is mapped."""

_HERE = Path(__file__).parent
_ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime")
_ETC_NETWORK = ("resolv.conf", "ssl/certs", "pki/tls/certs", "pki/ca-trust/extracted", "ca-certificates")
_SYNTHESISED = ("passwd", "group", "nsswitch.conf", "hosts")
_TOP = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


def environment(attempt: AttemptSpec, *, namespace: bool, home: str) -> dict[str, str]:
    """Everything the program finds in its environment, secrets included; nothing comes from the reconciler's own.

    FETCHML_ATTEMPT_NAME and FETCHML_STORE_ID are how processes that outlive a killed supervisor are recognised.
    """
    paths = inside_paths(attempt, namespace=namespace)
    binaries = [] if attempt.environment is None else [f"{attempt.environment}/bin"]
    values = {
        "PATH": ":".join([*binaries, "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": home,
        "TMPDIR": home,
        "LANG": "C.UTF-8",
        "PWD": working_directory(attempt, namespace=namespace),
    }
    values |= {name: substitute(value, paths) for name, value in attempt.env.items()}
    values |= attempt.secrets
    return values | {"FETCHML_ATTEMPT_NAME": attempt.name, "FETCHML_STORE_ID": attempt.store_id}


def operations(attempt: AttemptSpec) -> list[Operation]:
    """The whole file system of the run, in mounting order."""
    limits = attempt.limits
    return [
        *_root(attempt.network),
        ("tmpfs", str(min(limits.disk, limits.memory)), "/tmp"),  # noqa: S108  # the run's own
        ("tmpfs", str(limits.memory // 2), "/dev/shm"),  # noqa: S108  # the run's own; half, as the kernel's default
        *_at_own_path(attempt.interpreter_prefix),
        *_at_own_path(attempt.environment),
        *_folders(attempt),
        *(("ro", str(mount.source.resolve()), mount.target) for mount in attempt.mounts),
    ]


def trial_operations() -> list[Operation]:
    """The least that a program needs, to try a sandbox."""
    shared = ("tmpfs", str(1 << 20), "/dev/shm")  # noqa: S108  # the trial's own
    return [*_root(network=False), ("tmpfs", str(1 << 20), "/tmp"), shared]  # noqa: S108  # the trial's own


def _root(network: bool) -> list[Operation]:
    steps: list[Operation] = [("ro", "/usr", "/usr")]
    for name in _TOP:
        path = Path("/") / name
        if path.is_symlink():
            steps.append(("link", str(path.readlink()), str(path)))
        elif path.is_dir():
            steps.append(("ro", str(path), str(path)))
    names = _ETC + (_ETC_NETWORK if network else ())
    public = [Path("/etc") / name for name in names]
    steps += [("ro", str(path.resolve()), str(path)) for path in public if path.exists()]
    return steps + [("ro", str(_HERE / "etc" / name), f"/etc/{name}") for name in _SYNTHESISED]


def _at_own_path(path: Path | None) -> list[Operation]:
    if path is None or path.is_relative_to("/usr"):
        return []
    return [("ro", str(path.resolve()), str(path))]


def _folders(attempt: AttemptSpec) -> list[Operation]:
    sources = zip((attempt.workspace, attempt.results, attempt.checkpoints), OWN, strict=True)
    return [("rw", str(source.resolve()), target) for source, target in sources if source is not None]
