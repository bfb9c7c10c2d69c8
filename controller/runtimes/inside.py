"""What every local runtime agrees on: the paths of a run's folders inside, what stands for them, what may be mounted.

Promises: pure but for resolving links of mounts; no runtime shows a run more than what passes `check`.
Does not: mount anything.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from controller.ports.runtime import AttemptSpec, RuntimeRefusedError

OWN = ("/workspace", "/results", "/checkpoints")
"""The run's own folders, writable."""

_TOP = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_FORBIDDEN = {"/", "/home", "/root", "/etc", "/var", "/proc", "/sys", "/dev", "/tmp", "/run"}  # noqa: S108  # named to refuse it
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


def command(attempt: AttemptSpec, *, namespace: bool) -> list[str]:
    """The argument list with its references resolved."""
    paths = inside_paths(attempt, namespace=namespace)
    return [substitute(word, paths) for word in attempt.argv]


def working_directory(attempt: AttemptSpec, *, namespace: bool) -> str:
    """The code when there is any, else the results."""
    paths = inside_paths(attempt, namespace=namespace)
    return paths.get("workspace", paths["results"])


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
    for value in attempt.env.values():
        substitute(value, inside_paths(attempt, namespace=True))


def _too_wide(path: Path) -> bool:
    real = path.resolve()
    return str(real) in _FORBIDDEN or Path.home().resolve().is_relative_to(real)


def _check_target(target: str, attempt: AttemptSpec) -> None:
    path = Path(target)
    if not path.is_absolute() or ".." in path.parts or target in ("/", *OWN):
        raise RuntimeRefusedError("UnsafeMount", f"{target} cannot be a mount target")
    if any(path.is_relative_to(place) for place in _SYSTEM):
        raise RuntimeRefusedError("UnsafeMount", f"{target} lies in a system folder; mount beneath /data")
    own = {"/workspace": attempt.workspace, "/results": attempt.results, "/checkpoints": attempt.checkpoints}
    for name, source in own.items():
        if source is not None and path.is_relative_to(name):
            host = source.resolve() / path.relative_to(name)
            if host.resolve() != host:
                raise RuntimeRefusedError("UnsafeMount", f"{target} passes through a symbolic link")
