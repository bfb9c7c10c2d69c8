"""A bare clone that is kept fresh: the adapter of ports.repository.

Promises: no work tree, no checkout, no template and no hook; every object that is read is checked against its id;
commits are made from objects in memory, and pushed only as the child of the tip they were made from. The clone is a
cache: what a crash left in it (locks, half packs) is cleared when it is opened, and a damaged one is thrown away and
made again. One process uses it at a time: it and every git process that it starts hold a lock on it.
Does not: decide what a commit holds.
"""

import errno
import fcntl
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NoReturn, TypeVar

from controller.inputs.addresses import check_local
from controller.inputs.gitcmd import Asked, GitError, Objects, ObjectTooLargeError, Remote
from controller.inputs.packs import Conflict, NewObject, entry_of, pack, rewritten
from controller.inputs.refs import branch_stamp
from controller.inputs.treelist import difference, listing
from controller.inputs.trees import REGULAR
from controller.inputs.troubles import trouble_of
from controller.ports import durable
from controller.ports.clock import Clock
from controller.ports.repository import FileTooLarge, PushRejectedError, Repository, RepositoryTroubleError, TreeChange

CREATE = durable.register("clone.create", "the bare clone exists")
FETCH = durable.register("clone.fetch", "what the remote has is in the clone")
MARK = durable.register("clone.mark", "the commit that was looked at last has a ref")
COMMIT = durable.register("clone.commit", "a status commit is in the clone")
PUSH = durable.register("clone.push", "a status commit is the tip of the remote's branch")

SEEN = "refs/fetchml/seen"
"""The commit that was looked at last."""
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"
"""All that `git init --bare` would write, without a template."""
_OID = re.compile("[0-9a-f]{40}")
_TIDY_EVERY = 100
"""Fetches between two looks of git at whether its objects are to be packed."""
_LOCK_SECONDS = 60.0
_LOCK_PAUSE = 0.05

T = TypeVar("T")
Sign = Callable[[bytes], str]
"""The armoured signature of a commit's bytes."""


@dataclass(frozen=True, slots=True)
class Committer:
    """Who makes our commits."""

    name: str
    """As git writes it: Name <address>."""
    sign: Sign | None = None


def clone_folder(base: Path, remote: Remote) -> Path:
    """Where the clone of a remote lies."""
    return base / "clones" / f"{sha256(remote.url.encode()).hexdigest()[:16]}.git"


class Clone(Repository):
    """The clone of one remote at `folder`; use `close` when done."""

    def __init__(self, folder: Path, remote: Remote, committer: Committer, clock: Clock) -> None:
        """Open it, or make it; nothing is fetched yet.

        Raises:
            RepositoryTroubleError: another process uses it, or it cannot be made.
        """
        self.folder = folder
        self._remote = remote
        self._committer = committer
        self._clock = clock
        self._network = threading.Lock()
        self._reading = threading.Lock()
        self._objects: Objects | None = None
        self._tips: dict[str, str] = {}
        self._stamps: dict[str, str] = {}
        self._broken = False
        self._fetches = 0
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            self._held = self._hold()
            self._make()
        except OSError as error:
            raise _trouble_of_host(error, f"the clone {folder} cannot be made") from error

    def close(self) -> None:
        """Stop reading; the clone stays."""
        with self._reading:
            self._forget_objects()
        os.close(self._held)

    # --- the remote ---

    def refresh(self, branch: str) -> str | None:
        """See Repository."""
        with self._network:
            if self._broken:
                self._rebuild()
            self._check()
            stamp = self.stamp(branch)
            moved = stamp != self._stamps.get(branch, "")  # then asking first would only cost a process more
            tip = None if moved else self._ask(branch)
            if moved or (tip is not None and tip != self.tip(branch)):
                tip = self._fetch(branch)
            self._stamps[branch] = stamp
            return tip

    def stamp(self, branch: str) -> str:
        """See Repository."""
        return branch_stamp(Path(self._remote.url), branch) if self._remote.protocol == "file" else ""

    def _ask(self, branch: str) -> str | None:
        ref = f"refs/heads/{branch}"
        upload, _ = self._remote.far_side
        said = self._git("ls-remote", "--quiet", upload, "--end-of-options", self._remote.url, ref, network=True)
        found = [line.split("\t") for line in said.decode(errors="replace").splitlines()]
        return next((words[0] for words in found if words[1:] == [ref]), None)

    def _fetch(self, branch: str) -> str | None:
        upload, _ = self._remote.far_side
        shape = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules")
        refs = f"+refs/heads/{branch}:{_tracking(branch)}"
        try:
            with _step(FETCH):
                self._git("fetch", *shape, upload, "--end-of-options", self._remote.url, refs, network=True)
        except RepositoryTroubleError as trouble:
            clear_leftovers(self.folder)  # git leaves half a pack behind on a full disk, which keeps it full
            if trouble.reason == "BranchNotFound":
                return None
            raise
        self._tips.pop(branch, None)
        self._fetches += 1
        if self._fetches % _TIDY_EVERY == 0:
            self._git("-c", "gc.autoDetach=false", "gc", "--auto", "--quiet")
        return self.tip(branch)

    def push(self, branch: str, commit: str, parent: str | None) -> None:
        """See Repository."""
        with self._network:
            self._check()
            ref = f"refs/heads/{branch}"
            _, receive = self._remote.far_side
            lease = (
                f"--force-with-lease={ref}:{parent or ''}"  # it must still be our commit's parent: fast-forward only
            )
            shape = ("--porcelain", "--no-verify", "--no-signed", "--no-recurse-submodules", receive, lease)
            try:
                with _step(PUSH):
                    self._git("push", *shape, "--end-of-options", self._remote.url, f"{commit}:{ref}", network=True)
            except RepositoryTroubleError as trouble:
                if trouble.reason == "PushRejected":
                    raise PushRejectedError(str(trouble)) from trouble
                raise
            self._git("update-ref", "--end-of-options", _tracking(branch), commit)
            self._tips[branch] = commit

    def _check(self) -> None:
        if self._remote.protocol == "file":
            check_local(Path(self._remote.url))

    # --- reading ---

    def tip(self, branch: str) -> str | None:
        """See Repository."""
        if branch not in self._tips:
            loose = self._loose(_tracking(branch))
            if loose:
                self._tips[branch] = loose
                return loose
            ref = f"{_tracking(branch)}^{{commit}}"
            said = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", ref, ok=(0, 1))
            if not said.strip():
                return None
            self._tips[branch] = said.decode().strip()
        return self._tips[branch]

    def _loose(self, ref: str) -> str:
        """The commit of a ref that has a file of its own (a git process costs 50 times as much); empty without one."""
        with suppress(OSError):
            text = (self.folder / ref).read_text().strip()
            return text if _OID.fullmatch(text) else ""
        return ""

    def contains(self, tip: str, commit: str) -> bool:
        """See Repository."""
        commit_object = self._read(tip, None)
        if (
            isinstance(commit_object, tuple)
            and f"\nparent {commit}\n".encode() in commit_object[2].partition(b"\n\n")[0]
        ):
            return True
        with Asked(str(self.folder), "merge-base", "--is-ancestor", "--end-of-options", commit, tip) as asked:
            return self._told(lambda: asked.answer((0, 1, 128))[0]) == 0  # 128: the commit is not here any more

    def files(self, commit: str, below: str) -> tuple[TreeChange, ...]:
        """See Repository."""
        return self._told(lambda: listing(str(self.folder), commit, below))

    def changes(self, old: str, new: str) -> tuple[TreeChange, ...]:
        """See Repository."""
        return self._told(lambda: difference(str(self.folder), old, new))

    def blob(self, oid: str, limit: int) -> bytes | FileTooLarge:
        """See Repository."""
        found = self._read(oid, limit)
        if isinstance(found, FileTooLarge):
            return found
        if found is None or found[1] != "blob":
            self._corrupt(f"blob {oid} is missing")
        return found[2]

    def file(self, commit: str, path: str, limit: int) -> bytes | FileTooLarge | None:
        """See Repository."""
        *folders, name = os.fsencode(path).split(b"/")
        tree = self._tree(commit)
        for folder in folders:
            found = entry_of(tree, folder)
            if found is None or found[0] != "40000":
                return None
            tree = self._object(found[1])
        leaf = entry_of(tree, name)
        return self.blob(leaf[1], limit) if leaf and leaf[0] in REGULAR else None

    def _tree(self, commit: str) -> bytes:
        return self._object(f"{commit}^{{tree}}")

    def _object(self, name: str) -> bytes:
        found = self._read(name, None)
        if not isinstance(found, tuple):
            self._corrupt(f"{name} is missing")
        return found[2]

    def _corrupt(self, why: str) -> NoReturn:
        self._broken = True
        raise RepositoryTroubleError(
            "RepositoryCorrupt", f"the clone {self.folder} is damaged ({why}); it is made again"
        )

    def _read(self, name: str, limit: int | None) -> tuple[str, str, bytes] | FileTooLarge | None:
        with self._reading:
            if self._objects is None:
                self._objects = Objects(str(self.folder))
            pieces: list[bytes] = []
            try:
                found = self._objects.copy(name, pieces.append, limit)
            except ObjectTooLargeError as error:
                self._forget_objects()
                return FileTooLarge(error.size)
            except GitError as error:
                self._forget_objects()
                self._corrupt(str(error))
            return (found[0], found[1], b"".join(pieces)) if found else None

    def _forget_objects(self) -> None:
        if self._objects is not None:
            self._objects.__exit__(None, None, None)
            self._objects = None

    # --- writing ---

    def mark(self, commit: str) -> None:
        """See Repository."""
        place = self.folder / SEEN
        temporary = self.folder / "seen.new"
        with _step(MARK):
            place.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w") as file:
                file.write(commit + "\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(place)

    def commit(self, parent: str | None, files: Mapping[str, bytes], message: str) -> str:
        """See Repository."""
        blobs = {os.fsencode(path): NewObject("blob", data) for path, data in files.items()}
        root = self._read(f"{parent}^{{tree}}", None) if parent else None
        if parent and not isinstance(root, tuple):
            self._corrupt(f"the tree of {parent} is missing")
        tree = root[0] if isinstance(root, tuple) else None
        try:
            trees = rewritten(self._object, tree, {path: item.oid for path, item in blobs.items()})
        except Conflict as error:
            raise RepositoryTroubleError("RepositoryFailed", f"a status cannot be committed: {error}") from error
        made = self._commit_object(trees[-1].oid, parent, message)
        with self._network, _step(COMMIT):
            self._git("unpack-objects", "-q", data=pack([*blobs.values(), *trees, made]))
        return made.oid

    def _commit_object(self, tree: str, parent: str | None, message: str) -> NewObject:
        who = f"{self._committer.name} {int(self._clock.now().timestamp())} +0000"
        head = f"tree {tree}\n" + (f"parent {parent}\n" if parent else "") + f"author {who}\ncommitter {who}\n"
        body = f"\n{message.rstrip()}\n"
        if self._committer.sign is None:
            return NewObject("commit", (head + body).encode())
        signature = self._committer.sign((head + body).encode()).strip().replace("\n", "\n ")
        return NewObject("commit", f"{head}gpgsig {signature}\n{body}".encode())

    # --- the clone itself ---

    def _hold(self) -> int:
        """A lock that every git process we start inherits: once we have it, none of a dead predecessor is at work."""
        held = os.open(self.folder.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = self._clock.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._clock.monotonic() >= until:
                    os.close(held)
                    message = f"another process uses {self.folder}; stop it first"
                    raise RepositoryTroubleError("RepositoryFailed", message) from None
                self._clock.sleep(_LOCK_PAUSE)
            else:
                return held

    def _make(self) -> None:
        """The clone as an empty bare repository, or as it was left, without what a crash left in it."""
        if (self.folder / "HEAD").is_file() and (self.folder / "config").is_file():
            clear_leftovers(self.folder)
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        partial = self.folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name in ("objects", "refs"):
            (partial / name).mkdir()
        (partial / "HEAD").write_text("ref: refs/heads/main\n")
        (partial / "config").write_text(_CONFIG)
        with durable.step(CREATE):
            partial.rename(self.folder)

    def _rebuild(self) -> None:
        with self._reading:
            self._forget_objects()
        self._tips.clear()
        self._stamps.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._make()
        self._broken = False

    def _git(self, *words: str, network: bool = False, data: bytes | None = None, ok: tuple[int, ...] = (0,)) -> bytes:
        remote = self._remote if network else None
        with self._starting(
            lambda: Asked(str(self.folder), *words, data=data, remote=remote, keep=(self._held,))
        ) as git:
            return self._told(lambda: git.answer(ok)[1])

    def _starting(self, start: Callable[[], Asked]) -> Asked:
        return self._told(start)

    def _told(self, work: Callable[[], T]) -> T:
        """What git said, with its complaints as troubles."""
        try:
            return work()
        except GitError as error:
            trouble = trouble_of(error, self._remote.url)
            self._broken |= trouble.reason == "RepositoryCorrupt"
            raise trouble from error


@contextmanager
def _step(name: str) -> Iterator[None]:
    """A durable step whose failure is a trouble of the repository."""
    try:
        with durable.step(name):
            yield
    except OSError as error:
        raise _trouble_of_host(error, "the clone cannot be written") from error


def _trouble_of_host(error: OSError, what: str) -> RepositoryTroubleError:
    reason = "DiskFull" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "RepositoryFailed"
    return RepositoryTroubleError(reason, f"{what}: {error.strerror}; what runs goes on")


def _tracking(branch: str) -> str:
    return f"refs/remotes/origin/{branch}"


def clear_leftovers(folder: Path) -> None:
    """Remove locks and half-written files of git processes that are gone."""
    stale = [*folder.glob("*.lock"), *folder.glob("refs/**/*.lock"), *folder.glob("objects/**/tmp_*")]
    for path in [*stale, *folder.glob("objects/pack/.tmp-*")]:
        with suppress(OSError):
            path.unlink()
