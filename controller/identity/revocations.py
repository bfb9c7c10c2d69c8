"""The file trust/revoked: which keys no longer count, since when and why.

Promises: one line per key, ``<key id> <RFC 3339 UTC> <reason>``; a file that cannot be understood is an error, never an
empty list. Does not: un-revoke. There is no trusted time yet, so a revoked key voids all its signatures.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from controller.identity.safe_files import UnsafeFileError, read_regular, replace_file
from controller.ports import durable
from controller.trust.keyid import ANY_ID, KEY_ID

REVOKED = "revoked"
_MAX_BYTES = 2**20
_LINE = re.compile(r"(\S+) ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}Z) (\S.*)")

REVOKE_KEY = durable.register("identity.revoke_key", "the key is listed in trust/revoked")


@dataclass(frozen=True, slots=True)
class Revocation:
    """One revoked key."""

    key_id: str
    at: str
    reason: str


def revocations(trust_folder: Path) -> dict[str, Revocation]:
    """Key id to revocation; empty when the file does not exist.

    Raises:
        ValueError: a line that is not a revocation, or a link in place of the file.
        OSError: it cannot be read.
    """
    try:
        return parse_revocations(read_regular(trust_folder / REVOKED, _MAX_BYTES))
    except FileNotFoundError:
        return {}


def parse_revocations(data: bytes) -> dict[str, Revocation]:
    """The same from the bytes of the file.

    Raises:
        ValueError: a line that is not a revocation.
    """
    lines = enumerate(data.decode().splitlines(), 1)
    return dict(_parse(number, line) for number, line in lines if line and not line.startswith("#"))


def _parse(number: int, line: str) -> tuple[str, Revocation]:
    match = _LINE.fullmatch(line)
    if match is None or not ANY_ID.fullmatch(match[1]):
        raise UnsafeFileError(f"{REVOKED}:{number}: not a revocation; write: <key id> <time> <reason>")
    return match[1], Revocation(match[1], match[2], match[3])


def revoke(trust_folder: Path, key_id: str, reason: str, at: str) -> Revocation:
    """Revoke a key for this repository; `at` is RFC 3339 UTC. One that is revoked already keeps its first entry.

    `key_id` is our key id, an OpenSSH fingerprint (SHA256:...) or an OpenPGP primary fingerprint.

    Raises:
        LookupError: the repository does not trust such a fetchml key.
        ValueError: the reason is empty or has a line break, or trust/revoked is damaged.
        OSError: the file cannot be written.
    """
    if re.fullmatch(KEY_ID, key_id) and not (trust_folder / f"{key_id}.pub.pem").is_file():
        raise LookupError(f"no key {key_id} in {trust_folder.name}/")
    known = revocations(trust_folder)
    if key_id in known:
        return known[key_id]
    entry = f"{key_id} {at} {reason.strip()}"
    _, revocation = _parse(len(known) + 1, entry)
    path = trust_folder / REVOKED
    before = read_regular(path, _MAX_BYTES) if path.exists() else b""
    separator = b"" if before.endswith(b"\n") or not before else b"\n"
    with durable.step(REVOKE_KEY):
        replace_file(path, before + separator + entry.encode() + b"\n", mode=0o644)
    return revocation
