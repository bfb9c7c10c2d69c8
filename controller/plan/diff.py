"""What differs between two plans, field by field.

Promises: dotted paths in plan order of names (``parameters.lr``, ``datasets[digits].sha256``, ``command[3]``); items
that have a name are matched by it, so an insertion is one change. Does not: say whether a change is allowed (decide
does).
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from controller.plan.plan import Plan

_NAMED = {"datasets": "name", "outputs": "name", "secrets": "env"}
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SKIPPED = frozenset({"apiVersion", "kind"})


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field; None means absent on that side."""

    field: str
    old: Any
    new: Any

    def as_dict(self) -> dict[str, Any]:
        """JSON as `ml explain` and `ml diff` print it."""
        return {"field": self.field, "old": self.old, "new": self.new}


def changes(old: Plan | None, new: Plan) -> tuple[FieldChange, ...]:
    """Every field that differs, sorted by path; with no old plan, every field of the new one."""
    before = dict(flattened("", old.content)) if old is not None else {}
    after = dict(flattened("", new.content))
    paths = sorted(path for path in before.keys() | after.keys() if path not in _SKIPPED)
    return tuple(
        FieldChange(path, before.get(path), after.get(path))
        for path in paths
        if path not in before or path not in after or not _same(before[path], after[path])
    )


def _same(old: Any, new: Any) -> bool:
    # In JSON true is not 1, whatever Python says.
    return isinstance(old, bool) == isinstance(new, bool) and bool(old == new)


def flattened(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every field of a plan's content by its dotted path (empty at the start); empty containers stay whole."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from flattened(_joined(path, key), item)
    elif isinstance(value, list) and value:
        for key, item in zip(_keys(path, value), value, strict=True):
            yield from flattened(f"{path}[{key}]", item)
    else:
        yield path, value


def _joined(path: str, key: str) -> str:
    if not _PLAIN.fullmatch(key):
        return f"{path}[{json.dumps(key)}]"
    return f"{path}.{key}" if path else key


def _keys(path: str, items: list[Any]) -> Sequence[object]:
    field = _NAMED.get(path)
    names = [item[field] for item in items] if field else []
    # Duplicates are refused by preflight, but a diff must not hide one of them.
    return names if names and len(set(names)) == len(names) else range(len(items))
