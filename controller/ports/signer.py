"""Who signs.

Promises: the private key never leaves the adapter; bytes are signed as DSSE (securesystemslib's format).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """Who can read the private key, as the file system says."""

    owner_uid: int
    private: bool
    """A regular file of mode 0600 or less, in a folder that only its owner enters, both of one user."""


class Signer(ABC):
    """One key."""

    key_id: str
    """sha256 hex of the public key's SubjectPublicKeyInfo DER."""

    @abstractmethod
    def sign(self, payload_type: str, payload: bytes) -> bytes:
        """The DSSE envelope as JSON bytes, over the payload verbatim.

        Raises:
            OSError: the key cannot be read.
        """

    def key_facts(self) -> KeyFacts | None:
        """Who can read it; None when that cannot be shown."""
        return None
