"""What is wrong with a document, and where.

Promises: every problem carries a place, the field, what is wrong and what to write instead. Does not: print or exit.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file; both numbers count from 1, columns in characters."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of one document. ``reason`` is a stable CamelCase word; ``kind`` is syntax, schema or semantic."""

    file: str
    position: Position
    field: str
    message: str
    fix: str = ""
    reason: str = "InvalidSpec"
    kind: str = "schema"

    def __str__(self) -> str:
        place = f"{self.file}:{self.position.line}:{self.position.column}"
        middle = f"{self.field}: " if self.field else ""
        return f"{place}: {middle}{self.message}" + (f"; {self.fix}" if self.fix else "")


class InvalidDocumentError(ValueError):
    """A document that cannot be used; holds every problem that was found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
