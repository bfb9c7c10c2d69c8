"""What the git source remembers of the specs of one branch, and what a new commit changes in it.

Promises: only files whose blob changed are read and parsed, only documents whose user part changed are reported (and
those whose status somebody replaced, so that it comes back); invalid is not deleted, and a key that leaves its last
place is withheld. A spec that states no commit is reported too when a file beneath its source path changed.
Does not: talk to a remote, or decide when a withheld key is gone.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from controller.api.documents import Document, Loaded, load
from controller.api.experiment import Experiment
from controller.api.problems import Problem
from controller.ports.repository import FileTooLarge, TreeChange
from controller.ports.source import key_of
from controller.sources.files import MAX_FILE_BYTES, STAT_BYTES, UnusableFileError, name_problem, refuse, shown
from controller.sources.index import NOTHING, UNMARKED, Doc, Entry, Index, KeyBytes, digest, encode, mark, user_parts
from controller.sources.scan import is_spec_path

_REMEMBERED = 128
"""Parsed files kept for `get`."""
_OID_BYTES = 20

Read = Callable[[str], bytes | FileTooLarge]
"""The bytes of a blob."""


class OwnWrite(NamedTuple):
    """A status that we committed."""

    document: Document
    oid: str
    """The file's new blob."""
    data: bytes


def stamp(oid: str) -> bytes:
    """A blob's id in the place where the folder source keeps a stat key."""
    return bytes.fromhex(oid).ljust(STAT_BYTES, b"\0")


class CommitIndex:
    """The specs below a folder of the commit that was looked at last."""

    def __init__(self, below: str) -> None:
        self.index = Index()
        self.problems: dict[str, tuple[Problem, ...]] = {}
        self.parsed = 0
        self._prefix = "" if below == "." else below + "/"
        self._followed: dict[KeyBytes, str] = {}
        """Source folder, with a final slash, of every spec that states no commit."""
        self._cache: OrderedDict[str, tuple[str, Loaded]] = OrderedDict()

    def absorb(self, changes: Iterable[TreeChange], read: Read, now: float) -> set[KeyBytes]:
        """Take up what differs in a newer commit, those that are gone first; the keys to reconcile."""
        keys: set[KeyBytes] = set()
        touched: list[str] = []
        for change in changes:
            if not self._is_spec(change.path):
                touched.append(change.path)
            elif not change.oid:
                keys |= self._drop(change.path, now)
            elif not self.index.unchanged(change.path, stamp(change.oid)):
                keys |= self._see(change, read, now)
        return keys | self._followers(touched)

    def replace_all(self, listing: Iterable[TreeChange], read: Read, now: float) -> set[KeyBytes]:
        """The same from the list of all files of a commit."""
        files = {change.path: change for change in listing if self._is_spec(change.path)}
        gone = [TreeChange(path, "") for path in self.index.records if path not in files]
        return self.absorb([*gone, *files.values()], read, now)

    def loaded(self, path: str, read: Read) -> Loaded:
        """The documents and problems of a file as of the commit that was looked at last."""
        entry = self.index.entry(path)
        if entry is None:
            return Loaded()
        oid = entry.stat[:_OID_BYTES].hex()
        cached = self._cache.get(path)
        if cached and cached[0] == oid:
            return cached[1]
        if entry.content == NOTHING:
            return Loaded((), self.problems.get(path, ()))
        data = read(oid)
        return Loaded() if isinstance(data, FileTooLarge) else self._parse(path, oid, data)

    def note_own(self, write: OwnWrite) -> None:
        """Our own status is no news: remember the file as we left it."""
        path, name = write.document.file, encode(key_of(write.document))
        entry = self.index.entry(path)
        doc = entry.docs.get(name) if entry else None
        if entry is None or doc is None or doc.digest != digest(write.document.user_part):
            return  # it changed since the last look, and the next one must see that
        content = digest(write.data)
        docs = {**entry.docs, name: doc._replace(wrote=mark(content))}
        self.index.records[path] = Entry(stamp(write.oid), False, content, docs).pack()

    def _is_spec(self, path: str) -> bool:
        return path.startswith(self._prefix) and is_spec_path(path.removeprefix(self._prefix))

    def _drop(self, path: str, now: float) -> set[KeyBytes]:
        self.problems.pop(path, None)
        self._cache.pop(path, None)
        return self.index.drop(path, now)

    def _see(self, change: TreeChange, read: Read, now: float) -> set[KeyBytes]:
        path, oid = change.path, change.oid
        try:
            data = _checked(change, read)
        except UnusableFileError as error:
            return self._put(path, Entry(stamp(oid), False, NOTHING), Loaded((), (error.problem,)), now)
        return self._put(path, Entry(stamp(oid), False, digest(data)), self._parse(path, oid, data), now)

    def _put(self, path: str, entry: Entry, loaded: Loaded, now: float) -> set[KeyBytes]:
        old = self.index.entry(path)
        keys: set[KeyBytes] = set()
        docs = self.index.former_keys(path) if loaded.problems else {}
        for key, user_part in user_parts(loaded).items():
            had = old.docs.get(key) if old else None
            ours = had is None or had.wrote in (UNMARKED, mark(entry.content))
            if not ours:  # somebody replaced the status that we wrote
                keys.add(key)
            docs[key] = Doc(user_part, had.wrote if had and ours else UNMARKED)
        if loaded.problems:
            self.problems[path] = loaded.problems
        else:
            self.problems.pop(path, None)
        self._follow(loaded)
        return keys | self.index.put(path, entry._replace(docs=docs), now)

    def _follow(self, loaded: Loaded) -> None:
        for document in loaded.documents:
            source = document.model.spec.source if isinstance(document.model, Experiment) else None
            git, key = source.git if source else None, encode(key_of(document))
            if git is not None and git.commit is None:
                path = git.path.strip("/").removeprefix("./")
                self._followed[key] = "" if path in ("", ".") else path + "/"
            else:
                self._followed.pop(key, None)

    def _followers(self, touched: list[str]) -> set[KeyBytes]:
        """Specs whose code moved: their commit is another one now."""
        if not touched:
            return set()
        return {key for key, path in self._followed.items() if any(found.startswith(path) for found in touched)}

    def _parse(self, path: str, oid: str, data: bytes) -> Loaded:
        loaded = load(data, path)
        self.parsed += max(1, len(loaded.documents))
        self._cache[path] = (oid, loaded)
        self._cache.move_to_end(path)
        if len(self._cache) > _REMEMBERED:
            self._cache.popitem(last=False)
        return loaded


def _checked(change: TreeChange, read: Read) -> bytes:
    """The bytes of a spec.

    Raises:
        UnusableFileError: its name, its kind or its size.
    """
    unusable = name_problem(change.path)
    if unusable is not None:
        raise unusable
    if change.why:
        fix = "commit a regular file under a plain name instead"
        raise refuse(change.path, "NotAFile", f"it cannot be a spec: {change.why}", fix)
    data = read(change.oid)
    if isinstance(data, FileTooLarge):
        message = f"the file has {data.size} bytes, at most {MAX_FILE_BYTES} are read"
        raise refuse(shown(change.path), "FileTooLarge", message, "split it, or move what is no spec out of the folder")
    return data
