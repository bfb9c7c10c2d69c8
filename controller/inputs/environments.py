"""Virtual environments, one for each (lock, interpreter, platform, pip).

Promises: built once at its final path under a lock file; complete when `ready.json` lies beside it (written last,
fsynced), so a build killed at any moment is begun again; two builders at once build one. pip gets only pinned
requirements (lockfile.Lock.canonical), wheels only, every file checked against the lock's hashes. What is installed
is read-only and its RECORD digests are kept in `ready.json`. The user's pip configuration (index, proxy,
certificates) stays in force. Does not: build from source, or repair an environment that somebody changed.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from controller.api.canonical import digest_bytes, digest_value, hex_of, pretty_json
from controller.facts.facts import InterpreterFacts
from controller.inputs import lockfile
from controller.ports import durable
from controller.ports.inputs import EnvironmentBuildError, Progress

READY = durable.register("inputs.environment_ready", "a virtual environment is marked complete")

_LAYOUT = 1
_MARKER = "ready.json"
_NETWORK = (
    "Retrying (Retry(",
    "ConnectionError",
    "ConnectTimeout",
    "ReadTimeout",
    "ProxyError",
    "SSLError",
    "Could not fetch URL",
    "Max retries exceeded",
    "name resolution",
    "HTTP error 5",
    "HTTP error 429",
    "IncompleteRead",
    "No space left on device",
)
# Of the user's pip settings these would change what is installed or where.
_DROPPED = (
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_USER",
    "PIP_CONSTRAINT",
    "PIP_REQUIREMENT",
    "PIP_NO_BINARY",
    "PIP_PYTHON",
)


class Environments:
    """The environments of one base path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ready(self, lock: bytes | None, interpreter: InterpreterFacts) -> bool:
        """Is it complete, and its interpreter still there?"""
        return self._is_ready(self._place(lock, interpreter))

    def build(self, lock: bytes | None, interpreter: InterpreterFacts, progress: Progress) -> Path:
        """The complete environment, built now if need be; waits for another builder of the same one.

        Raises:
            EnvironmentBuildError: with pip's words; retryable when the network, the index or the disk failed.
        """
        place = self._place(lock, interpreter)
        if self._is_ready(place):
            return place / "venv"
        with self._alone(place) as lock_fd:
            if not self._is_ready(place):
                _remove(place)
                _build(place, lock, interpreter, progress, lock_fd)
        return place / "venv"

    def _place(self, lock: bytes | None, interpreter: InterpreterFacts) -> Path:
        return self._folder / hex_of(digest_value(_identity(lock, interpreter)))[:32]

    def _is_ready(self, place: Path) -> bool:
        return (place / _MARKER).is_file() and os.access(place / "venv" / "bin" / "python", os.X_OK)

    @contextlib.contextmanager
    def _alone(self, place: Path) -> Iterator[int]:
        self._folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(f"{place}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield fd
        finally:
            os.close(fd)


def _identity(lock: bytes | None, interpreter: InterpreterFacts) -> dict[str, Any]:
    return {
        "layout": _LAYOUT,
        "lock": digest_bytes(lock) if lock is not None else None,
        "python": [interpreter.implementation, interpreter.version, interpreter.platform, interpreter.path],
        "pip": pip_version() if lock is not None else None,
    }


def pip_version() -> str:
    """Version of the pip that installs: ours, which works on the target's interpreter.

    Raises:
        EnvironmentBuildError: there is none.
    """
    if importlib.util.find_spec("pip") is None:
        raise EnvironmentBuildError(
            "there is no pip beside fetchml; run python3 -m ensurepip (Debian: apt-get install python3-venv)",
            retryable=False,
        )
    return installed_version("pip")


def _build(place: Path, lock: bytes | None, interpreter: InterpreterFacts, progress: Progress, lock_fd: int) -> None:
    progress("environment", 0, 0)
    pins = _pins(lock) if lock is not None else ()
    place.mkdir(parents=True)
    venv = place / "venv"
    _create(venv, interpreter, lock_fd)
    if pins:
        _install(venv, pins, place / "requirements.txt", progress, lock_fd)
    record = {**_identity(lock, interpreter), "packages": _records(venv)}
    _make_read_only(venv)
    _sync(venv, large=bool(pins))
    with durable.step(READY):
        _write_durably(place / _MARKER, pretty_json(record))
    progress("environment", 1, 1)


def _pins(lock: bytes) -> tuple[lockfile.Pin, ...]:
    parsed = lockfile.parse(lock)
    if parsed.unpinned:
        raise EnvironmentBuildError(
            "not pinned by version and sha256: " + "; ".join(parsed.unpinned[:5]), retryable=False
        )
    return parsed.pins


def _create(venv: Path, interpreter: InterpreterFacts, lock_fd: int) -> None:
    """An empty environment: without pip, so that Debian's missing ensurepip does not matter."""
    words = [interpreter.path, "-I", "-m", "venv", "--without-pip", "--symlinks", os.fspath(venv)]
    done = _start(words, lock_fd)
    if done.returncode != 0:
        why = (done.stderr or done.stdout).strip().splitlines()
        raise EnvironmentBuildError(
            f"{interpreter.path} cannot make a virtual environment: {why[-1] if why else '?'}", retryable=False
        )


def _install(venv: Path, pins: tuple[lockfile.Pin, ...], requirements: Path, progress: Progress, lock_fd: int) -> None:
    requirements.write_bytes(lockfile.Lock(pins, ()).canonical())
    progress("packages", 0, len(pins))
    flags = [
        "--require-hashes",
        "--only-binary=:all:",
        "--no-input",
        "--disable-pip-version-check",
        "--no-warn-script-location",
    ]
    pip = [sys.executable, "-m", "pip", "--python", os.fspath(venv / "bin" / "python")]
    done = _start([*pip, "install", *flags, "--progress-bar=off", "-r", os.fspath(requirements)], lock_fd)
    if done.returncode != 0:
        raise explain_pip(done.stdout, done.stderr)
    progress("packages", len(pins), len(pins))


def _start(words: list[str], lock_fd: int) -> subprocess.CompletedProcess[str]:
    """Run a builder. It inherits the lock: if we are killed, nobody else begins before it has ended too."""
    environment = {
        name: value for name, value in os.environ.items() if name not in _DROPPED and not name.startswith("PYTHON")
    }
    environment["PIP_USER"] = "0"
    try:
        return subprocess.run(
            words, env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            check=False, pass_fds=(lock_fd,),
        )  # fmt: skip
    except OSError as error:
        raise EnvironmentBuildError(f"{words[0]} cannot be started: {error.strerror}", retryable=False) from error


def explain_pip(output: str, errors: str) -> EnvironmentBuildError:
    """pip's own sentences, and whether trying again may help."""
    lines = errors.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith("ERROR:")), None)
    text = " ".join(
        line.strip().removeprefix("ERROR: ") for line in (lines[first:] if first is not None else lines[-3:])
    )
    retryable = any(sign in errors or sign in output for sign in _NETWORK)
    return EnvironmentBuildError(text[:600] or "pip failed without a word", retryable=retryable)


def _records(venv: Path) -> dict[str, str]:
    """name==version to the digest of its RECORD."""
    found = {}
    for record in sorted(venv.glob("lib/python*/site-packages/*.dist-info/RECORD")):
        name, _, version = record.parent.name.removesuffix(".dist-info").rpartition("-")
        found[f"{name}=={version}"] = "sha256:" + hashlib.sha256(record.read_bytes()).hexdigest()
    return found


def _make_read_only(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)


def _sync(venv: Path, *, large: bool) -> None:
    """Put the files on disk before the marker that vouches for them: it must not outlive them in a power loss."""
    if large:
        os.sync()  # thousands of files: one call for all costs less than one each
        return
    for path in (venv, *venv.rglob("*")):
        if not path.is_symlink():
            _fsync(path)


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(place: Path) -> None:
    """Remove an incomplete environment, read-only folders included."""
    for folder, _, _ in os.walk(place):
        Path(folder).chmod(0o700)
    if place.exists():
        shutil.rmtree(place)


def _write_durably(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _fsync(path.parent)


def read_record(environment: Path) -> dict[str, Any]:
    """What `ready.json` says of an environment that `build` returned: lock, python, pip, packages."""
    record: dict[str, Any] = json.loads((environment.parent / _MARKER).read_bytes())
    return record
