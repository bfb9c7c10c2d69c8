"""A trust root in memory: who signed which commit, and which keys count."""

from dataclasses import dataclass, field

from controller.ports.trust import Trust
from controller.trust.commits import CommitSigner
from controller.trust.root import TrustRoot


@dataclass
class FakeTrust(Trust):
    """Set `signers`: a commit's bytes to who signed it; every other commit is unsigned."""

    signers: dict[bytes, CommitSigner] = field(default_factory=dict)
    known: TrustRoot = field(default_factory=TrustRoot)
    broken: str = ""
    """A sentence: the trust root cannot be read."""
    of_operator: bool = False

    def root(self) -> TrustRoot:
        """As set."""
        if self.broken:
            raise ValueError(self.broken)
        return self.known

    def names_signers(self) -> bool:
        """Whenever anybody is set."""
        return bool(self.signers)

    def signer_of(self, commit: bytes) -> CommitSigner:
        """As set."""
        return self.signers.get(commit, CommitSigner(reason="CommitNotSigned", message="it is not signed"))
