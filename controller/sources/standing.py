"""Documents of a few kinds in a folder that was not indexed.

Promises: parses only files in which the name of such a kind stands, so that one look at a folder of ten thousand
specs costs reading it.
Does not: remember or report anything; what is invalid or unreadable is left out.
"""

from collections.abc import Iterator
from pathlib import Path

from controller.api.documents import Document, load
from controller.sources.files import UnsettledFileError, UnusableFileError, read_spec
from controller.sources.scan import Walk


def documents_of(root: Path, prefix: str, kinds: frozenset[str], now_ns: int) -> Iterator[Document]:
    """Every valid document of these kinds; files are named with `prefix`. Nothing when the folder cannot be listed."""
    marks = [kind.encode() for kind in kinds]
    try:
        for path, _ in Walk(root).files():
            data = _read(root, path, now_ns)
            if any(mark in data for mark in marks):
                yield from (found for found in load(data, prefix + path).documents if found.kind in kinds)
    except OSError:
        return


def _read(root: Path, path: str, now_ns: int) -> bytes:
    try:
        return read_spec(root, path, now_ns).data
    except (OSError, UnusableFileError, UnsettledFileError):
        return b""
