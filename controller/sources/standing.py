"""Documents of a few kinds, and those with one name, in a folder that was not indexed.

Promises: parses only files in which such a kind or name stands as plain text, so that one look at a folder of ten
thousand specs costs reading it.
Does not: remember or report anything; what is invalid or unreadable is left out.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from controller.api.documents import Document, load
from controller.ports.source import Key, key_of
from controller.sources.files import UnsettledFileError, UnusableFileError, read_spec
from controller.sources.scan import Walk


class Glance:
    """One look for those who never poll; a later one for fewer kinds costs nothing."""

    def __init__(self, root: Path, prefix: str, expected: str) -> None:
        self._root = root
        self._prefix = prefix
        self._expected = expected
        self._seen: tuple[frozenset[str], tuple[Document, ...]] | None = None

    def of(self, kinds: frozenset[str], now_ns: int) -> tuple[Document, ...]:
        """Every valid document of these kinds."""
        return tuple(document for document in self._look(kinds, now_ns) if document.kind in kinds)

    def places(self, key: Key, now_ns: int) -> tuple[str, ...]:
        """The files with a document of this key, if its name is the expected one."""
        if key.name != self._expected:
            return ()
        return tuple(document.file for document in self._look(frozenset(), now_ns) if key_of(document) == key)

    def _look(self, kinds: frozenset[str], now_ns: int) -> tuple[Document, ...]:
        if self._seen is None or not kinds <= self._seen[0]:
            found = documents_of(self._root, self._prefix, kinds, self._expected, now_ns)
            self._seen = kinds, tuple(found)
        return self._seen[1]


def documents_of(root: Path, prefix: str, kinds: frozenset[str], name: str, now_ns: int) -> Iterator[Document]:
    """Every valid document of these kinds or with this name (if any), and perhaps others.

    Files are named with `prefix`. Nothing when the folder cannot be listed.
    """
    named = rf"""\bname["']?\s*:\s*["']?{re.escape(name)}(?![\w.-])"""
    wanted = re.compile("|".join([*sorted(kinds), *([named] if name else [])]).encode())
    try:
        for path, _ in Walk(root).files():
            data = _read(root, path, now_ns)
            if wanted.search(data):
                yield from load(data, prefix + path).documents
    except OSError:
        return


def _read(root: Path, path: str, now_ns: int) -> bytes:
    try:
        return read_spec(root, path, now_ns).data
    except (OSError, UnusableFileError, UnsettledFileError):
        return b""
