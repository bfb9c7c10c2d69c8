"""The files of one attempt, run_dir/attempts/<n>/, and how they become durable.

Promises: a record is whole or absent after any crash; a claim is given to exactly one process.
Does not: decide what a record means (state.py does). Imported by the supervisor: built-in modules only, json on use.
"""

import os

ATTEMPT = "attempt.json"
"""What was asked for, without secrets. Written by create."""
CLAIM = "claim"
"""Identity of the one supervisor that may run the attempt: "pid start-time boot-id", or "0 0 stopped"."""
STARTED = "started.json"
"""Written once the sandbox stands and the user's program begins."""
EXIT = "exit.json"
"""Written last, when no process of the attempt is left."""
STOP = "stop.json"
"""A request to stop, with the grace in seconds."""
SCRATCH = "scratch"
"""Home and temporary folder of a run without a mount namespace."""


def folder(run_dir: str, number: int) -> str:
    """Where the records of attempt `number` lie."""
    return os.path.join(run_dir, "attempts", str(number))


def sync_folder(path: str) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_temporary(place: str, name: str, data: bytes) -> str:
    path = os.path.join(place, f".{name}.{os.getpid()}")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    return path


def save(place: str, name: str, value: dict[str, object]) -> None:
    """Write a record atomically and durably.

    Raises:
        OSError: it could not be written; the old record, if any, is still whole.
    """
    import json

    temporary = _write_temporary(place, name, json.dumps(value, sort_keys=True).encode())
    os.rename(temporary, os.path.join(place, name))
    sync_folder(place)


def clear(place: str) -> None:
    """Remove records that killed writers left half written."""
    halves = tuple(f".{name}." for name in (ATTEMPT, STARTED, EXIT, STOP))
    try:
        for name in (name for name in os.listdir(place) if name.startswith(halves)):
            os.unlink(os.path.join(place, name))
    except FileNotFoundError:
        pass  # the folder is gone, or its writer lives and was quicker


def claim(place: str, text: str) -> bool:
    """Take the attempt, durably, if nobody has; False when somebody has.

    The claim is a symbolic link whose target is the text: made whole, exclusively and with one sync.

    Raises:
        OSError: it could not be written.
    """
    try:
        os.symlink(text, os.path.join(place, CLAIM))
    except FileExistsError:
        return False
    sync_folder(place)
    return True


def claimed(place: str) -> str | None:
    """The text of the claim, or None when nobody has taken the attempt."""
    try:
        return os.readlink(os.path.join(place, CLAIM))
    except FileNotFoundError:
        return None
    except OSError:
        return ""  # something else lies there: taken, by nobody who lives


def read(place: str, name: str) -> bytes | None:
    """The bytes of a record, or None when it is absent."""
    try:
        fd = os.open(os.path.join(place, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read()


def load(place: str, name: str) -> dict[str, object] | None:
    """A record, or None when it is absent or no JSON object (torn by something other than us)."""
    import json

    data = read(place, name)
    if data is None:
        return None
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
