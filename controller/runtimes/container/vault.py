"""The secrets of attempts, in memory: a folder of /dev/shm that only we can enter.

Promises: a value is in no file on disk, no command line and no answer of the engine; the launcher reads it from a file
that is mounted read-only, and a later reconciler finds the values that it must take out of the log. Does not: outlive
the host.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from controller.ports.runtime import AttemptSpec

_MEMORY = Path("/dev/shm")  # noqa: S108  # memory is the point


def _folder(name: str) -> Path:
    return _MEMORY / f"fetchml-{os.getuid()}" / re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def environment_file(name: str) -> Path:
    """What the launcher reads."""
    return _folder(name) / "environment"


def fill(attempt: AttemptSpec) -> None:
    """Keep the attempt's secrets; nothing for an attempt without."""
    if not attempt.secrets:
        return
    folder = _folder(attempt.name)
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    if folder.parent.stat().st_uid != os.getuid():
        raise OSError(f"{folder.parent} is somebody else's")
    folder.mkdir(mode=0o700, exist_ok=True)
    lines = [f"{name}={_quoted(value)}\nexport {name}\n" for name, value in attempt.secrets.items()]
    _write(folder / "environment", "".join(lines), 0o444)  # within a folder of mode 0700
    _write(folder / "values", json.dumps(dict(attempt.secrets)), 0o400)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def _write(path: Path, text: str, mode: int) -> None:
    """In place: a mounted file must stay the same file."""
    if path.exists():
        path.chmod(0o600)
    path.write_text(text, errors="surrogateescape")
    path.chmod(mode)


def values(name: str, names: Iterable[str]) -> list[bytes] | None:
    """What must not reach the log; None when the attempt has secrets that are not known here any more."""
    if not tuple(names):
        return []
    try:
        found: dict[str, str] = json.loads((_folder(name) / "values").read_text(errors="surrogateescape"))
    except FileNotFoundError:
        return None
    return [value.encode("utf-8", "surrogateescape") for value in found.values()]


def empty(name: str) -> None:
    """Forget them."""
    shutil.rmtree(_folder(name), ignore_errors=True)
