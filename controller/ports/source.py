"""Where desired state comes from and where status goes.

Promises: keys, never events, cross this port; a spec's user part is never changed by a status write.
Importing it imports no models (pydantic costs 150 ms, and the store's read path needs only Key).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from controller.api.documents import Document
    from controller.api.problems import Problem


class Key(NamedTuple):
    """Identity of an object apart from its uid."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def key_of(document: Document) -> Key:
    """The key of a document."""
    model = document.model
    return Key(model.kind, model.metadata.namespace, model.metadata.name)


@dataclass(frozen=True, slots=True)
class Change:
    """What one look at the source found to be different from the last."""

    keys: frozenset[Key] = frozenset()
    """Keys to reconcile: changed, new, clashing, or confirmed gone."""
    invalid: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    """File to problems, for every file that is invalid now. Invalid is not deleted."""
    stalled: str = ""
    """Reason (MassDeletion, UnreadableRoot) while deletions are withheld; empty otherwise."""
    message: str = ""
    parsed: int = 0
    """Documents parsed by this look (a counter for tests and benchmarks)."""
    recheck_after: float | None = None
    """Seconds after which poll must be called again, with whatever hints (unconfirmed deletions, a file being
    written)."""


class Source(ABC):
    """A set of documents by key."""

    @abstractmethod
    def poll(self, hints: frozenset[str] | None = None) -> Change:
        """Look for changes: at the hinted paths only, or everywhere (None)."""

    @abstractmethod
    def get(self, key: Key) -> tuple[Document, ...]:
        """The documents with this key now: one, several (a name clash), or none.

        None and still in `keys()`: the document is missing but its deletion is not confirmed; leave everything as it
        is.
        None and no longer in `keys()`: it is gone.

        Raises:
            InvalidDocumentError: its file is invalid now (invalid is not deleted; what runs goes on).
        """

    def standing(self, kinds: frozenset[str]) -> tuple[Document, ...]:
        """Every valid document of these (few) kinds; also where `poll` was never called."""
        from controller.api.problems import InvalidDocumentError

        found: list[Document] = []
        for key in self.keys():
            if key.kind in kinds:
                with suppress(InvalidDocumentError):
                    found += self.get(key)
        return tuple(found)

    def places(self, key: Key) -> tuple[str, ...]:
        """The files with a document of this key, for finding a name that stands twice; also where `poll` was never
        called."""
        from controller.api.problems import InvalidDocumentError

        with suppress(InvalidDocumentError):
            return tuple(document.file for document in self.get(key))
        return ()

    @abstractmethod
    def keys(self) -> frozenset[Key]:
        """Every key known after the last poll, those with an invalid file or an unconfirmed deletion included."""

    def covers(self, place: str) -> bool:  # noqa: ARG002  # most sources cover everything
        """Is a document at this place (ExperimentRow.place) this source's business, so that its absence means
        deletion?"""
        return True

    @abstractmethod
    def write_status(self, document: Document, status: Mapping[str, Any]) -> bool:
        """Write the status block or file; False when the document moved on meanwhile (poll again).

        Raises:
            StatusWriteError: it cannot be written (read-only folder, disk full); nothing was changed.
        """

    @abstractmethod
    def confirm_deletions(self) -> None:
        """The operator said --prune: withheld deletions are real."""

    @abstractmethod
    def watch(self, notify: Callable[[frozenset[str]], None]) -> Callable[[], None]:
        """Call `notify` with hints when something may have changed; returns a function that stops watching."""


class StatusWriteError(Exception):
    """The status could not be written; the store still has it."""
