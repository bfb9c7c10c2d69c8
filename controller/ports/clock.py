"""Time, injected. Nothing outside an adapter calls now() or sleep()."""

from abc import ABC, abstractmethod
from datetime import datetime


class Clock(ABC):
    """Wall time for records, monotonic time for expiry."""

    @abstractmethod
    def now(self) -> datetime:
        """The current time, timezone-aware UTC."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds that never go backwards."""

    @abstractmethod
    def sleep(self, seconds: float) -> None:
        """Wait."""
