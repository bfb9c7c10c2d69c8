"""A folder of specs in memory, looked at naively: every poll parses every file."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from controller.api.documents import Document, Loaded, load, with_status
from controller.api.problems import InvalidDocumentError, Problem
from controller.ports.clock import Clock
from controller.ports.source import Change, Key, Source, StatusWriteError

CONFIRM_SECONDS = 2.0
Place = tuple[str, bytes, bool]
"""Path, user part, and whether it is only remembered because the file is invalid now."""
Snapshot = dict[Key, tuple[Place, ...]]


def key_of(document: Document) -> Key:
    """Identity of a document."""
    return Key(document.kind, document.namespace, document.name)


class FakeSource(Source):
    """Tests change it with `put` and `remove`, and read `statuses` (every one written, in order)."""

    def __init__(self, clock: Clock, *, known: Iterable[Key] = ()) -> None:
        self.files: dict[str, bytes] = {}
        self.statuses: list[tuple[Key, dict[str, Any]]] = []
        self.refuse_writes = ""
        """A sentence: every status write fails with it."""
        self.unreadable = False
        """The whole folder cannot be listed."""
        self._clock = clock
        self._notify: list[Callable[[frozenset[str]], None]] = []
        self._seen: Snapshot = {}
        self._had: dict[str, frozenset[Key]] = {}
        self._problems: dict[str, tuple[Problem, ...]] = {}
        self._missing: dict[Key, tuple[float, tuple[Place, ...]]] = {key: (clock.monotonic(), ()) for key in known}
        self._stalled_at: int | None = None
        self._pruned: frozenset[Key] = frozenset()
        self._wrote: dict[tuple[str, Key], bytes] = {}
        """Files as they were when a status was written into them."""

    def put(self, path: str, text: str | bytes) -> None:
        """Save a file."""
        self.files[path] = text.encode() if isinstance(text, str) else text
        self._tell(path)

    def remove(self, path: str) -> None:
        """Delete a file."""
        del self.files[path]
        self._tell(path)

    def status_of(self, name: str) -> dict[str, Any]:
        """The last status written for a name."""
        return [status for key, status in self.statuses if key.name == name][-1]

    def poll(self, hints: frozenset[str] | None = None) -> Change:
        """Parse everything."""
        if self.unreadable:
            return Change(invalid=self._problems, stalled="UnreadableRoot", message="the folder cannot be listed")
        loaded = {path: load(data, path) for path, data in self.files.items()}
        now = self._clock.monotonic()
        snapshot = self._snapshot(loaded)
        changed = {key for key, places in snapshot.items() if self._was(key) != places} | self._replaced(loaded)
        for key in self._seen.keys() - snapshot.keys():
            self._missing[key] = (now, self._seen[key])
        for key in snapshot.keys() & self._missing.keys():
            del self._missing[key]
        self._seen = snapshot
        self._problems = {path: found.problems for path, found in loaded.items() if found.problems}
        gone, stalled, after = self._deletions(now)
        return Change(
            keys=frozenset(changed - self._missing.keys() | gone),
            invalid=self._problems,
            stalled="MassDeletion" if stalled else "",
            message=f"{len(self._missing)} specs are gone at once" if stalled else "",
            parsed=len(loaded),
            recheck_after=after,
        )

    def get(self, key: Key) -> tuple[Document, ...]:
        """From the bytes as they are now."""
        found: list[Document] = []
        problems: list[Problem] = []
        for path, data in self.files.items():
            loaded = load(data, path)
            mine = [document for document in loaded.documents if key_of(document) == key]
            found += mine
            if not mine and key in self._had.get(path, ()):
                problems += loaded.problems
        if problems and not found:
            raise InvalidDocumentError(problems)
        return tuple(found)

    def keys(self) -> frozenset[Key]:
        """Known after the last poll."""
        return frozenset(self._seen) | frozenset(self._missing)

    def write_status(self, document: Document, status: Mapping[str, Any]) -> bool:
        """Into the bytes where that is possible, else only into `statuses`."""
        if self.refuse_writes:
            raise StatusWriteError(self.refuse_writes)
        data = self.files.get(document.file)
        current = load(data, document.file).documents if data is not None else ()
        if data is None or not any(other.user_part == document.user_part for other in current):
            return False
        self.statuses.append((key_of(document), dict(status)))
        if document.of == 1 and not document.flow:
            self.files[document.file] = with_status(data, status)
            key = key_of(document)
            if (document.file, document.user_part, False) in self._seen.get(key, ()):
                self._wrote[document.file, key] = self.files[document.file]
        return True

    def confirm_deletions(self) -> None:
        """The next poll reports them."""
        self._pruned = frozenset(self._missing)

    def watch(self, notify: Callable[[frozenset[str]], None]) -> Callable[[], None]:
        """`put` and `remove` notify at once."""
        self._notify.append(notify)
        return lambda: self._notify.remove(notify)

    def _replaced(self, loaded: Mapping[str, Loaded]) -> set[Key]:
        """Keys whose status somebody replaced: it has to come back."""
        gone = {(path, key) for (path, key), data in self._wrote.items() if self.files.get(path) != data}
        self._wrote = {place: data for place, data in self._wrote.items() if place not in gone}
        return {key for path, key in gone if path in loaded and key in map(key_of, loaded[path].documents)}

    def _tell(self, path: str) -> None:
        for notify in list(self._notify):
            notify(frozenset({path}))

    def _was(self, key: Key) -> tuple[Place, ...] | None:
        return self._missing[key][1] if key in self._missing else self._seen.get(key)

    def _snapshot(self, loaded: Mapping[str, Loaded]) -> Snapshot:
        """Places by key; a key that an invalid file had is still in it, as it was."""
        places: dict[Key, list[Place]] = {}
        for path in self._had.keys() - loaded.keys():  # a deleted file has what is not known to be elsewhere, or gone
            self._had[path] = frozenset(
                key for key in self._had[path] if any(place[0] == path for place in self._was(key) or ())
            )
        had = dict(self._had)
        for path, found in sorted(loaded.items()):
            present = frozenset(map(key_of, found.documents))
            for document in found.documents:
                places.setdefault(key_of(document), []).append((path, document.user_part, False))
            held = had.get(path, frozenset()) - present if found.problems else frozenset()
            for key in held:
                was = self._was(key) or ()
                places.setdefault(key, []).extend((path, place[1], True) for place in was if place[0] == path)
            self._had[path] = present | held
        return {key: tuple(found) for key, found in places.items()}

    def _deletions(self, now: float) -> tuple[frozenset[Key], bool, float | None]:
        known = min(len(self.keys()), self._stalled_at or len(self.keys()))
        pruned = self._pruned & self._missing.keys()
        self._missing = {key: value for key, value in self._missing.items() if key not in pruned}
        self._pruned = frozenset()
        if not self._missing:
            self._stalled_at = None
            return pruned, False, None
        if known >= 10 and len(self._missing) > known / 5:
            self._stalled_at = known
            return pruned, True, None
        self._stalled_at = None
        waited = now - max(since for since, _ in self._missing.values())
        if waited < CONFIRM_SECONDS:
            return pruned, False, CONFIRM_SECONDS - waited
        gone = pruned | self._missing.keys()
        self._missing = {}
        return gone, False, None


def spec(name: str, *, namespace: str = "default", extra: str = "") -> str:
    """A small valid spec."""
    return (
        "apiVersion: fetchml.dev/v1alpha1\nkind: Experiment\n"
        f"metadata:\n  name: {name}\n  namespace: {namespace}\n"
        f'spec:\n  command: [python, -c, "print(1)"]  # a comment\n{extra}'
    )
