"""The tree of a commit: its entries, and which of them may not be exported.

Promises: names are bytes as git has them; a tree made by hand to escape its folder (CVE-2024-32002 and its kin) is
named entry by entry. Does not: read the content of files, but for symlinks and Git LFS pointers.
"""

import posixpath
import re
from dataclasses import dataclass

from controller.inputs.gitcmd import GitError, Objects

SYMLINK, SUBMODULE = "120000", "160000"
REGULAR = ("100644", "100755", "100664")

_IGNORED_BY_HFS = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_LFS = b"version https://git-lfs.github.com/spec/"
_LFS_SIZE = 1024
_FOLDER = "040000"
_ENTRY = re.compile(rb"([0-7]{1,6}) ([^\0]*)\0(.{20})", re.DOTALL)
MAX_ENTRIES = 1_000_000
"""Files and folders of one tree; a small repository can name the same folder any number of times."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One leaf of a tree."""

    mode: str
    oid: str
    path: bytes
    """Relative to the tree that was listed."""

    @property
    def executable(self) -> bool:
        """Has it git's executable bit?"""
        return self.mode == "100755"

    @property
    def label(self) -> str:
        """The path for people and for JSON."""
        return shown(self.path)


def shown(path: bytes) -> str:
    """A path as text that is always valid UTF-8."""
    return path.decode("utf-8", "backslashreplace")


def normal(path: str) -> str:
    """source.git.path without "./", "//" and a final "/" ("." for the whole tree)."""
    return posixpath.normpath(path)


def address(commit: str, path: str) -> str:
    """How git names the tree or blob at commit:path."""
    return f"{commit}:{'' if path == '.' else path}"


def list_tree(tree: bytes, objects: Objects) -> tuple[Entry, ...]:
    """Every leaf beneath a tree (its object's bytes), in git's order.

    Read through `objects`, which costs 30 us for each folder where another git process would cost 2.5 ms.

    Raises:
        GitError: a tree beneath it is missing or corrupt, or there are more than MAX_ENTRIES entries.
    """
    leaves: list[Entry] = []
    pending = list(reversed(_entries(tree, b"")))
    for _ in range(MAX_ENTRIES):
        if not pending:
            return tuple(leaves)
        entry = pending.pop()
        if entry.mode != _FOLDER:
            leaves.append(entry)
            continue
        found = objects.get(entry.oid)
        if found is None or found[1] != "tree":
            raise GitError(f"the folder {entry.label} is missing from the repository; run git fsck")
        pending += reversed(_entries(found[2], entry.path + b"/"))
    raise GitError(f"the tree has more than {MAX_ENTRIES} entries")


def _entries(tree: bytes, prefix: bytes) -> list[Entry]:
    """The entries of one tree object: octal mode, space, name, NUL, 20 bytes of id."""
    found, at = [], 0
    while at < len(tree):
        match = _ENTRY.match(tree, at)
        if match is None:
            raise GitError("a tree of the repository is malformed; run git fsck")
        found.append(Entry(match[1].decode().zfill(6), match[3].hex(), prefix + match[2]))
        at = match.end()
    return found


def folder_at(commit: str, path: str, objects: Objects) -> tuple[Entry, ...] | None:
    """Every leaf of the folder at commit:path; None when there is no such folder (errors as for `list_tree`)."""
    found = objects.get(address(commit, path))
    return list_tree(found[2], objects) if found and found[1] == "tree" else None


def hostile(entries: tuple[Entry, ...], objects: Objects) -> tuple[str, ...]:
    """What may not be exported, each as "path (why)", in git's order.

    Raises:
        GitError: a symlink's object is missing or corrupt.
    """
    found = []
    leaves: set[bytes] = set()
    folders: set[bytes] = set()
    for entry in entries:
        above = _above(entry.path)
        why = why_name(entry.path) or _why_kind(entry, objects)
        if not why and (entry.path in leaves or entry.path in folders or not leaves.isdisjoint(above)):
            why = "the name stands for two entries"
        if why:
            found.append(f"{entry.label} ({why})")
        leaves.add(entry.path)
        folders.update(above)
    return tuple(found)


def _above(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    return [b"/".join(parts[:i]) for i in range(1, len(parts))]


def why_name(path: bytes) -> str:
    """Why no file may have this path; empty where one may."""
    for part in path.split(b"/"):
        if part in (b"", b".", b".."):
            return f"a component is {shown(part)!r}"
        if _is_dot_git(part):
            return "a component is .git, or reads as .git on some file systems"
    return ""


def _is_dot_git(part: bytes) -> bool:
    name = _IGNORED_BY_HFS.sub("", part.decode("utf-8", "replace")).casefold()
    windows = re.split(r"[:\\]", name)[0].rstrip(" .")
    return windows in (".git", "git~1")


def _why_kind(entry: Entry, objects: Objects) -> str:
    if entry.mode == SUBMODULE:
        return "a submodule; its files are not part of this commit"
    if entry.mode == SYMLINK:
        target = objects.blob(entry.oid)
        if target is None:
            raise GitError(f"the object of the symlink {entry.label} is missing; run git fsck")
        return "" if stays_inside(entry.path, target) else "a symlink out of the tree"
    return "" if entry.mode in REGULAR else f"mode {entry.mode}"


def stays_inside(link: bytes, target: bytes) -> bool:
    """Does a symlink at `link` (relative to the tree) resolve inside the tree, whatever other safe symlinks lie there?

    ".." is accepted only in front: there it climbs real folders, later it could climb out of another symlink's target.
    """
    if not target or target.startswith(b"/") or b"\0" in target:
        return False
    parts = [part for part in target.split(b"/") if part not in (b"", b".")]
    climbs = next((i for i, part in enumerate(parts) if part != b".."), len(parts))
    return climbs <= link.count(b"/") and b".." not in parts[climbs:]


def lfs_pointers(entries: tuple[Entry, ...], objects: Objects, commit: str) -> tuple[str, ...]:
    """Files whose content is not in the commit but in Git LFS, each as "path (why)".

    Looks only where a .gitattributes (of the tree, or of the repository's root) speaks of LFS.
    """
    files = [entry for entry in entries if entry.mode in REGULAR]
    attributes = [entry.oid for entry in files if entry.path.rpartition(b"/")[2] == b".gitattributes"]
    names = [address(commit, ".gitattributes"), *attributes]
    if not any(b"filter=lfs" in (objects.blob(name) or b"") for name in names):
        return ()
    why = "a Git LFS pointer; its content is not in the commit"
    return tuple(f"{entry.label} ({why})" for entry in files if is_lfs_pointer(objects.blob(entry.oid) or b""))


def is_lfs_pointer(data: bytes) -> bool:
    """Is this the small text that Git LFS keeps in a commit instead of the file?"""
    return len(data) <= _LFS_SIZE and data.startswith(_LFS)
