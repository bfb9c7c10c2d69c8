"""Where a dataset lies, and its facts.

Promises: a relative uri is read in the commit when it is tracked there, else in the work tree; an absolute one only
beneath the operator's dataset_roots; never through a symlink. Does not: judge a digest (preflight does) or copy
anything (staging.py does).
"""

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote

from controller.facts.facts import DatasetFacts
from controller.inputs.beneath import UnsafePathError, folder, kind_beneath, parts_of
from controller.inputs.gitcmd import Objects
from controller.inputs.hashing import Measured, folder_digest, measure
from controller.inputs.statcache import StatCache
from controller.inputs.trees import Entry, address, hostile, is_lfs_pointer, list_tree

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Place:
    """A path beneath a folder that may be read."""

    root: Path
    parts: tuple[str, ...]

    @property
    def path(self) -> str:
        """The whole path on this host."""
        return str(Path(os.path.realpath(self.root), *self.parts))


def path_of(uri: str) -> str:
    """The path of a file: URI, percent-escapes resolved.

    Raises:
        UnsafePathError: another scheme, another host, or a control character.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon or scheme.lower() != "file":
        raise UnsafePathError(
            "UnsupportedScheme", f"{uri!r} is no file: URI; write file:<path from the repository's root>"
        )
    if rest.startswith("//"):
        host, slash, tail = rest[2:].partition("/")
        if host not in ("", "localhost"):
            raise UnsafePathError(
                "UnsupportedScheme", f"{uri!r} names the host {host!r}; write file:///<path> or file:<path>"
            )
        rest = slash + tail
    path = unquote(rest)
    if not path or "\0" in path or "\ufffd" in path:
        raise UnsafePathError("PathOutsideRoots", f"{uri!r} names no path in UTF-8")
    return path


def place_of(path: str, home: Path, roots: Sequence[Path]) -> Place:
    """Where `path` may be read: beneath `home` when relative, else beneath the first of `roots` that holds it.

    Raises:
        UnsafePathError: it lies beneath none of them.
    """
    if not path.startswith("/"):
        return Place(home, parts_of(path))
    parts = parts_of(path.lstrip("/"))
    for root in roots:
        above = tuple(part for part in os.path.normpath(root).split("/") if part)
        if parts[: len(above)] == above:
            return Place(root, parts[len(above) :])
    raise UnsafePathError(
        "PathOutsideRoots", f"{path!r} is not beneath dataset_roots of the settings; have the operator add its folder"
    )


def on_host(name: str, place: Place, cache: StatCache | None, report: Report) -> DatasetFacts:
    """Facts of a dataset on this host; never raises for what it finds."""
    try:
        with folder(os.path.realpath(place.root)) as root:
            kind_beneath(root, place.parts)
            found = measure(root, place.parts, cache, os.fsencode(place.path), report)
    except UnsafePathError as error:
        return DatasetFacts(name, found=True, reason=error.reason, message=str(error), path=_text(place.path))
    except OSError as error:
        return _unreadable(name, place, error)
    return DatasetFacts(
        name,
        found=True,
        sha256=found.sha256,
        size=found.size,
        files=found.files,
        path=_text(place.path),
        stamp=found.stamp,
    )


def _unreadable(name: str, place: Place, error: OSError) -> DatasetFacts:
    where = _text(place.path)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return DatasetFacts(name, found=False, message=f"nothing lies at {'/'.join(place.parts)!r}", path=where)
    why = f"cannot be read: {error.strerror or error}"
    return DatasetFacts(name, found=True, reason="UnreadableDataset", message=why, path=where)


def _text(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def in_commit(name: str, commit: str, path: str, objects: Objects) -> DatasetFacts | None:
    """Facts of a dataset that the commit tracks at `path` (from the repository's root); None when it does not.

    A Git LFS pointer counts as not tracked: the data itself is in the work tree.

    Raises:
        GitError: the repository cannot be read.
    """
    found = objects.get(address(commit, "/".join(parts_of(path)) or "."))
    if found is None or found[1] not in ("blob", "tree"):
        return None
    _, kind, data = found
    if kind == "blob":
        digest = "sha256:" + sha256(data).hexdigest()
        measured = Measured(digest, len(data), 1)
        return None if is_lfs_pointer(data) else _tracked(name, path, measured)
    entries = list_tree(data, objects)
    bad = hostile(entries, objects) + tuple(f"{e.label} (a symlink)" for e in entries if e.mode == "120000")
    if bad:
        return DatasetFacts(
            name, found=True, tracked=True, reason="SymlinkInDataset", message="; ".join(bad[:20]), path=path
        )
    return _tracked(name, path, _measure_tree(entries, objects))


def _tracked(name: str, path: str, found: Measured) -> DatasetFacts:
    where = "/".join(parts_of(path)) or "."
    return DatasetFacts(
        name, found=True, sha256=found.sha256, size=found.size, files=found.files, tracked=True, path=where
    )


def _measure_tree(entries: Sequence[Entry], objects: Objects) -> Measured:
    lines, size = [], 0
    for entry in sorted(entries, key=lambda entry: entry.path):
        hasher = sha256()
        copied = objects.copy(entry.oid, hasher.update)
        size += copied[2] if copied else 0
        lines.append((entry.path, hasher.digest()))
    return Measured("sha256:" + folder_digest(iter(lines)).hex(), size, len(lines))


def hash_again(name: str, path: str) -> DatasetFacts:
    """Facts of what lies at an absolute path now, cache ignored; without a digest when it cannot be read."""
    place = Place(Path("/"), parts_of(path.lstrip("/")))
    return on_host(name, place, None, lambda _done, _total: None)
