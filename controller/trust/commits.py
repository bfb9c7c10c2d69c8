"""A signed commit taken apart, and what is known of who signed it.

Promises: bytes in, parts out; a commit with another signature than exactly one ``gpgsig`` header is refused, because
git joins several. Does not: verify (identity does, with the programs of OpenSSH and GnuPG). Source: git's
Documentation/gitformat-signature.
"""

import re
from dataclasses import dataclass
from typing import Literal

_HEADER = b"gpgsig"
_COMMITTER = re.compile(rb"^committer .*> ([0-9]{1,12}) [+-][0-9]{4}$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class CommitSigner:
    """Who signed a commit. `owner` is empty unless the signature verifies and its key is allowed to sign specs."""

    owner: str = ""
    key: str = ""
    """Fingerprint as OpenSSH or GnuPG shows it."""
    reason: str = ""
    """CommitNotSigned, CommitSignatureInvalid, SignerNotAllowed, SignerRevoked, ReconcilerSigned or
    SignatureNotChecked; empty when signed."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class SignedCommit:
    """The parts that a verifier needs."""

    kind: Literal["ssh", "openpgp"]
    signature: bytes
    payload: bytes
    """What was signed: the commit without its signature."""
    at: int | None
    """The committer's time (Unix seconds), as the signer states it."""


class UnsignedCommitError(ValueError):
    """There is no signature that can be checked; the text says why."""


def signed_commit(data: bytes) -> SignedCommit:
    """Take a commit object apart.

    Raises:
        UnsignedCommitError: it is not signed, signed twice, or in a way that is not checked (X.509).
    """
    head, blank, message = data.partition(b"\n\n")
    kept, signatures, name = list[bytes](), list[list[bytes]](), b""
    for line in head.split(b"\n"):
        name = name if line.startswith(b" ") else line.partition(b" ")[0]
        if not name.startswith(_HEADER):
            kept.append(line)
        elif line.startswith(b" "):
            signatures[-1].append(line[1:])
        elif name == _HEADER:
            signatures.append([line.partition(b" ")[2]])
        else:
            raise UnsignedCommitError(f"it has a {name.decode(errors='replace')} header, which is not checked")
    if len(signatures) != 1:
        raise UnsignedCommitError("it is not signed" if not signatures else f"it has {len(signatures)} signatures")
    payload = b"\n".join(kept) + blank + message
    at = _COMMITTER.search(b"\n".join(kept))
    return SignedCommit(_kind(signatures[0][0]), b"\n".join(signatures[0]) + b"\n", payload, int(at[1]) if at else None)


def _kind(first: bytes) -> Literal["ssh", "openpgp"]:
    if first == b"-----BEGIN SSH SIGNATURE-----":
        return "ssh"
    if first in (b"-----BEGIN PGP SIGNATURE-----", b"-----BEGIN PGP MESSAGE-----"):
        return "openpgp"
    raise UnsignedCommitError(
        f"its signature begins with {first[:40].decode(errors='replace')!r}, which is not checked"
    )
