"""What the host is and has."""

from abc import ABC, abstractmethod

from controller.facts.facts import HostFacts


class Inventory(ABC):
    """Looks at the machine."""

    @abstractmethod
    def host(self) -> HostFacts:
        """The facts now (disk space is fresh, the rest may be remembered for the process)."""
