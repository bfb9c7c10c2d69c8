"""A signer without files: the contract of controller.ports.signer.Signer, with a key from a fixed seed."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from controller.ports.signer import Signer
from controller.trust.envelope import seal
from controller.trust.keyid import key_id_of
from controller.trust.root import TrustRoot


class FakeSigner(Signer):
    """Signs like the real one, in memory; the same seed gives the same key in every run."""

    def __init__(self, seed: int = 1) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed.to_bytes(32, "big"))
        self.public_pem = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.key_id = key_id_of(self.public_pem)

    def sign(self, payload_type: str, payload: bytes) -> bytes:
        """The DSSE envelope over the payload verbatim."""
        return seal(payload_type, payload, self.key_id, self._key.sign)

    @property
    def root(self) -> TrustRoot:
        """The same as verification wants it."""
        return TrustRoot(self.trust_root)

    @property
    def trust_root(self) -> dict[str, bytes]:
        """A trust root that holds this key only."""
        return {self.key_id: self.public_pem}
