"""Names of keys: our own id, and the fingerprint that OpenSSH shows for the same key.

Promises: standard library only, because `ml explain` reads a trust root. Does not: verify anything.
"""

import base64
import hashlib
import re

# RFC 8410: SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING (32 bytes) }
ED25519_SPKI = bytes.fromhex("302a300506032b6570032100")
KEY_ID = r"[0-9a-f]{64}"
SSH_ID = r"SHA256:[A-Za-z0-9+/]{43}"
OPENPGP_ID = r"[0-9A-F]{40}"
ANY_ID = re.compile(f"{KEY_ID}|{SSH_ID}|{OPENPGP_ID}")
"""Our key id, an OpenSSH fingerprint, or the fingerprint of an OpenPGP primary key."""


def raw_key(public_pem: bytes) -> bytes:
    """The 32 bytes of an Ed25519 public key.

    Raises:
        ValueError: not one Ed25519 public key as PEM.
    """
    lines = public_pem.decode("ascii", "replace").strip().splitlines()
    if len(lines) < 3 or lines[0] != "-----BEGIN PUBLIC KEY-----" or lines[-1] != "-----END PUBLIC KEY-----":
        raise ValueError("not a public key in PEM form (SubjectPublicKeyInfo)")
    der = base64.b64decode("".join(lines[1:-1]), validate=True)
    if not der.startswith(ED25519_SPKI) or len(der) != len(ED25519_SPKI) + 32:
        raise ValueError("not an Ed25519 public key")
    return der[len(ED25519_SPKI) :]


def key_id_of(public_pem: bytes) -> str:
    """sha256 hex of the key's SubjectPublicKeyInfo DER.

    Raises:
        ValueError: not one Ed25519 public key as PEM.
    """
    return hashlib.sha256(ED25519_SPKI + raw_key(public_pem)).hexdigest()


def ssh_blob(public_pem: bytes) -> bytes:
    """The key as OpenSSH stores it (RFC 8709): base64 of this is the second word of a public key line."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in (b"ssh-ed25519", raw_key(public_pem)))


def ssh_id_of(public_pem: bytes) -> str:
    """The fingerprint that `ssh-keygen -l` shows for this key."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(ssh_blob(public_pem)).digest()).decode().rstrip("=")
