"""Signing our commits as git does with gpg.format=ssh: an SSH signature (PROTOCOL.sshsig) in the namespace "git".

Promises: the same Ed25519 key that signs statements, checked and read anew for every commit; `git verify-commit` and
`ssh-keygen -Y verify` accept the signature when the key stands in their allowed signers (`ssh_public_key`).
Does not: judge commits (commit_signatures.py does).
"""

import base64
import struct
import textwrap
from collections.abc import Callable
from hashlib import sha512
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from controller.identity.keys import FileSigner
from controller.identity.safe_files import read_regular

_MAGIC = b"SSHSIG"
_KIND = b"ssh-ed25519"
_NAMESPACE = b"git"
_MAX_PEM = 4096


def commit_signer(private: Path) -> Callable[[bytes], str]:
    """A function from a commit's bytes to its armoured signature.

    Raises:
        KeyRefusedError: others may read the key, or it is another one than its name says; also at each signature.
        OSError: it cannot be read; also at each signature.
    """
    FileSigner(private)

    def sign(commit: bytes) -> str:
        FileSigner(private)  # its folder, owner and mode may have changed
        key = load_pem_private_key(read_regular(private, _MAX_PEM, private=True), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise TypeError(f"{private} is not an Ed25519 key")
        return ssh_signature(key, commit)

    return sign


def ssh_signature(key: Ed25519PrivateKey, message: bytes) -> str:
    """The armoured SSH signature of a message."""
    what = _MAGIC + _string(_NAMESPACE) + _string(b"") + _string(b"sha512") + _string(sha512(message).digest())
    signature = _string(_KIND) + _string(key.sign(what))
    head = _MAGIC + struct.pack(">I", 1) + _string(_blob(key.public_key()))
    data = head + _string(_NAMESPACE) + _string(b"") + _string(b"sha512") + _string(signature)
    lines = textwrap.wrap(base64.b64encode(data).decode(), 70)
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----"])


def ssh_public_key(public_pem: bytes) -> str:
    """The public key as it stands in authorized_keys and allowed_signers files.

    Raises:
        ValueError: it is no Ed25519 public key.
    """
    key = load_pem_public_key(public_pem)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("that is no Ed25519 public key")  # noqa: TRY004  # callers handle one error
    return f"{_KIND.decode()} {base64.b64encode(_blob(key)).decode()}"


def _blob(key: Ed25519PublicKey) -> bytes:
    return _string(_KIND) + _string(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
