"""Hash-pinned locks in pip's format (pip-compile, uv export, conda-lock --kind pip).

Promises: pure; only ``name[extras]==version ; marker --hash=sha256:...`` is a pinned requirement; everything else
(index and other options, includes, editables, URLs, paths, version ranges, no or weak hashes) is named in `unpinned`.
What pip is given is `Lock.canonical()`, written from what was understood here, so that pip and this parser cannot
read one file differently. Does not: resolve markers or extras.
"""

import re
from dataclasses import dataclass

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_REQUIREMENT = re.compile(
    rf"(?P<name>{_NAME})\s*(?:\[(?P<extras>[A-Za-z0-9._,\s-]*)\])?\s*==\s*(?P<version>[A-Za-z0-9.!+_-]+)\s*(?:;(?P<marker>.+))?"
)
_HASH = re.compile(r"\s--hash[=\s]\s*(?P<kind>[a-z0-9]+):(?P<hex>[0-9a-fA-F]+)(?=\s|$)")
_MARKER = re.compile(r"[A-Za-z0-9_.<>=!~'\"() ,+*-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMENT = re.compile(r"(^|\s)#.*$")


@dataclass(frozen=True, slots=True)
class Pin:
    """One package at one version, with the files that may stand for it."""

    name: str
    extras: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    """sha256, hex."""

    def line(self) -> str:
        """As pip reads it."""
        extras = f"[{self.extras}]" if self.extras else ""
        marker = f" ; {self.marker}" if self.marker else ""
        return f"{self.name}{extras}=={self.version}{marker} " + " ".join(
            f"--hash=sha256:{digest}" for digest in self.hashes
        )


@dataclass(frozen=True, slots=True)
class Lock:
    """A parsed lock."""

    pins: tuple[Pin, ...]
    unpinned: tuple[str, ...]
    """Lines that are not a pinned requirement, as written (first 120 characters)."""

    def canonical(self) -> bytes:
        """Requirements for pip, one a line."""
        return "".join(pin.line() + "\n" for pin in self.pins).encode()


def parse(data: bytes) -> Lock:
    """Read a lock; never raises (text that is not UTF-8 is one unpinned line)."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Lock((), ("the file is not UTF-8 text",))
    pins, unpinned = [], []
    for line in _logical_lines(text):
        pin = _pin(line)
        if pin is None:
            unpinned.append(line[:120])
        else:
            pins.append(pin)
    return Lock(tuple(pins), tuple(unpinned))


def _logical_lines(text: str) -> list[str]:
    """Lines joined at a final backslash, comments removed, as pip does it."""
    lines, parts = [], []
    for physical in text.splitlines():
        line = _COMMENT.sub("", physical)
        continued = line.endswith("\\") and not physical.lstrip().startswith("#")
        parts.append(line[:-1] if continued else line)
        if not continued:
            lines.append(" ".join(parts).strip())
            parts = []
    lines.append(" ".join(parts).strip())
    return [line for line in lines if line]


def _pin(line: str) -> Pin | None:
    hashes = tuple(match["hex"].lower() for match in _HASH.finditer(line) if match["kind"] == "sha256")
    found = _REQUIREMENT.fullmatch(_HASH.sub("", line).strip())
    if found is None or not hashes or not all(map(_SHA256.fullmatch, hashes)):
        return None
    marker = (found["marker"] or "").strip()
    if not _MARKER.fullmatch(marker) or any(word.startswith("-") for word in marker.split()):
        return None
    extras = ",".join(sorted(part.strip() for part in (found["extras"] or "").split(",") if part.strip()))
    return Pin(found["name"], extras, found["version"], marker, hashes)
