"""When is a missing spec really gone? Pure: decided from times and counts.

Promises: a deletion is believed only after a second, full scan, at least two seconds after the last one was first
missed (so a slow ``rm -r`` is seen whole); many at once are not believed until an operator says so or the files return.
Does not: look at files.
"""

from collections.abc import Mapping
from dataclasses import dataclass

CONFIRM_SECONDS = 2.0
PATIENCE_SECONDS = 60.0
"""Steady deleting postpones a confirmation for this long at most."""
MASS_SHARE = 0.2
MASS_MINIMUM = 10


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with the missing."""

    gone: tuple[bytes, ...] = ()
    stalled: bool = False
    recheck_after: float | None = None
    """Seconds."""


def is_mass(missing: int, known: int) -> bool:
    """Are that many gone of that many too many to believe?"""
    return known >= MASS_MINIMUM and missing > MASS_SHARE * known


def judge(missing: Mapping[bytes, float], known: int, now: float, *, scanned: bool) -> Verdict:
    """Decide on the missing keys.

    Args:
        missing: key to the monotonic second when it was first missed.
        known: keys known, the missing included; as counted at the time of the stall while one lasts.
        now: monotonic seconds.
        scanned: everything was looked at just now (a look at hinted files confirms nothing).
    """
    if not missing:
        return Verdict()
    if is_mass(len(missing), known):
        return Verdict(stalled=True)
    gone = _ripe(missing, now) if scanned else ()
    waiting = [since for key, since in missing.items() if key not in set(gone)]
    return Verdict(gone, recheck_after=max(0.0, _due_at(waiting) - now) if waiting else None)


def due(missing: Mapping[bytes, float], now: float) -> bool:
    """Is it time for the scan that confirms?"""
    return bool(missing) and now >= _due_at(list(missing.values()))


def _due_at(since: list[float]) -> float:
    return min(max(since) + CONFIRM_SECONDS, min(since) + PATIENCE_SECONDS)


def _ripe(missing: Mapping[bytes, float], now: float) -> tuple[bytes, ...]:
    quiet = now - max(missing.values()) >= CONFIRM_SECONDS
    return tuple(key for key, since in missing.items() if quiet or now - since >= PATIENCE_SECONDS)
