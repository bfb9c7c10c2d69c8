"""Events kept in the store, for `ml info` and for people who look later.

Promises: an event adds no commit of its own: it goes along with the next one; the newest 10,000 are kept.
Does not: survive a crash before that commit (losing an event changes nothing).
"""

from typing import Literal

from controller.ports.events import Events
from controller.stores.sqlite import SqliteStore


class StoreEvents(Events):
    """Events of one store."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def emit(self, subject: str, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """See the port."""
        self._store.emit_event(subject, kind, reason, message)
