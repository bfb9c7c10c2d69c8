"""The real clock."""

import time
from datetime import UTC, timedelta

from controller.inventory.clock import SystemClock


def test_now_is_utc_and_close_to_the_systems() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert abs(clock.now().timestamp() - time.time()) < timedelta(minutes=5).total_seconds()


def test_monotonic_time_never_goes_back_and_passes_in_sleep() -> None:
    clock = SystemClock()
    first = clock.monotonic()
    clock.sleep(0.01)
    clock.sleep(-1)
    assert clock.monotonic() - first >= 0.01
