"""What a benchmark hands back, and how several contenders are measured fairly.

Promises: contenders take turns, so that a busy machine disturbs all of them alike; a spread is over every value that
was measured after the warm-up. Does not: print (report.py does) or judge by absolute seconds on its own.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

ROUNDS = 11
QUICK_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Spread:
    """Values of one contender."""

    median: float
    low: float
    high: float
    p99: float
    rounds: int


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value; p99 is the value that 99 % do not exceed (the highest below 100 values)."""
    ordered = sorted(values)
    last = ordered[-(-len(ordered) * 99 // 100) - 1]
    return Spread(statistics.median(ordered), ordered[0], ordered[-1], last, len(ordered))


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal of design 05 and whether this run met it."""

    text: str
    met: bool
    value: str = ""
    """What was reached, for people."""


def at_most(what: str, value: float, limit: float, unit: str = "") -> Goal:
    """Met when `value` is no more than `limit`."""
    return Goal(f"{what} <= {limit:g}{unit}", value <= limit, f"{value:.3g}{unit}")


def at_least(what: str, value: float, limit: float, unit: str = "") -> Goal:
    """Met when `value` is no less than `limit`."""
    return Goal(f"{what} >= {limit:g}{unit}", value >= limit, f"{value:.3g}{unit}")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    work: str
    unit: str
    ours: Spread
    floor: Spread | None = None
    floor_is: str = ""
    peers: Mapping[str, Spread] = field(default_factory=dict)
    goals: tuple[Goal, ...] = ()
    note: str = ""
    counters: Mapping[str, int] = field(default_factory=dict)
    """Counts that must hold on any machine, by name; the tests assert them."""

    @property
    def ratio(self) -> float | None:
        """Ours over the floor, by medians."""
        return self.ours.median / self.floor.median if self.floor and self.floor.median else None


def interleaved(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Each contender's values, in `rounds` rounds after one that warms up."""
    seen: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, measure in contenders.items():
            value = measure()
            if number:
                seen[name].append(value)
    return seen
