"""What happened, for people: a stream of short notes beside the status."""

from abc import ABC, abstractmethod
from typing import Literal


class Events(ABC):
    """Where events go (a log, a terminal, Kubernetes Events). Losing one changes nothing."""

    @abstractmethod
    def emit(self, subject: str, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Note one event about `subject` (namespace/name or a run id)."""
