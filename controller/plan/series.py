"""The curves of a metrics.jsonl: every metric as points.

Promises: whatever the program wrote, what comes back is bounded (MAX_NAMES curves of at most MAX_POINTS points) and
finite; thinning keeps the lowest and the highest point of every stretch, so that a spike stays visible.
Does not: open files, or judge a curve.
"""

import json
import math
from collections.abc import Iterator, Sequence
from itertools import islice

MAX_NAMES = 64
MAX_POINTS = 600
MAX_NAME = 200
STEP = "step"
Point = tuple[float, float]


def curves(data: bytes) -> dict[str, tuple[Point, ...]]:
    """Metric name to (step, value) in file order; where a line has no step, its number among the read lines."""
    found: dict[str, list[Point]] = {}
    for number, entry in enumerate(_entries(data)):
        step = _number(entry.get(STEP))
        for name, value in entry.items():
            y = _number(value)
            if name == STEP or y is None or not _usable(name) or (name not in found and len(found) == MAX_NAMES):
                continue
            found.setdefault(name, []).append((float(number) if step is None else step, y))
    return {name: tuple(_thinned(points)) for name, points in found.items()}


def _entries(data: bytes) -> Iterator[dict[str, object]]:
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield entry


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _usable(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME and name.isprintable()


def _thinned(points: Sequence[Point]) -> Iterator[Point]:
    if len(points) <= MAX_POINTS:
        yield from points
        return
    width = math.ceil(len(points) / (MAX_POINTS // 2))
    for start in range(0, len(points), width):
        part = list(islice(points, start, start + width))
        low, high = min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])
        yield from dict.fromkeys(sorted((low, high), key=part.index))
