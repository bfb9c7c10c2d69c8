"""Content-addressed objects."""

from abc import ABC, abstractmethod
from typing import BinaryIO


class ObjectStore(ABC):
    """Bytes by their sha256. Writing what is there already is nothing."""

    @abstractmethod
    def has(self, sha256: str) -> bool:
        """Is it there? (Its integrity is checked when it is read.)"""

    @abstractmethod
    def put(self, data: bytes) -> str:
        """Keep the bytes durably; returns their digest."""

    @abstractmethod
    def open(self, sha256: str) -> BinaryIO:
        """Read it, verified.

        Raises:
            LookupError: it is not there.
            ValueError: its bytes do not have that digest (bit rot).
        """
