"""Rows of a dataset against their JSON Schema.

Promises: every problem names its row and field; nothing is fetched, because a schema may refer to itself only. Does
not: read rows.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


class RowsError(ValueError):
    """The schema cannot be used; the text says why."""


def row_problems(rows: Iterable[tuple[int, Any]], schema: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with numbered rows, as sentences.

    Raises:
        RowsError: the schema is none, or refers elsewhere.
    """
    try:
        from jsonschema import Draft202012Validator, SchemaError
    except ModuleNotFoundError as error:
        raise RowsError("row schemas need the library jsonschema; pip install 'fetchml[data]'") from error
    for reference in _references(schema):
        if not reference.startswith("#"):
            raise RowsError(f"the schema refers to {reference!r}; write it out, or refer to a part of it with #/...")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise RowsError(f"no JSON Schema: {error.message}") from error
    validator = Draft202012Validator(schema)
    for number, row in rows:
        for problem in validator.iter_errors(row):
            where = ".".join(str(part) for part in problem.absolute_path)
            yield f"row {number}{': ' + where if where else ''}: {problem.message[:300]}"


def _references(value: Any) -> Iterator[str]:
    """Every $ref and $dynamicRef, however deep. The schema is JSON, so it ends."""
    pending = [value]
    while pending:
        found = pending.pop()
        if isinstance(found, Mapping):
            yield from (str(found[key]) for key in ("$ref", "$dynamicRef") if key in found)
            pending += found.values()
        elif isinstance(found, list):
            pending += found
