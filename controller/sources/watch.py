"""Noticing that something in a specs folder may have changed.

Promises: a save is told within about 5 ms by inotify, one watch per folder and never one in a hidden folder; where
inotify cannot be used (no such system, limits reached, network and FUSE file systems) every second says "look
everywhere", and the log says why. Does not: say what changed; events may be lost, so callers also look by themselves.
"""

import logging
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from controller.sources.files import shown
from controller.sources.scan import is_leftover_name, is_spec_name

if TYPE_CHECKING:
    from watchdog.observers.inotify_c import CallbackId, InotifyEvent, WatchDescriptor

_log = logging.getLogger(__name__)

DEBOUNCE_SECONDS = 0.003
POLL_SECONDS = 1.0
_REMOTE = ("nfs", "nfs4", "9p", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "glusterfs", "beegfs", "virtiofs")
EVERYTHING = ""


def file_system(root: Path) -> str:
    """Type of the file system that holds the folder, such as ext4; empty where that is not known."""
    best, kind = "", ""
    real = root.resolve()
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        fields, _, tail = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields.split()[4])
        if real.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, tail.split()[0]
    return kind


def sees_every_change(kind: str) -> bool:
    """Does inotify tell everything on this type of file system (nobody else writes behind the kernel's back)?"""
    return kind not in _REMOTE and not kind.startswith("fuse")


class FolderWatch:
    """Calls `notify` from its own thread until stopped.

    `mode` says how it watches: ``inotify`` or ``polling: <why>``.
    """

    def __init__(self, root: Path, notify: Callable[[frozenset[str]], None]) -> None:
        self.mode = "inotify"
        self._root = root
        self._notify = notify
        self._hints: set[str] = set()
        self._leaving: dict[int, str] = {}
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._inotify: _Inotify | None = None
        self._identity: tuple[int, int] | None = None
        self._thread = threading.Thread(target=self._run, name="fetchml-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch; what happens after this returned is noticed."""
        kind = file_system(self._root)
        if not sees_every_change(kind):
            self._fall_back(f"changes made elsewhere are not announced on {kind}")
        self._begin()
        self._thread.start()

    def stop(self) -> None:
        """End it; `notify` is not called after this returned (unless it is calling this)."""
        self._stopped.set()
        self._wake.set()
        if self._inotify is not None:
            self._inotify.stop()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def hint(self, path: str) -> None:
        """Note a path relative to the root; empty means everything."""
        with self._lock:
            self._hints.add(path)
        self._wake.set()

    def leaving(self, cookie: int, path: str) -> None:
        """Note a path whose file is moved elsewhere: news, unless it turns out that we moved it."""
        with self._lock:
            self._leaving[cookie] = path
        self._wake.set()

    def not_leaving(self, cookie: int) -> None:
        """That was us."""
        with self._lock:
            self._leaving.pop(cookie, None)

    def _begin(self) -> None:
        self._identity = _identity(self._root)
        try:
            self._inotify = _Inotify(self._root, self)
            self._inotify.watch_below("")
        except (OSError, ImportError, AttributeError) as error:
            self._fall_back(f"inotify cannot be used ({error})")

    def _fall_back(self, why: str) -> None:
        if self.mode == "inotify":
            self.mode = f"polling: {why}"
            _log.warning("%s: %s; looking every %g s instead", shown(str(self._root)), why, POLL_SECONDS)

    def _run(self) -> None:
        while not self._stopped.is_set():
            woken = self._wake.wait(POLL_SECONDS)
            if self._stopped.wait(DEBOUNCE_SECONDS if woken else 0):
                return
            self._wake.clear()
            self._check(idle=not woken)
            with self._lock:
                hints = frozenset(self._hints.union(self._leaving.values()))
                self._hints, self._leaving = set(), {}
            if hints:
                self._notify(hints)

    def _check(self, *, idle: bool) -> None:
        """What inotify does not say: that it stopped working, or that the root is another folder now."""
        failed = self._inotify.failed if self._inotify else ""
        if failed:
            self._fall_back(failed)
        if idle and self.mode != "inotify":
            self.hint(EVERYTHING)
        if idle and _identity(self._root) != self._identity:
            if self._inotify is not None:
                self._inotify.stop()
            self._begin()
            self.hint(EVERYTHING)


def _identity(root: Path) -> tuple[int, int] | None:
    try:
        status = root.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class _Inotify:
    """One inotify instance (watchdog's), a watch per folder.

    watchdog's Observer is not used: it has no recursive watch that leaves hidden folders out, and it needs a thread
    and an instance for each folder otherwise.
    """

    def __init__(self, root: Path, watch: FolderWatch) -> None:
        from watchdog.observers.inotify_c import InotifyConstants as In  # Linux only, and slow to import
        from watchdog.observers.inotify_c import InotifyFD, Mask  # as above

        self.failed = ""
        self._root = root
        self._told = watch
        self._id = cast("CallbackId", id(self))
        self._our_moves: set[int] = set()
        self._folders: dict[WatchDescriptor, str] = {}
        changes = In.IN_CLOSE_WRITE | In.IN_MOVE | In.IN_CREATE | In.IN_DELETE | In.IN_ATTRIB
        self._mask = Mask(changes | In.IN_DELETE_SELF | In.IN_MOVE_SELF | In.IN_ONLYDIR)
        self._gone = In.IN_DELETE | In.IN_MOVED_FROM
        self._come = In.IN_CREATE | In.IN_MOVED_TO
        self._descriptor: InotifyFD = InotifyFD()
        self._descriptor.name = "fetchml-inotify"
        self._descriptor.start()

    def stop(self) -> None:
        """Close it."""
        self._descriptor.stop()
        if threading.current_thread() is not self._descriptor:
            self._descriptor.join()

    def watch_below(self, folder: str) -> None:
        """Watch a folder and every visible one beneath it.

        Raises:
            OSError: the root cannot be watched, or a limit is reached.
        """
        pending = [folder]
        while pending:
            current = pending.pop()
            self._watch(current)
            try:
                with os.scandir(self._root / current) as listing:
                    names = [item.name for item in listing if item.is_dir(follow_symlinks=False)]
            except OSError:
                continue  # gone or unreadable: the scan says so
            pending += [_join(current, name) for name in names if not name.startswith(".")]

    def _watch(self, folder: str) -> None:
        path = os.fsencode(self._root / folder)
        try:
            watch = self._descriptor.add_callback(path, self._mask, self, self._id)
        except FileNotFoundError:
            if folder == "":
                raise
            return
        if watch == -1 and folder == "":
            raise PermissionError(13, "the folder may not be watched")
        self._folders[watch] = folder

    # -- called by watchdog, in its thread

    def on_event(self, event: "InotifyEvent") -> None:
        """One event of one folder."""
        folder = self._folders.get(event.wd)
        name = os.fsdecode(event.name)
        if folder is None:
            return
        if not name:
            self._told.hint(EVERYTHING)
        elif name.startswith("."):
            self._on_hidden(name, event)
        elif event.is_directory:
            self._on_folder(_join(folder, name), event.mask)
        elif is_spec_name(name):
            self._on_file(_join(folder, name), event)

    def _on_hidden(self, name: str, event: "InotifyEvent") -> None:
        """An editor's temporary file is nothing to us; ours tells which moves of specs are our own."""
        if not is_leftover_name(name):
            return
        if event.is_moved_from:
            self._our_moves.add(event.cookie)
        elif event.is_moved_to:
            self._told.not_leaving(event.cookie)

    def _on_file(self, path: str, event: "InotifyEvent") -> None:
        if event.is_moved_from:
            self._told.leaving(event.cookie, path)
        elif event.cookie in self._our_moves:
            self._our_moves.discard(event.cookie)
        else:
            self._told.hint(path)

    def on_watch_deleted(self, wd: "WatchDescriptor") -> None:
        """The folder is gone."""
        self._folders.pop(wd, None)

    def on_queue_overflow(self) -> None:
        """The kernel dropped events: anything may have happened, new folders included."""
        self._unwatch_below("")
        self._rewatch("")
        self._told.hint(EVERYTHING)

    def _on_folder(self, folder: str, mask: int) -> None:
        self._unwatch_below(folder)
        if mask & self._come:
            self._rewatch(folder)  # before the look, so that nothing falls between
            self._told.hint(folder)
        elif mask & self._gone:
            self._told.hint(EVERYTHING)

    def _unwatch_below(self, folder: str) -> None:
        """A folder that was moved keeps its watch, which would speak of the old path."""
        stale = [wd for wd, known in self._folders.items() if f"{known}/".startswith(f"{folder}/" if folder else "")]
        self._descriptor.remove_callbacks([(wd, self._id) for wd in stale])
        for wd in stale:
            del self._folders[wd]

    def _rewatch(self, folder: str) -> None:
        try:
            self.watch_below(folder)
        except OSError as error:
            self.failed = f"inotify cannot be used ({error})"


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
