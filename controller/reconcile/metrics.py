"""metrics.jsonl as a run left it: the last value of every metric.

Promises: whatever the program wrote, what comes back is small and can be written as JSON and YAML (finite numbers,
short printable names, at most MAX_NAMES of them); lines that cannot be read are counted, not fatal. Does not: open
files.
"""

import json
import math
from dataclasses import dataclass, field

MAX_BYTES = 64 * 2**20
"""What lies beyond is not read (its digest still covers it)."""
MAX_NAMES = 500
MAX_NAME = 200
MAX_SAFE_INTEGER = 2**53 - 1
"""Whole numbers beyond it are read as the nearest float, as JSON readers do."""


@dataclass(slots=True)
class Metrics:
    """What was read."""

    last: dict[str, float] = field(default_factory=dict)
    lines: int = 0
    bad: int = 0
    """Lines that are no JSON object."""


def parse(data: bytes) -> Metrics:
    """The metrics in the bytes of a metrics.jsonl."""
    found = Metrics()
    for line in data[:MAX_BYTES].split(b"\n"):
        if not line.strip():
            continue
        found.lines += 1
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if isinstance(entry, dict):
            _take(found.last, entry)
        else:
            found.bad += 1
    return found


def _take(last: dict[str, float], entry: dict[str, object]) -> None:
    for name, value in entry.items():
        number = _number(value)
        if number is not None and _usable(name) and (name in last or len(last) < MAX_NAMES):
            last[name] = number


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and abs(value) <= MAX_SAFE_INTEGER:
        return value
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _usable(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME and name.isprintable()
