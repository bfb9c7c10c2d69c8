"""Records of attempts, as JSON files beneath run_dir/attempts/<n>/.

Promises: a record is whole or absent after any crash. Imported by the supervisor: built-in modules only, json on use.
"""

import os


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
