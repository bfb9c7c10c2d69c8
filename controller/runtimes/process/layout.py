"""What a run sees: its folders, environment and command, worked out before anything is started.

Promises: only what is listed here is visible in a mount namespace: a read-only /usr, a handful of public files of /etc,
the interpreter, the environment, the inputs, and the run's own folders. Never a home, the store, keys or all of /etc.
Does not: mount anything (bubblewrap.py and namespaces.py do).
"""

import re
from collections.abc import Mapping
from pathlib import Path

from controller.ports.runtime import AttemptSpec, RuntimeRefusedError

Operation = tuple[str, str, str]
"""kind, source, target: ro and rw bind a host path; link makes a symlink; tmpfs takes its size in bytes as source."""

UID = 1000
"""The user inside; the only one that is mapped."""

_HERE = Path(__file__).parent
_ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime")
_ETC_NETWORK = ("resolv.conf", "ssl/certs", "pki/tls/certs", "pki/ca-trust/extracted", "ca-certificates")
_SYNTHESISED = ("passwd", "group", "nsswitch.conf", "hosts")
_TOP = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_FORBIDDEN = {"/", "/home", "/root", "/etc", "/var", "/proc", "/sys", "/dev", "/tmp", "/run"}  # noqa: S108  # named to refuse it
_OWN = ("/workspace", "/results", "/checkpoints")
_SYSTEM = ("/usr", "/etc", "/proc", "/sys", "/dev", "/tmp", "/run", *(f"/{name}" for name in _TOP))  # noqa: S108  # named to refuse it
_REFERENCE = re.compile(r"\$\((workspace|results|checkpoints|data\.[^()\s]+)\)")


def inside_paths(attempt: AttemptSpec, *, namespace: bool) -> dict[str, str]:
    """What $(workspace), $(results), $(checkpoints) and $(data.name) stand for."""
    paths = {"results": "/results" if namespace else str(attempt.results)}
    if attempt.workspace is not None:
        paths["workspace"] = "/workspace" if namespace else str(attempt.workspace)
    if attempt.checkpoints is not None:
        paths["checkpoints"] = "/checkpoints" if namespace else str(attempt.checkpoints)
    sources = {mount.target: str(mount.source) for mount in attempt.mounts}
    for name, target in attempt.mount_names.items():
        paths[f"data.{name}"] = target if namespace else sources.get(target, target)
    return paths


def substitute(text: str, paths: Mapping[str, str]) -> str:
    """Put the paths in place of the four forms; whatever is not one of them stays as it is.

    Raises:
        RuntimeRefusedError: UnknownReference, when the attempt has no such folder or dataset.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in paths:
            raise RuntimeRefusedError("UnknownReference", f"{match[0]} stands for nothing in this attempt")
        return paths[match[1]]

    return _REFERENCE.sub(value, text)


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


def command(attempt: AttemptSpec, *, namespace: bool) -> list[str]:
    """The argument list with its references resolved."""
    paths = inside_paths(attempt, namespace=namespace)
    return [substitute(word, paths) for word in attempt.argv]


def working_directory(attempt: AttemptSpec, *, namespace: bool) -> str:
    """The code when there is any, else the results."""
    paths = inside_paths(attempt, namespace=namespace)
    return paths.get("workspace", paths["results"])


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
    sources = zip((attempt.workspace, attempt.results, attempt.checkpoints), _OWN, strict=True)
    return [("rw", str(source.resolve()), target) for source, target in sources if source is not None]


def check(attempt: AttemptSpec) -> None:
    """Refuse what would show the run more than it may see.

    Raises:
        RuntimeRefusedError: UnsafeMount, UnsafePath, BadEnvironment, NoCommand or UnknownReference.
    """
    if not attempt.argv:
        raise RuntimeRefusedError("NoCommand", "the command is empty")
    for path in (
        attempt.interpreter_prefix,
        attempt.environment,
        attempt.workspace,
        attempt.results,
        attempt.checkpoints,
    ):
        if path is not None and _too_wide(path):
            raise RuntimeRefusedError("UnsafePath", f"{path} holds more than the run may see")
    for mount in attempt.mounts:
        _check_target(mount.target, attempt)
    for name, value in {**attempt.env, **attempt.secrets}.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\0" in value:
            raise RuntimeRefusedError("BadEnvironment", f"{name!r} cannot be an environment variable with that value")
    if any("\0" in word for word in attempt.argv):
        raise RuntimeRefusedError("NoCommand", "an argument contains a NUL")
    command(attempt, namespace=True)
    environment(attempt, namespace=True, home="/tmp")  # noqa: S108  # only tried for unknown references


def _too_wide(path: Path) -> bool:
    real = path.resolve()
    return str(real) in _FORBIDDEN or Path.home().resolve().is_relative_to(real)


def _check_target(target: str, attempt: AttemptSpec) -> None:
    path = Path(target)
    if not path.is_absolute() or ".." in path.parts or target in ("/", *_OWN):
        raise RuntimeRefusedError("UnsafeMount", f"{target} cannot be a mount target")
    if any(path.is_relative_to(place) for place in _SYSTEM):
        raise RuntimeRefusedError("UnsafeMount", f"{target} lies in a system folder; mount beneath /data")
    own = {"/workspace": attempt.workspace, "/results": attempt.results, "/checkpoints": attempt.checkpoints}
    for name, source in own.items():
        if source is not None and path.is_relative_to(name):
            host = source.resolve() / path.relative_to(name)
            if host.resolve() != host:
                raise RuntimeRefusedError("UnsafeMount", f"{target} passes through a symbolic link")
