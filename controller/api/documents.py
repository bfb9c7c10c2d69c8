"""From bytes to documents with positions, and back to bytes with a status block.

Promises: one loader for every command; all problems of a file at once, each with line and column; the user part of a
document (its bytes without its status block) is preserved byte for byte. Does not: touch the file system.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.api.catalog import Dataset, Quota, TrustPolicy
from controller.api.experiment import Experiment
from controller.api.problems import Position, Problem

Kind = Experiment | Dataset | TrustPolicy | Quota


@dataclass(frozen=True, slots=True)
class Document:
    """One valid document of a file."""

    file: str
    """As given to `load` (a path relative to the root, for messages)."""
    index: int
    """Which document of a multi-document file, from 0."""
    of: int
    """How many documents the file has."""
    model: Kind
    user_part: bytes
    """The document's bytes without its status block."""
    text: bytes = field(repr=False)
    """The document's bytes as read."""
    flow: bool = False
    """The root is written in flow style: status goes to a sidecar."""

    def position(self, path: str) -> Position:
        """Line and column of a field such as ``spec.datasets[0].sha256``; of its nearest ancestor when absent."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Loaded:
    """All of one file."""

    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()


def load(data: bytes, file: str) -> Loaded:
    """Parse and validate every document of a file; never raises for bad content."""
    raise NotImplementedError


def with_status(document: bytes, status: Mapping[str, Any]) -> bytes:
    """The same document with this status block at its end (replacing the one it has); user part byte for byte.

    Raises:
        ValueError: the document cannot hold one (flow root, several documents, not UTF-8).
    """
    raise NotImplementedError
