"""The files of a run as verification sees them, and what it says of each.

Promises: a record is read whole or a failed check says why not. Does not: open paths (the caller passes openers).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from controller.trust.envelope import EnvelopeError, Opened, open_envelope
from controller.trust.root import TrustRoot

MAX_RECORD = 64 * 2**20
_CHUNK = 2**20

Opener = Callable[[], BinaryIO]
Files = Mapping[str, bytes | Opener]
"""Path relative to the run folder, to bytes or to a function that opens the file for reading."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was verified."""

    name: str
    """envelope, signature, statement, builder, subject, manifest, plan, spec, approval, reproduction, verdict, level,
    policy or unattested."""
    ok: bool
    message: str
    file: str = ""
    reason: str = ""
    """Stable; empty where it holds."""


def failed(name: str, reason: str, message: str, file: str) -> Check:
    """A check that does not hold."""
    return Check(name, ok=False, message=message, file=file, reason=reason)


def chunks(file: bytes | Opener, limit: int | None = None) -> Iterator[bytes]:
    """The content in pieces.

    Raises:
        ValueError: more than `limit` bytes.
        OSError: it cannot be read.
    """
    if isinstance(file, bytes):
        yield file
        return
    total = 0
    with file() as stream:
        while chunk := stream.read(_CHUNK):
            total += len(chunk)
            if limit is not None and total > limit:
                raise ValueError(f"more than {limit} bytes")
            yield chunk


def record(files: Files, name: str, check: str, checks: list[Check]) -> bytes | None:
    """A small record, whole; a failed check when it is missing, unreadable or too large."""
    if name not in files:
        checks.append(failed(check, "FileMissing", f"{name} is missing", name))
        return None
    try:
        return b"".join(chunks(files[name], MAX_RECORD))
    except (OSError, ValueError) as error:
        checks.append(failed(check, "FileUnreadable", f"{name} cannot be read: {error}", name))
        return None


def opened(
    data: bytes | None, name: str, root: TrustRoot, checks: list[Check], *, check: str = "", uses: tuple[str, ...] = ()
) -> Opened | None:
    """An envelope whose signature counts for one of `uses` (recording runs, when none is given)."""
    if data is None:
        return None
    keys = {key_id: pem for use in uses or ("runs",) for key_id, pem in root.keys_for(use).items()}
    try:
        found = open_envelope(data, keys, root.revoked)
    except EnvelopeError as error:
        checks.append(failed(check or error.check, error.reason, str(error), name))
        return None
    owner = root.owner(found.key_id)
    by = f"the key {found.key_id}" + (f" of {owner}" if owner else "")
    checks.append(Check(check or "signature", ok=True, message=f"signed by {by}", file=name))
    return found
