"""What a run keeps on disk and in files without a name.

Promises: links are not followed, and a file that was unlinked while it is held open counts as long as it is held.
Does not: see what waits in sockets and pipes. Imported by the supervisor: built-in modules only.
"""

import errno
import os
import stat

ENTRY_BYTES = 4096
"""The least that an entry of a folder counts: an empty file costs the host an inode."""


def folder_bytes(path: str) -> int:
    """Bytes that a folder takes on disk.

    Raises:
        OSError: part of it cannot be looked at (ENAMETOOLONG, EACCES): a place to hide things from this measure.
    """
    total, left = 0, [path]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    total += max(entry.stat(follow_symlinks=False).st_blocks * 512, ENTRY_BYTES)
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.EACCES):
                raise
            continue  # removed meanwhile
    return total


def unlinked_bytes(members: set[int]) -> dict[int, int]:
    """Bytes of files without a name (memfds among them) that processes hold open, by device."""
    found = {}
    for pid in members:
        folder = f"/proc/{pid}/fd"
        try:
            names = os.listdir(folder)
        except OSError:
            continue  # it ended
        for name in names:
            try:
                seen = os.stat(f"{folder}/{name}")
            except OSError:
                continue
            if seen.st_nlink == 0 and stat.S_ISREG(seen.st_mode):
                found[seen.st_dev, seen.st_ino] = seen.st_blocks * 512
    totals: dict[int, int] = {}
    for (device, _), size in found.items():
        totals[device] = totals.get(device, 0) + size
    return totals


def device_of(path: str) -> int:
    """The device that holds a path; -1 when it is gone."""
    try:
        return os.stat(path).st_dev
    except OSError:
        return -1
