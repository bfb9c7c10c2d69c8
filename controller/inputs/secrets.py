"""Secrets that the operator declared, and who may use them.

Promises: denied unless a pattern of the declaration allows the subject (namespace/owner); a value is read at launch
only and never kept. Does not: redact logs (the runtime does).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from controller.facts.facts import SecretFacts

MAX_BYTES = 65536


@dataclass(frozen=True, slots=True)
class SecretDeclaration:
    """One secret of the settings: where its value is (exactly one of file and env), and for whom."""

    name: str
    file: Path | None = None
    env: str | None = None
    subjects: tuple[str, ...] = ()
    """Patterns of namespace/owner such as "vision/alice" or "vision/*"; none: nobody. No star crosses the slash."""

    def allows(self, namespace: str, owner: str) -> bool:
        """May this subject use it?"""
        return any(_matches(pattern, namespace, owner) for pattern in self.subjects)


def _matches(pattern: str, namespace: str, owner: str) -> bool:
    where, slash, who = pattern.partition("/")
    return bool(slash) and fnmatchcase(namespace, where) and fnmatchcase(owner, who)


class Secrets:
    """The declared secrets."""

    def __init__(self, declarations: Sequence[SecretDeclaration]) -> None:
        self._by_name = {declaration.name: declaration for declaration in declarations}

    def facts(self, name: str, namespace: str, owner: str) -> SecretFacts:
        """Declared, and allowed for this subject?"""
        declaration = self._by_name.get(name)
        allowed = declaration is not None and declaration.allows(namespace, owner)
        return SecretFacts(name, declared=declaration is not None, allowed=allowed)

    def value(self, name: str) -> str:
        """The value; of a file without one final newline.

        Raises:
            LookupError: not declared, not readable, empty, or not text of at most MAX_BYTES. Never holds the value.
        """
        declaration = self._by_name.get(name)
        if declaration is None:
            raise LookupError(f"secret {name!r} is not declared in the settings")
        value = _read(declaration)
        if not value or "\0" in value:
            raise LookupError(f"secret {name!r} is empty or holds a NUL character")
        return value


def _read(declaration: SecretDeclaration) -> str:
    if declaration.env is not None:
        return os.environ.get(declaration.env, "")
    if declaration.file is None:
        raise LookupError(f"secret {declaration.name!r} is declared with neither file nor env")
    try:
        with declaration.file.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise LookupError(f"secret {declaration.name!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise LookupError(f"secret {declaration.name!r} is not UTF-8 text") from None
    if len(data) > MAX_BYTES:
        raise LookupError(f"secret {declaration.name!r} is longer than {MAX_BYTES} bytes")
    return text.removesuffix("\n").removesuffix("\r")
