"""Folders that a run filled: listed and removed, however deep they are nested and whatever their modes.

Promises: nothing here recurses (os.walk and shutil.rmtree end in RecursionError a thousand folders down, and a run can
make three thousand in a moment), and no link is followed. Does not: hold against a process that goes on changing the
folder; the run has ended.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PIN = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def walk(folder: Path, onerror: Callable[[OSError], object] = lambda _error: None) -> "Iterator[os.DirEntry[str]]":
    """Every entry beneath a folder, the folders among them before what they hold.

    A folder that cannot be listed (its mode, a path above the kernel's 4,096 bytes) is told to `onerror` and left out.
    """
    pending = [os.fspath(folder)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                found = list(entries)
        except OSError as error:
            onerror(error)
            continue
        for entry in found:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)


def remove(folder: Path) -> None:
    """Remove a folder with all it holds; what cannot be removed stays, without an error."""
    with suppress(OSError):
        root = _enter(os.fspath(folder), None)
        try:
            _empty(root)
        finally:
            os.close(root)
        folder.rmdir()


def _enter(name: str, parent: int | None) -> int:
    """A descriptor of a folder, which is given the mode that removing needs."""
    pin = os.open(name, _PIN, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{pin}", 0o700)  # noqa: PTH101  # the folder that is pinned, whatever its name is now
        return os.open(".", _OPEN, dir_fd=pin)
    finally:
        os.close(pin)


def _empty(root: int) -> None:
    """Empty an open folder: what lies in its folders is lifted into it, so that there is always one level below."""
    numbers = count()
    pending = _unlink_files(root)
    while pending:
        name = pending.pop()
        inner = _enter(name, root)
        try:
            pending += [_lift(found, inner, root, numbers) for found in _unlink_files(inner)]
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=root)


def _unlink_files(folder: int) -> list[str]:
    """Remove all but folders from an open folder; the names of the folders."""
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if not is_folder:
            os.unlink(name, dir_fd=folder)
    return [name for name, is_folder in found if is_folder]


def _lift(name: str, folder: int, root: int, numbers: "count[int]") -> str:
    """Move a folder into the root, under a name that is free; its name there."""
    os.close(_enter(name, folder))  # moving a folder writes its "..", for which it must be writable
    while True:
        lifted = f"lifted-{next(numbers)}"
        try:
            os.stat(lifted, dir_fd=root, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(name, lifted, src_dir_fd=folder, dst_dir_fd=root)
            return lifted
