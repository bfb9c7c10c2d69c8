"""The files of a commit, or those in which two commits differ, read from git as it finds them.

Promises: a tree that names itself a thousand times over is given up at MAX_ENTRIES, not held in memory; a name that no
file may have (``..``, ``.git``, a slash) and an entry that is no regular file are told with the reason.
Does not: read a file.
"""

import os
import re
from collections.abc import Iterator

from controller.inputs.gitcmd import GitError, sentence, start
from controller.inputs.trees import MAX_ENTRIES, REGULAR, SUBMODULE, SYMLINK, why_name
from controller.ports.repository import TreeChange

_GONE = "000000"
_LISTED = re.compile(rb"(\d{6}) \w+ ([0-9a-f]{40})\t([^\0]*)", re.DOTALL)
_MODES = re.compile(rb":\d{6} (\d{6}) [0-9a-f]{40} ([0-9a-f]{40}) \w\d*")


def listing(top: str, commit: str, below: str) -> tuple[TreeChange, ...]:
    """Every file below a folder of a commit ("." for all).

    Raises:
        GitError: the tree cannot be read, or has more than MAX_ENTRIES entries.
    """
    words = ["ls-tree", "-r", "-z", "--full-tree", "--end-of-options", commit]
    words += [] if below == "." else ["--", below + "/"]
    found = []
    for token in _tokens(top, words):
        match = _LISTED.fullmatch(token)
        if match is None:
            raise GitError("git ls-tree said what it never says")
        found.append(_change(match[3], match[1].decode(), match[2].decode()))
    return tuple(found)


def difference(top: str, old: str, new: str) -> tuple[TreeChange, ...]:
    """Every file in which two commits differ, those that are gone first (errors as for `listing`)."""
    shape = ("-r", "-z", "--raw", "--no-abbrev", "--no-renames", "--no-ext-diff", "--no-textconv")
    tokens = _tokens(top, ["diff-tree", *shape, "--end-of-options", old, new])
    found = []
    for token in tokens:
        match = _MODES.fullmatch(token)
        if match is None:
            raise GitError("git diff-tree said what it never says")
        found.append(_change(next(tokens), match[1].decode(), match[2].decode()))
    return tuple(sorted(found, key=lambda change: bool(change.oid)))


def _change(path: bytes, mode: str, oid: str) -> TreeChange:
    if mode == _GONE:
        return TreeChange(os.fsdecode(path), "")
    return TreeChange(os.fsdecode(path), oid, why_name(path) or _why_mode(mode))


def _why_mode(mode: str) -> str:
    if mode in REGULAR:
        return ""
    return {SYMLINK: "it is a symlink", SUBMODULE: "it is a submodule"}.get(mode, f"its mode is {mode}")


def _tokens(top: str, words: list[str]) -> Iterator[bytes]:
    """NUL-separated pieces of what git prints, at most MAX_ENTRIES of them."""
    process = start(top, words)
    with process:
        try:
            rest, count = b"", 0
            while piece := process.stdout.read1(1 << 16):  # type: ignore[union-attr]  # opened as a pipe
                *whole, rest = (rest + piece).split(b"\0")
                count += len(whole)
                if count > 2 * MAX_ENTRIES or len(rest) > 1 << 20:
                    raise GitError(f"the tree has more than {MAX_ENTRIES} entries")
                yield from whole
            if process.wait() != 0:
                raise GitError(sentence(process.stderr.read() if process.stderr else b"") or f"git {words[0]} failed")
        finally:
            process.kill()
