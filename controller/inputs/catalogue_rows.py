"""Reading the rows of a dataset, to be checked against a schema.

Promises: one row in memory at a time; JSON lines as they are, CSV by its header, where a cell is a number or a truth
value if the schema's property says so; .gz is unpacked on the way; a line that is too long is an error, not a memory.
Does not: judge rows (api/rows.py does), or read other formats.
"""

import csv
import gzip
import json
from codecs import iterdecode
from collections.abc import Iterator, Mapping
from typing import IO, Any, BinaryIO, cast

from controller.api.rows import RowsError

FORMATS = (".jsonl", ".csv")
MAX_LINE = 16 << 20


def has_rows(name: str) -> bool:
    """Is it a format whose rows can be read, by its name?"""
    return name.removesuffix(".gz").endswith(FORMATS)


def rows_of(name: str, stream: BinaryIO, schema: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
    """Numbered rows, from 1; in CSV the header is not counted.

    Raises:
        RowsError: a line is too long, or no JSON; the file is no CSV with a header, or no gzip.
    """
    raw = cast("IO[bytes]", gzip.GzipFile(fileobj=stream)) if name.endswith(".gz") else stream
    try:
        if name.removesuffix(".gz").endswith(".csv"):
            yield from _csv(raw, schema)
        else:
            yield from _json(raw)
    except (EOFError, gzip.BadGzipFile, UnicodeDecodeError, csv.Error) as error:
        raise RowsError(f"{name}: {error}") from error


def _lines(raw: IO[bytes]) -> Iterator[bytes]:
    while line := raw.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise RowsError(f"a line is longer than {MAX_LINE >> 20} MiB")
        yield line


def _json(raw: IO[bytes]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(_lines(raw), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise RowsError(f"row {number} is no JSON: {error}") from error


def _csv(raw: IO[bytes], schema: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
    properties = schema.get("properties", {})
    for number, row in enumerate(csv.DictReader(iterdecode(_lines(raw), "utf-8-sig"), strict=True), 1):
        if None in row or None in row.values():
            raise RowsError(f"row {number} has another number of cells than the header")
        yield number, {key: _typed(cell, properties.get(key)) for key, cell in row.items()}


def _typed(cell: str, wanted: Any) -> Any:
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    kinds = kind if isinstance(kind, list) else [kind]
    for each in kinds:
        try:
            if each == "integer":
                return int(cell)
            if each == "number":
                return float(cell)
        except ValueError:
            continue
        if each == "boolean" and cell.lower() in ("true", "false"):
            return cell.lower() == "true"
        if each == "null" and cell == "":
            return None
    return cell
