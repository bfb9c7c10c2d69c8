"""Who signs.

Promises: the private key never leaves the adapter; bytes are signed as DSSE (securesystemslib's format).
"""

from abc import ABC, abstractmethod


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
