"""The files of a run folder, as verification wants them.

Promises: every regular file beneath the folder by its relative path, with a function that opens it beneath that folder
without following a link at any step. A link or special file is in the result too, and refuses to open.
Does not: read anything before it is asked to.
"""

import errno
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

from controller.ports import folders

_NOT_RECORDS = frozenset({"attempts", "checkpoints"})


def run_folder(folder: Path) -> dict[str, Callable[[], BinaryIO]]:
    """Relative path to opener, for `controller.trust.verify.verify_run`; work folders of attempts are left out.

    Raises:
        OSError: the folder cannot be listed.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a run folder")
    files: dict[str, Callable[[], BinaryIO]] = {}
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            inner = folders.walk(Path(entry.path), _unlisted) if entry.name not in _NOT_RECORDS else ()
            found = [item.path for item in inner if not item.is_dir(follow_symlinks=False)]
        else:
            found = [entry.path]
        for path in (os.path.relpath(place, folder) for place in found):
            files[path] = partial(open_beneath, folder, path)
    return files


def _unlisted(error: OSError) -> None:
    """What lies deeper than a path can name has no name by which anybody could vouch for it; else: say so."""
    if error.errno != errno.ENAMETOOLONG:
        raise error


def open_beneath(folder: Path, path: str) -> BinaryIO:
    """Open a regular file beneath a folder, refusing links in every part of the relative path.

    Raises:
        OSError: missing, a link, not a regular file, or not readable.
    """
    *parents, name = path.split("/")
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parents:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = inner
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{path} is not a regular file")
    return os.fdopen(handle, "rb")
