"""What a container printed, taken apart: facts, log, end.

Promises: fed with the whole stream from its beginning, in any pieces, it gives the same bytes; so a log is continued
after a restart by skipping what is there. The facts are the lines before BEGINS, which the launcher wrote before the
user's program existed; the end is the very last line, which it writes when no other process is left.
Does not: touch files.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from controller.runtimes.redact import Redactor

BEGINS = b"fetchml-launcher begins\n"
_ENDED = b"\nfetchml-launcher ended "
_END = re.compile(re.escape(_ENDED) + rb"([0-9]{1,3}) oom ([0-9]+) memory ([0-9]+) cpu ([0-9]+)\n\Z")
_LONGEST_END = 160
_LONGEST_FACTS = 1 << 20


@dataclass(frozen=True, slots=True)
class End:
    """How the launcher saw the command end."""

    exit_code: int
    oom_kills: int
    usage: Mapping[str, float]


class Output:
    """One stream under way."""

    def __init__(self, secrets: list[bytes]) -> None:
        self._redactor = Redactor(secrets)
        self._held = b""
        self.facts: bytes | None = None
        """Complete once the user's program begins."""
        self.end: End | None = None

    def feed(self, data: bytes) -> bytes:
        """What can go to the log now."""
        self._held += data
        if self.facts is None:
            before, found, after = self._held.partition(BEGINS)
            if not found:
                if len(self._held) > _LONGEST_FACTS:
                    raise ValueError("the launcher said more than it can have to say")
                return b""
            self.facts, self._held = before, after
        keep = _possible_end(self._held)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return self._redactor.feed(shown)

    def finish(self) -> bytes:
        """The stream is complete: the rest of the log. `end` is set if the launcher lived to write it."""
        match = _END.search(self._held) if self.facts is not None else None
        rest = self._held
        if match:
            rest = self._held[: match.start()]
            code, kills, memory, cpu = (int(word) for word in match.groups())
            self.end = End(code, kills, {"max_rss": memory, "cpu_seconds": round(cpu / 1e9, 3)})
        self._held = b""
        return self._redactor.feed(rest) + self._redactor.rest()


def _possible_end(data: bytes) -> int:
    """How many of the last bytes may be the launcher's last line."""
    tail = data[-_LONGEST_END:]
    found = tail.rfind(_ENDED)
    if found >= 0:
        return len(tail) - found
    return next((size for size in range(len(_ENDED) - 1, 0, -1) if tail.endswith(_ENDED[:size])), 0)
