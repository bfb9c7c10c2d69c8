"""Specs in a folder of YAML files.

Promises: only files whose stat key changed are read, only those whose bytes changed are parsed, only documents whose
user part changed are reported (and those whose status we wrote and somebody replaced, so that it comes back); invalid
is not deleted; deletions are confirmed by a second scan, and many at once are withheld. Threads may share it.
Does not: act on a document, or watch anything before `watch` is called.

A key in an invalid file stays in `keys()` and `get` raises InvalidDocumentError. A key whose file is missing stays in
`keys()`, and `get` returns nothing, until its deletion is confirmed.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from controller.api.documents import Document, Loaded, load
from controller.api.problems import InvalidDocumentError, Problem
from controller.ports.clock import Clock
from controller.ports.source import Change, Key, Source, StatusWriteError, key_of
from controller.sources import deletions
from controller.sources.exchange import recover_path
from controller.sources.files import (
    FileBytes,
    UnsettledFileError,
    UnusableFileError,
    current_key,
    is_racy,
    name_problem,
    read_spec,
    shown,
)
from controller.sources.index import (
    NOTHING,
    UNMARKED,
    Doc,
    Entry,
    Index,
    KeyBytes,
    Parsed,
    decode,
    digest,
    encode,
    mark,
    user_parts,
)
from controller.sources.scan import Walk, is_spec_path, names
from controller.sources.standing import Glance
from controller.sources.watch import FolderWatch
from controller.sources.writeback import StatusWriter, Written

_log = logging.getLogger(__name__)

EVERYTHING = ""
"""The hint that means the root: look everywhere."""
UNSETTLED_SECONDS = 0.05
_REMEMBERED = 128
"""Parsed files kept for `get`."""


@dataclass(slots=True)
class _Look:
    """What one poll found."""

    now: float
    now_ns: int
    keys: set[KeyBytes] = field(default_factory=set)
    trouble: str = ""


class FolderSource(Source):
    """A folder of specs.

    Args:
        root: the folder.
        clock: for confirmations (monotonic) and the age of files (wall).
        known: keys that the store remembers; those that are missing now are deletions to confirm.
        read_only: another reconciler holds the folder: write no status, clean nothing up.
        always_sidecar: never write into a spec.
        prefix: the folder's path from the repository's root with a final slash, or empty; every file named begins so.
        expected: the name that `places` will be asked for before any poll.
    """

    def __init__(
        self,
        root: Path,
        clock: Clock,
        *,
        known: Iterable[Key] = (),
        read_only: bool = False,
        always_sidecar: bool = False,
        prefix: str = "",
        expected: str = "",
    ) -> None:
        self.root = root
        self._glance = Glance(root, prefix, expected)
        self._prefix = prefix
        self._clock = clock
        self._read_only = read_only
        self._writer = StatusWriter(root, clock, always_sidecar=always_sidecar)
        self._lock = threading.RLock()
        self._index = Index()
        self._index.expect(map(encode, known), clock.monotonic())
        self._problems: dict[str, tuple[Problem, ...]] = {}
        self._folder_problems: dict[str, Problem] = {}
        self._unsettled: set[str] = set()
        self._pruned: set[KeyBytes] = set()
        self._stalled_at: int | None = None
        self._parsed = 0
        self._cache: OrderedDict[str, Parsed] = OrderedDict()

    def poll(self, hints: frozenset[str] | None = None) -> Change:
        """Look for changes at hinted paths (relative to the root, or absolute), or everywhere (None)."""
        with self._lock:
            look = _Look(self._clock.monotonic(), self._now_ns())
            parsed = self._parsed
            everywhere = hints is None or EVERYTHING in hints or self._confirmation_due(look.now)
            if everywhere:
                self._look_everywhere(look)
            else:
                again, self._unsettled = self._unsettled, set()
                for path in again.union(map(self._relative, hints or ())):
                    self._look_at(path, look)
            return self._change(look, parsed, scanned=everywhere and not look.trouble)

    def get(self, key: Key) -> tuple[Document, ...]:
        """See Source.get. Answers from memory where the stat key allows it, else reads that file."""
        with self._lock:
            found: list[Document] = []
            problems: list[Problem] = []
            for path in self._index.places(encode(key)):
                loaded = self._loaded(path)
                mine = [document for document in loaded.documents if key_of(document) == key]
                found += mine
                problems += () if mine else loaded.problems
            if problems and not found:
                raise InvalidDocumentError(problems)
            return tuple(found)

    def standing(self, kinds: frozenset[str]) -> tuple[Document, ...]:
        """From the index, or before the first poll from a look at the files that name such a kind."""
        if self._index.records:
            return super().standing(kinds)
        return self._glance.of(kinds, self._now_ns())

    def places(self, key: Key) -> tuple[str, ...]:
        """From the index, or before the first poll from the look that `standing` takes, for the name `expected`."""
        if self._index.records:
            return tuple(self._prefix + path for path in self._index.places(encode(key)))
        return self._glance.places(key, self._now_ns())

    def keys(self) -> frozenset[Key]:
        """Every known key, invalid and withheld ones included."""
        with self._lock:
            return frozenset(map(decode, self._index.keys()))

    def covers(self, place: str) -> bool:
        """Does the place lie beneath this folder?"""
        return place.startswith(self._prefix)

    def write_status(self, document: Document, status: Mapping[str, Any]) -> bool:
        """Write a status inline or beside the file; False when the document moved on."""
        if self._read_only:
            raise StatusWriteError("another reconciler holds this folder; this one is read-only")
        document = replace(document, file=document.file.removeprefix(self._prefix))
        with self._lock:
            entry = self._index.entry(document.file)
            written = self._writer.write(document, status, map(decode, entry.docs if entry else ()))
            if isinstance(written, Written):
                self._note_own_write(document, written)
            return bool(written)

    def confirm_deletions(self) -> None:
        """The next poll reports everything that is withheld now as gone."""
        with self._lock:
            self._pruned = set(self._index.withheld)

    def watch(self, notify: Callable[[frozenset[str]], None]) -> Callable[[], None]:
        """Notify with paths relative to the root; see FolderWatch for how."""
        watch = FolderWatch(self.root, notify)
        watch.start()
        return watch.stop

    def _look_everywhere(self, look: _Look) -> None:
        self._unsettled.clear()
        walk = Walk(self.root)
        before, met = len(self._index.records), 0
        try:
            for path, stat in walk.files():
                met += path in self._index.records
                self._see(path, stat, look)
            if met != before:
                self._drop_missing(walk, look)
        except OSError as error:
            look.trouble = f"the specs folder {shown(str(self.root))} cannot be listed: {error.strerror}"
            return
        self._folder_problems = walk.problems
        self._recover(walk.leftovers, look)

    def _drop_missing(self, walk: Walk, look: _Look) -> None:
        unlisted = tuple(walk.unlisted)
        for path in self._index.records.keys() - names(self.root):
            if not path.startswith(unlisted):
                self._drop(path, look)

    def _look_at(self, path: str, look: _Look) -> None:
        if not self._is_direct(path):
            self._drop(path, look)
        elif (self.root / path).is_dir() and not (self.root / path).is_symlink():
            self._look_below(path, look)
        elif is_spec_path(path):
            try:
                self._see(path, current_key(self.root, path), look)
            except OSError:
                self._drop(path, look)
        elif path:  # perhaps a folder that is gone
            for lost in [known for known in self._index.records if known.startswith(path + "/")]:
                self._look_at(lost, look)

    def _is_direct(self, path: str) -> bool:
        """Beneath the root, with no symlinked folder on the way (a scan follows none either)."""
        if path.startswith("/") or ".." in path.split("/"):
            return False
        return (self.root / path).parent.resolve() == self.root.resolve() / Path(path).parent

    def _look_below(self, folder: str, look: _Look) -> None:
        if any(part.startswith(".") for part in folder.split("/")):
            return
        walk = Walk(self.root)
        try:
            for path, stat in walk.files(folder):
                self._see(path, stat, look)
        except OSError:
            return  # the next scan says why
        self._folder_problems |= walk.problems

    def _see(self, path: str, stat: bytes, look: _Look) -> None:
        if self._index.unchanged(path, stat):
            return
        try:
            unusable = name_problem(path)
            if unusable is not None:
                raise unusable
            self._compare(path, read_spec(self.root, path, look.now_ns), look)
        except (FileNotFoundError, NotADirectoryError):
            self._drop(path, look)
        except UnsettledFileError:
            self._unsettled.add(path)
        except UnusableFileError as error:
            # What cannot be read may become readable without any change of its own stamps.
            racy = error.problem.reason == "UnreadableFile"
            self._put(path, Entry(stat, racy, NOTHING), Loaded((), (self._placed(error.problem),)), look)

    def _compare(self, path: str, read: FileBytes, look: _Look) -> None:
        entry = self._index.entry(path)
        content, racy = digest(read.data), is_racy(read.key, look.now_ns)
        if entry is not None and entry.content == content:
            self._index.records[path] = entry._replace(stat=read.key, racy=racy).pack()
            return
        self._put(path, Entry(read.key, racy, content), self._parse(path, read, content, racy=racy), look)

    def _put(self, path: str, entry: Entry, loaded: Loaded, look: _Look) -> None:
        old = self._index.entry(path)
        docs = self._index.former_keys(path) if loaded.problems else {}
        for key, user_part in user_parts(loaded).items():
            had = old.docs.get(key) if old else None
            ours = had is None or had.wrote in (UNMARKED, mark(entry.content))
            if not ours:  # somebody replaced the status that we wrote
                look.keys.add(key)
            docs[key] = Doc(user_part, had.wrote if had and ours else UNMARKED)
        look.keys |= self._index.put(path, entry._replace(docs=docs), look.now)
        self._leave_missing_places(docs, path, look)
        if loaded.problems:
            self._problems[path] = loaded.problems
        else:
            self._problems.pop(path, None)

    def _leave_missing_places(self, docs: Mapping[KeyBytes, Doc], path: str, look: _Look) -> None:
        """A second place of a key is a clash only if the first is still there: else the file was moved."""
        for key in docs:
            for place in self._index.places(key):
                if place != path and not (self.root / place).exists():
                    self._drop(place, look)

    def _drop(self, path: str, look: _Look) -> None:
        look.keys |= self._index.drop(path, look.now)
        self._problems.pop(path, None)
        self._cache.pop(path, None)

    def _recover(self, leftovers: Iterable[str], look: _Look) -> None:
        if self._read_only:
            return
        for path in leftovers:
            try:
                said = recover_path(self.root, path)
            except OSError as error:
                said = f"{shown(path)} was left by a crash and cannot be cleaned up: {error.strerror}"
            if said:
                _log.warning("%s", said)
                self._look_at(path.rpartition("/")[0], look)

    def _change(self, look: _Look, parsed: int, *, scanned: bool) -> Change:
        missing = {key: withheld.since for key, withheld in self._index.withheld.items()}
        known = len(self._index)
        verdict = deletions.judge(missing, min(known, self._stalled_at or known), look.now, scanned=scanned)
        self._stalled_at = (self._stalled_at or known) if verdict.stalled else None
        for key in self._pruned.intersection(missing).union(verdict.gone):
            self._index.forget(key)
            look.keys.add(key)
        if self._pruned:
            self._pruned = set()
            return self._change(look, parsed, scanned=scanned)
        reason, message = self._stall(look, len(missing), verdict.stalled)
        rechecks = [verdict.recheck_after, UNSETTLED_SECONDS if self._unsettled else None]
        return Change(
            keys=frozenset(map(decode, look.keys - self._index.withheld.keys())),
            invalid=self._invalid(),
            stalled=reason,
            message=message,
            parsed=self._parsed - parsed,
            recheck_after=min((seconds for seconds in rechecks if seconds is not None), default=None),
        )

    def _stall(self, look: _Look, missing: int, mass: bool) -> tuple[str, str]:
        if look.trouble:
            return "UnreadableRoot", look.trouble + "; what runs goes on"
        if mass:
            message = f"{missing} of {self._stalled_at} specs are gone at once; nothing is cancelled"
            return "MassDeletion", message + ": restore them, or confirm with `ml reconcile --prune`"
        return "", ""

    def _confirmation_due(self, now: float) -> bool:
        withheld = self._index.withheld
        if not withheld or self._stalled_at is not None:
            return False
        return deletions.due({key: missing.since for key, missing in withheld.items()}, now)

    def _invalid(self) -> dict[str, tuple[Problem, ...]]:
        found: dict[str, tuple[Problem, ...]] = {
            path: (self._placed(problem),) for path, problem in self._folder_problems.items()
        }
        return {self._prefix + shown(path): problems for path, problems in (found | self._problems).items()}

    def _placed(self, problem: Problem) -> Problem:
        return replace(problem, file=self._prefix + problem.file)

    def _parse(self, path: str, read: FileBytes, content: bytes, *, racy: bool) -> Loaded:
        loaded = load(read.data, self._prefix + path)
        self._parsed += max(1, len(loaded.documents))
        self._cache[path] = Parsed(read.key, racy, content, loaded)
        self._cache.move_to_end(path)
        if len(self._cache) > _REMEMBERED:
            self._cache.popitem(last=False)
        return loaded

    def _loaded(self, path: str) -> Loaded:
        """The file as it is now; nothing while it is missing, the last parse while it is being written."""
        cached = self._cache.get(path)
        try:
            if cached and not cached.racy and cached.stat == current_key(self.root, path):
                return cached.loaded
            read = read_spec(self.root, path, self._now_ns())
        except UnusableFileError as error:
            return Loaded((), (self._placed(error.problem),))
        except UnsettledFileError:
            return cached.loaded if cached else Loaded()
        except OSError:
            return Loaded()
        content, racy = digest(read.data), is_racy(read.key, self._now_ns())
        if cached and cached.content == content:
            cached.stat, cached.racy = read.key, racy
            return cached.loaded
        return self._parse(path, read, content, racy=racy)

    def _note_own_write(self, document: Document, written: Written) -> None:
        """Our own write is no news: remember the file as we left it."""
        entry = self._index.entry(document.file)
        key = encode(key_of(document))
        doc = entry.docs.get(key) if entry else None
        if entry is None or doc is None or doc.digest != digest(document.user_part):
            return  # it changed since the last poll, and the next one must see that
        content = digest(written.data)
        docs = {**entry.docs, key: doc._replace(wrote=mark(content))}
        self._index.records[document.file] = Entry(written.stat, True, content, docs).pack()

    def _relative(self, hint: str) -> str:
        path = Path(hint)
        if path.is_absolute() and path.is_relative_to(self.root):
            return str(path.relative_to(self.root)).removeprefix(".")
        return hint

    def _now_ns(self) -> int:
        return int(self._clock.now().timestamp() * 1e9)
