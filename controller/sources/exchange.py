"""Replacing a file that others edit at the same time, so that neither their save nor our bytes are lost.

Promises: `replace` puts new bytes in place of exactly the file that was read, keeping owner, mode and attributes, by
one atomic exchange of two names; if the displaced file is not the one that was read, or somebody is about to write into
it, it is put back. What a crash leaves behind is put right by `recover`, again without losing a save.
Does not: decide what to write. Weaker where the kernel lacks exchange or leases: see `_replace_by_rename` and `_quiet`.
"""

import ctypes
import errno
import hashlib
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from controller.ports import durable
from controller.ports.clock import Clock
from controller.sources import writers
from controller.sources.files import MAX_FILE_BYTES, read_all
from controller.sources.scan import LEFTOVER_MARK

WRITE_TEMP = durable.register("folder.write_temp", "a hidden file beside a spec holds the spec with its new status")
EXCHANGE = durable.register("folder.exchange", "the spec and the hidden file have changed places")
UNLINK_DISPLACED = durable.register("folder.unlink_displaced", "the displaced spec is gone")

_RENAME_EXCHANGE = 2
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
_STABLE_SECONDS = 0.02
_ROUNDS = 100
SIDECAR = "sidecar"
"""Ends the hidden name of an unfinished sidecar."""

_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


class NoExchangeError(OSError):
    """Kernel or file system cannot exchange two names."""


@dataclass(slots=True)
class Held:
    """A file that we watch through an open descriptor while it is moved around."""

    descriptor: int
    lease: writers.Hold
    data: bytes
    stat: os.stat_result

    def is_at(self, folder: int, name: str) -> bool:
        """Does this name still lead to this file?"""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.stat(name, dir_fd=folder, follow_symlinks=False), self.stat)
        return False


def swap_names(folder: int, one: str, other: str) -> None:
    """Exchange two names of a folder atomically.

    Raises:
        NoExchangeError: not possible here.
        OSError: one of them does not exist, or the folder is read-only.
    """
    if _renameat2 is None:
        raise NoExchangeError(errno.ENOSYS, "this C library has no renameat2")
    if _renameat2(folder, os.fsencode(one), folder, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return
    code = ctypes.get_errno()
    raise (NoExchangeError if code in _UNSUPPORTED else OSError)(code, os.strerror(code), other)


def hold(stack: ExitStack, folder: int, name: str) -> Held:
    """Open, lease and read a file; given back when the stack is closed: whoever waited to write then goes on."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    stack.callback(os.close, descriptor)
    lease = writers.hold(descriptor)
    if lease is writers.Hold.HELD:
        stack.callback(writers.release, descriptor)  # a forked child may hold a copy of the descriptor for longer
    return Held(descriptor, lease, read_all(descriptor), os.fstat(descriptor))


def replace(stack: ExitStack, folder: int, name: str, read: Held, new: bytes, clock: Clock) -> Held | None:
    """Put `new` where `read` is.

    Returns:
        Our file where it is in place; None where the file is not the one that was read any more (read it again).

    Raises:
        OSError: it cannot be written; nothing was changed and nothing is left behind.
    """
    temp = leftover_name(name, read.data, new)
    _write_temp(folder, temp, new, read)
    try:
        ours = hold(stack, folder, temp)
        if not read.is_at(folder, name):
            discard(folder, temp)
            return None
        with durable.step(EXCHANGE):
            swap_names(folder, temp, name)
    except NoExchangeError:
        return _replace_by_rename(folder, name, temp, (read, ours), clock)
    except OSError as error:
        discard(folder, temp)
        if error.errno == errno.ENOENT:
            return None
        raise
    return _settle(stack, folder, name, temp, (read, ours), clock)


def _settle(stack: ExitStack, folder: int, name: str, temp: str, files: tuple[Held, Held], clock: Clock) -> Held | None:
    """After an exchange: `name` leads to the second file, and `temp` should lead to the first.

    Whatever else `temp` leads to was saved after the first was read, so it goes back. Each round does the same with
    what the round before put in place; the displaced file is only removed when nobody can write into it any more.
    """
    displaced, placed = files
    for _ in range(_ROUNDS):
        os.fsync(folder)
        if displaced.is_at(folder, temp) and _quiet(displaced, clock):
            with durable.step(UNLINK_DISPLACED):
                os.unlink(temp, dir_fd=folder)
            return placed if placed is files[1] else None
        newer = hold(stack, folder, temp)
        with durable.step(EXCHANGE):
            if not _put_back(folder, temp, name):
                return None
        displaced, placed = placed, newer if newer.stat.st_ino != files[1].stat.st_ino else files[1]
    raise OSError(errno.EBUSY, "it is being saved too often to be exchanged", name)


def _quiet(held: Held, clock: Clock) -> bool:
    """Has nobody written into it since it was read, and can nobody do so now?

    Exact with a lease. Without one: same bytes now and a moment later; a program that has it open and pauses longer
    than that moment before it writes would be missed.
    """
    if held.lease is writers.Hold.HELD:
        return writers.intact(held.descriptor)
    for _ in range(2):
        if read_all(held.descriptor) != held.data:
            return False
        clock.sleep(_STABLE_SECONDS)
    return read_all(held.descriptor) == held.data


def _put_back(folder: int, temp: str, name: str) -> bool:
    """Give a save its name back; True when that displaced another file, which is then at `temp`."""
    for _ in range(_ROUNDS):
        try:
            swap_names(folder, temp, name)
        except FileNotFoundError:  # an editor moved ours to its backup: nothing to exchange with
            with suppress(FileExistsError):
                os.link(temp, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
                os.unlink(temp, dir_fd=folder)
                return False
        else:
            return True
    raise OSError(errno.EBUSY, "it is being saved too often to be exchanged", name)


def _replace_by_rename(folder: int, name: str, temp: str, files: tuple[Held, Held], clock: Clock) -> Held | None:
    """Without exchange: keep a second name of what was read, then rename over it.

    Weaker: a save by rename that falls between the last check and the rename (microseconds) is overwritten. Where there
    are no hard links either, so is a save in place that was begun before.
    """
    read, ours = files
    kept = temp + "~"
    try:
        linked = _link(folder, name, kept)
        if not read.is_at(folder, kept if linked else name) or not _quiet(read, clock):
            return None
        with durable.step(EXCHANGE):
            os.rename(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
        if linked and not _quiet(read, clock):
            os.rename(kept, name, src_dir_fd=folder, dst_dir_fd=folder)
            return None
    except FileNotFoundError:
        return None
    else:
        return ours
    finally:
        discard(folder, temp)
        with durable.step(UNLINK_DISPLACED):
            discard(folder, kept)


def _link(folder: int, name: str, kept: str) -> bool:
    try:
        os.link(name, kept, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}:
            return False
        raise
    return True


def _write_temp(folder: int, temp: str, data: bytes, like: Held) -> None:
    """A new file with the owner, mode and attributes of another, on disk when this returns.

    Raises:
        OSError: no space, not writable, or the owner cannot be kept; nothing is left behind.
    """
    with durable.step(WRITE_TEMP):
        descriptor = create(folder, temp)
        try:
            write_all(descriptor, data)
            _look_like(descriptor, like)
            os.fsync(descriptor)
        except OSError:
            discard(folder, temp)
            raise
        finally:
            os.close(descriptor)


def create(folder: int, name: str) -> int:
    """A new file under one of our hidden names, for its owner only; what a crash left there is put right first.

    Raises:
        OSError: it cannot be made.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(name, flags, 0o600, dir_fd=folder)
    except FileExistsError:
        recover(folder, name)
        return os.open(name, flags, 0o600, dir_fd=folder)


def write_all(descriptor: int, data: bytes) -> None:
    """Every byte, or an error."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _look_like(descriptor: int, like: Held) -> None:
    mine = os.fstat(descriptor)
    if (mine.st_uid, mine.st_gid) != (like.stat.st_uid, like.stat.st_gid):
        os.fchown(descriptor, like.stat.st_uid, like.stat.st_gid)
    os.fchmod(descriptor, like.stat.st_mode & 0o7777)
    with suppress(OSError):  # best effort: some are not ours to set, some file systems have none
        for attribute in os.listxattr(like.descriptor):
            with suppress(OSError):
                os.setxattr(descriptor, attribute, os.getxattr(like.descriptor, attribute))


def discard(folder: int, name: str) -> None:
    """Remove a name if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _short(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def leftover_name(name: str, read: bytes, new: bytes) -> str:
    """The hidden name under which `new` waits beside `name`; it says what both files should hold."""
    return f".{name}{LEFTOVER_MARK}{_short(read)}-{_short(new)}"


Fate = Literal["remove", "restore", "keep"]


def fate(found: str, current: str | None, read: str, new: str) -> Fate:
    """What to do with a leftover, from short digests: its own, the spec's now, and the two that its name states.

    What was read or written by us holds no save that the spec lacks. Anything else was saved by somebody while we were
    replacing the file: it goes back if the spec is still ours, and is kept visibly if the spec was saved again since.
    """
    if found in {read, new, current}:
        return "remove"
    return "restore" if current == new else "keep"


def recover_path(root: Path, path: str) -> str | None:
    """`recover` for a path relative to the root."""
    parent, _, leftover = path.rpartition("/")
    folder = os.open(root / parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return recover(folder, leftover)
    finally:
        os.close(folder)


def recover(folder: int, leftover: str) -> str | None:
    """Put right what a crash left; returns a sentence when something of the user's was found.

    Raises:
        OSError: it cannot be done now.
    """
    name, _, digests = leftover[1:].rpartition(LEFTOVER_MARK)
    if digests == SIDECAR:  # an unfinished sidecar holds nothing of the user's
        discard(folder, leftover)
        return None
    read, _, new = digests.rstrip("~").partition("-")
    with ExitStack() as stack:
        try:
            found = hold(stack, folder, leftover)
        except FileNotFoundError:
            return None
        if found.lease is writers.Hold.BUSY or found.stat.st_size > MAX_FILE_BYTES:
            return None
        decision = fate(_short(found.data), _current(stack, folder, name), read, new)
        if decision == "restore":
            swap_names(folder, leftover, name)
        if decision == "keep":
            kept = f"{name}.recovered-{_short(found.data)}"
            os.rename(leftover, kept, src_dir_fd=folder, dst_dir_fd=folder)
            return f"{kept} holds a save that a crash set aside, and {name} was saved again since; compare them"
        with durable.step(UNLINK_DISPLACED):
            discard(folder, leftover)
        return f"{name} was put back as it was saved before a crash" if decision == "restore" else None


def _current(stack: ExitStack, folder: int, name: str) -> str | None:
    try:
        return _short(hold(stack, folder, name).data)
    except OSError:
        return None
