"""The clock of this machine.

Promises: `now` is wall time in UTC; `monotonic` goes on while the machine sleeps and is the same for every process of
one boot (CLOCK_BOOTTIME), so that a lease can be compared between processes. Does not: survive a reboot (compare boot
ids).
"""

import time
from datetime import UTC, datetime

from controller.ports.clock import Clock

_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # only Linux has the former


class SystemClock(Clock):
    """Real time."""

    def now(self) -> datetime:
        """The wall clock, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since boot, time asleep included."""
        return time.clock_gettime(_BOOT)

    def sleep(self, seconds: float) -> None:
        """Wait that long; a negative number is no wait."""
        time.sleep(max(0.0, seconds))
