"""The trust root as a value: which keys, whose, what for, since when, and which are revoked.

Promises: pure. One line of the file ``root`` says of one key ``<id> <since> <uses> <owner>``; a key that no line names
may do the least: a fetchml key records runs, a key of the allowed signers signs commits, and the OpenSSH form of a
key that records runs signs status commits only (a reconciler must never pass its own commits for a person's).
A file that cannot be understood is an error, never an empty list. Does not: read files or verify signatures.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controller.trust.keyid import ANY_ID, KEY_ID, ssh_id_of

APPROVALS = "approvals/"
"""Where approvals lie: in the repository below <namespace>/<name>/, in a run folder directly."""
USES = ("runs", "approvals", "comparisons", "commits", "status")
"""Attest runs and their level; approve plans; sign comparisons; sign commits of specs; sign status commits only."""
_LINE = re.compile(r"(\S+) ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}Z) ([a-z,]+) (\S.*)")


class RootError(ValueError):
    """The trust root cannot be understood; the text says which line and what to write."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the trust root says of one key."""

    key_id: str
    """Our key id, an OpenSSH fingerprint, or an OpenPGP primary fingerprint."""
    since: str
    """RFC 3339 UTC, as its maintainer wrote it; no signature carries a trusted time to hold it against."""
    uses: tuple[str, ...]
    owner: str
    """One word for one person or service, such as an e-mail address."""

    def line(self) -> str:
        """As it stands in the file."""
        return f"{self.key_id} {self.since} {','.join(self.uses)} {self.owner}"


@dataclass(frozen=True, slots=True)
class TrustRoot:
    """Whose word counts for what."""

    keys: Mapping[str, bytes] = field(default_factory=dict)
    """Key id to public PEM, of fetchml keys."""
    entries: Mapping[str, Entry] = field(default_factory=dict)
    revoked: frozenset[str] = frozenset()

    def uses(self, key_id: str) -> tuple[str, ...]:
        """What this key may sign; nothing once it is revoked."""
        if key_id in self.revoked:
            return ()
        if key_id in self.entries:
            return self.entries[key_id].uses
        if re.fullmatch(KEY_ID, key_id):
            return ("runs",) if key_id in self.keys else ()
        return ("status",) if key_id in self._reconcilers() else ("commits",)

    def keys_for(self, use: str) -> dict[str, bytes]:
        """The fetchml keys whose signature counts for a use."""
        return {key_id: pem for key_id, pem in self.keys.items() if key_id in self.revoked or use in self.uses(key_id)}

    def owner(self, key_id: str) -> str:
        """Whose key it is; empty when nobody says."""
        return self.entries[key_id].owner if key_id in self.entries else ""

    def _reconcilers(self) -> set[str]:
        """Keys that record runs, as OpenSSH names them."""
        return {ssh_id_of(pem) for key_id, pem in self.keys.items() if "runs" in self.uses(key_id)}


def parse_root(text: str, name: str = "root") -> dict[str, Entry]:
    """Key id to entry.

    Raises:
        RootError: a line that is no entry, an unknown use, or a key that stands twice.
    """
    lines = ((number, line) for number, line in enumerate(text.splitlines(), 1) if line and not line.startswith("#"))
    entries: dict[str, Entry] = {}
    for number, line in lines:
        entry = _entry(line, f"{name}:{number}")
        if entry.key_id in entries:
            raise RootError(f"{name}:{number}: the key {entry.key_id} stands twice")
        entries[entry.key_id] = entry
    return entries


def _entry(line: str, where: str) -> Entry:
    match = _LINE.fullmatch(line)
    if match is None or not ANY_ID.fullmatch(match[1]):
        raise RootError(f"{where}: not a key; write: <key id> <time, such as 2026-01-02T03:04:05Z> <uses> <owner>")
    return Entry(match[1], match[2], checked_uses(match[3].split(","), where), match[4].strip())


def checked_uses(uses: Iterable[str], where: str) -> tuple[str, ...]:
    """The uses, each once, in the order of USES.

    Raises:
        RootError: one is unknown, or there is none.
    """
    wanted = set(uses)
    unknown = wanted - set(USES)
    if unknown or not wanted:
        raise RootError(
            f"{where}: {', '.join(sorted(unknown)) or 'nothing'} is no use of a key; write {','.join(USES)}"
        )
    return tuple(use for use in USES if use in wanted)
