"""A clock that stands still until a test moves it."""

from datetime import UTC, datetime, timedelta

from controller.ports.clock import Clock


class FakeClock(Clock):
    """Starts at `start` (2026-01-01 12:00 UTC) and at 1000 monotonic seconds; sleeping moves it and is recorded."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, 12, tzinfo=UTC), monotonic: float = 1000.0) -> None:
        self._now = start
        self._monotonic = monotonic
        self.slept: list[float] = []

    def now(self) -> datetime:
        """As it was set."""
        return self._now

    def monotonic(self) -> float:
        """As it was set."""
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Note it and move on by it."""
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Both times go on."""
        self._monotonic += seconds
        self._now += timedelta(seconds=seconds)

    def jump_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock (back, if negative); monotonic time does not notice."""
        self._now += timedelta(seconds=seconds)
