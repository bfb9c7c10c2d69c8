"""Whose word counts: the trust root of whoever operates this reconciler.

Promises: keys and their uses as one value, and who signed a commit. What cannot be shown is said so, never assumed.
"""

from abc import ABC, abstractmethod

from controller.trust.commits import CommitSigner
from controller.trust.root import TrustRoot


class Trust(ABC):
    """One trust root."""

    of_operator: bool = False
    """Its files lie outside the repository, where those who submit specs do not write."""

    @abstractmethod
    def root(self) -> TrustRoot:
        """The trust root as it is now.

        Raises:
            ValueError: a file of it cannot be understood; says which.
            OSError: a file cannot be read.
        """

    @abstractmethod
    def names_signers(self) -> bool:
        """Does it name anybody who may sign commits? (Cheap: else no history needs to be read.)"""

    @abstractmethod
    def signer_of(self, commit: bytes) -> CommitSigner:
        """Who signed this commit object, as far as the trust root allows (errors as for `root`)."""


class NoTrust(Trust):
    """Nobody is trusted."""

    def root(self) -> TrustRoot:
        """Empty."""
        return TrustRoot()

    def names_signers(self) -> bool:
        """No."""
        return False

    def signer_of(self, commit: bytes) -> CommitSigner:  # noqa: ARG002  # the port's signature
        """Nobody who counts."""
        return CommitSigner(reason="SignerNotAllowed", message="there is no trust root")
