"""Finding the Python that a spec names.

Promises: an interpreter is asked once (isolated, without site) for its version, platform and installation folder, and
remembered by the stat of its file; a shim of a version manager is followed to the real executable. Does not: install
one.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from controller.facts.facts import InterpreterFacts

OLDEST = (3, 9)
_TIMEOUT = 20.0
_FOLDERS = ("/usr/local/bin", "/usr/bin")
_ASK = """
import json, os, platform, sys, sysconfig
real = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
print(json.dumps([platform.python_version(), sys.implementation.name, sysconfig.get_platform(), real, sys.base_prefix]))
"""


@dataclass(frozen=True, slots=True)
class Python:
    """What an executable said about itself."""

    version: str
    implementation: str
    platform: str
    path: str
    prefix: str


class Interpreters:
    """Looks for interpreters: the operator's list, the running one, PATH, then the usual folders."""

    def __init__(self, cache: Path, candidates: Sequence[str] = ()) -> None:
        self._cache = cache
        self._candidates = tuple(candidates)
        self._known: dict[str, list[str]] | None = None

    def facts(self, version: str | None) -> InterpreterFacts:
        """The first interpreter of that version ("3.11" or "3.11.7"; any from 3.9 on when None)."""
        for python in self._offers(version):
            if matches(python.version, version):
                return InterpreterFacts(
                    requested=version,
                    found=True,
                    version=python.version,
                    implementation=python.implementation,
                    platform=python.platform,
                    path=python.path,
                    prefix=python.prefix,
                )
        return InterpreterFacts(requested=version, found=False)

    def _offers(self, version: str | None) -> Iterator[Python]:
        for candidate in self._candidates:
            yield from self._ask(candidate)
        yield running()
        for candidate in _named(version):
            yield from self._ask(candidate)

    def _ask(self, path: str) -> Iterator[Python]:
        """What the executable at `path` says (remembered while its file is the same); nothing when it is no Python."""
        key = _stat_key(path)
        if key is None:
            return
        known = self._load()
        if key not in known:
            answer = ask(path)
            if answer is None:
                return
            known[key] = list(asdict(answer).values())
            self._save(known)
        python = Python(*known[key])
        if os.access(python.path, os.X_OK):
            yield python

    def _load(self) -> dict[str, list[str]]:
        if self._known is None:
            try:
                read = json.loads(self._cache.read_bytes())
                self._known = {key: value for key, value in read.items() if _well_formed(value)}
            except (OSError, ValueError, AttributeError):
                self._known = {}
        return self._known

    def _save(self, known: dict[str, list[str]]) -> None:
        with contextlib.suppress(OSError):  # a cache that cannot be written is no failure
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile("w", dir=self._cache.parent, prefix=".tmp-", delete=False) as file:
                json.dump(known, file)
            Path(file.name).replace(self._cache)


def _well_formed(value: object) -> bool:
    return isinstance(value, list) and len(value) == 5 and all(isinstance(text, str) for text in value)


def _stat_key(path: str) -> str | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return f"{path}|{status.st_dev}|{status.st_ino}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}"


def _named(version: str | None) -> Iterator[str]:
    """Places where an interpreter of that version may lie, in order."""
    parts = (version or "").split(".")
    names = [f"python{parts[0]}.{parts[1]}"] if len(parts) > 1 else ["python3"]
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *_FOLDERS]
    seen: set[str] = set()
    for name in [*names, "python3"]:
        for folder in folders:
            path = f"{folder}/{name}"
            if path.startswith("/") and path not in seen and os.access(path, os.X_OK):
                seen.add(path)
                yield path


def running() -> Python:
    """The interpreter of this process."""
    real = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    version = ".".join(map(str, sys.version_info[:3]))
    suffix = re.match(r"[0-9.]+((?:a|b|rc)[0-9]+)?", sys.version)
    full = version + ((suffix[1] or "") if suffix else "")
    return Python(full, sys.implementation.name, sysconfig.get_platform(), real, sys.base_prefix)


def ask(path: str) -> Python | None:
    """Start the interpreter at `path` and ask it; None when it does not answer as a Python 3.9 or newer."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    try:
        done = subprocess.run(
            [path, "-I", "-S", "-c", _ASK], env=environment, cwd="/", capture_output=True, timeout=_TIMEOUT, check=True
        )
        answer = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    if not _well_formed(answer) or not matches(answer[0], None):
        return None
    return Python(*answer)


def matches(version: str, wanted: str | None) -> bool:
    """Is a full version such as "3.11.2" what "3.11", "3.11.2" or None (any from 3.9 on) asks for?"""
    numbers = tuple(int(number) for number in re.findall(r"[0-9]+", version)[:2])
    if wanted is None:
        return numbers >= OLDEST
    parts = wanted.split(".")
    return version.split(".")[: len(parts)] == parts
