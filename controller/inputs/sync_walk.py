"""Which files of a folder a snapshot or dataset has, as sorted stat records.

Promises: one scandir of each folder and one stat of each entry; .gitignore and .mlignore are honoured as git does it,
level by level (the last pattern that matches decides, .mlignore after .gitignore, deeper files before those above, and
nothing comes back beneath a folder that is ignored), from the repository's root down to the folder and below it;
``.git`` and ``.fetchml`` are never taken. Names are bytes. About 110 bytes of memory a file, at any number of files.
Does not: read files, follow a link, or know the user's or the clone's own excludes (they would make the digest depend
on the machine).
"""

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from controller.inputs.beneath import FILE, UnsafePathError, folder
from controller.inputs.statcache import record

IGNORE_FILES = (".gitignore", ".mlignore")
ALWAYS_LEFT_OUT = frozenset({b".git", b".fetchml"})
_MAX_DEPTH = 128
_MAX_IGNORE_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class Rules:
    """The patterns of one folder's ignore files. A character stands for a byte (Latin-1): git compares bytes."""

    at: int
    """How many characters of a path lead to that folder."""
    any: re.Pattern[str]
    """Matches what at least one pattern matches."""
    patterns: tuple[tuple[re.Pattern[str], bool], ...]
    """The last first; True: ignored."""

    def decide(self, path: str) -> bool | None:
        """Is it ignored? None: no pattern says."""
        own = path[self.at :]
        if self.any.fullmatch(own) is None:
            return None
        return next((ignored for pattern, ignored in self.patterns if pattern.fullmatch(own)), None)


def rules_of(text: str, at: int) -> Rules | None:
    """The patterns of an ignore file; None when it has none.

    Raises:
        OSError: the library that reads them is not installed.
    """
    try:
        from pathspec import GitIgnoreSpec
    except ModuleNotFoundError as error:
        raise OSError("ignore files need the library pathspec; pip install 'fetchml[data]'") from error
    found = []
    lines = (line.removesuffix("\r") for line in text.removeprefix("\xef\xbb\xbf").split("\n"))
    for pattern in GitIgnoreSpec.from_lines(lines, backend="simple").patterns:
        source = getattr(pattern, "regex", None)
        if source is not None and pattern.include is not None:
            found.append((_whole(source.pattern), pattern.include))
    if not found:
        return None
    compiled = tuple((re.compile(source, re.DOTALL), ignored) for source, ignored in reversed(found))
    return Rules(at, re.compile("|".join(f"(?:{source})" for source, _ in found), re.DOTALL), compiled)


def _whole(source: str) -> str:
    """pathspec's expression, which also matches what lies beneath a match, as one for a whole path.

    A folder's path ends with a slash here. What lies beneath an ignored folder is never asked about, and beneath one
    that came back ("!build/") each path is judged by itself, as git does.
    """
    if source in (".", "(?P<ps_d>/)"):
        source = ".+" + source.removeprefix(".")
    elif source.endswith("/"):
        source += ".+"
    return source.replace("(?P<ps_d>", "(?:")


@dataclass(slots=True)
class Tree:
    """What was found. Both lists are sorted by path."""

    entries: list[bytes] = field(default_factory=list)
    """A record (statcache.record) of every file."""
    executable: list[bytes] = field(default_factory=list)
    """Those of them that their owner may execute."""


def walk(root: Path, *, ignore: bool) -> Tree:
    """Every file of a folder; with `ignore`, without those that the ignore files leave out.

    Raises:
        UnsafePathError: a symlink or special file that is not ignored, or folders nested too deep.
        OSError: absent or unreadable.
    """
    tree = Tree()
    above, prefix = _rules_above(root) if ignore else ((), b"")
    with folder(os.fspath(root)) as fd:
        _Walk(tree, len(prefix), ignore=ignore).enter(fd, prefix, above, 0)
    tree.entries.sort()
    tree.executable.sort()
    return tree


class _Walk:
    def __init__(self, tree: Tree, skip: int, *, ignore: bool) -> None:
        self._tree = tree
        self._skip = skip
        self._ignore = ignore

    def enter(self, fd: int, prefix: bytes, rules: tuple[Rules, ...], depth: int) -> None:
        """Note the files of an open folder, then those of its folders."""
        if depth > _MAX_DEPTH:
            raise UnsafePathError("UnreadableDataset", f"folders are nested deeper than {_MAX_DEPTH}")
        if self._ignore:
            rules = _own_rules(fd, len(prefix)) + rules
        for name in self._list(fd, prefix, rules):
            with folder(name, fd) as inner:
                self.enter(inner, b"%b%b/" % (prefix, os.fsencode(name)), rules, depth + 1)

    def _list(self, fd: int, prefix: bytes, rules: tuple[Rules, ...]) -> list[str]:
        folders = []
        before = prefix[self._skip :]
        found, executable = self._tree.entries, self._tree.executable
        with os.scandir(fd) as listing:
            for item in listing:
                name = os.fsencode(item.name)
                status = item.stat(follow_symlinks=False)
                mode = status.st_mode
                is_folder = stat.S_ISDIR(mode)
                if self._ignore and (name in ALWAYS_LEFT_OUT or _ignored(prefix + name, is_folder, rules)):
                    continue
                if stat.S_ISREG(mode):
                    entry = record(before + name, status)
                    found.append(entry)
                    if mode & stat.S_IXUSR:
                        executable.append(entry)
                elif is_folder:
                    folders.append(item.name)
                else:
                    _refuse(mode, before + name, ignorable=self._ignore)
        return folders


def _ignored(path: bytes, is_folder: bool, rules: tuple[Rules, ...]) -> bool:
    if not rules:
        return False
    whole = path.decode("latin-1") + ("/" if is_folder else "")
    for each in rules:
        said = each.decide(whole)
        if said is not None:
            return said
    return False


def _refuse(mode: int, path: bytes, *, ignorable: bool) -> None:
    name = path.decode("utf-8", "backslashreplace")
    instead = ", or name it in .mlignore" if ignorable else ""
    if stat.S_ISLNK(mode):
        raise UnsafePathError("SymlinkInDataset", f"{name!r} is a symlink; put the file itself there{instead}")
    raise UnsafePathError("SpecialFile", f"{name!r} is neither a file nor a folder; remove it{instead}")


def _own_rules(fd: int, at: int) -> tuple[Rules, ...]:
    """The rules of an open folder, those that decide first at the front."""
    texts = [text for name in IGNORE_FILES if (text := _read(name, fd))]
    rules = rules_of("\n".join(texts), at) if texts else None
    return (rules,) if rules else ()


def _read(name: str, fd: int) -> str:
    """An ignore file; empty when there is none (git takes no link for one either)."""
    try:
        file = os.open(name, FILE, dir_fd=fd)
    except OSError:
        return ""
    with os.fdopen(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return ""
        return stream.read(_MAX_IGNORE_FILE).decode("latin-1")


def _rules_above(root: Path) -> tuple[tuple[Rules, ...], bytes]:
    """The rules of the folders between the repository's root and this one, and the path from there ("a/b/")."""
    whole = Path(os.path.abspath(root))  # noqa: PTH100  # resolve() would follow links out of the repository
    top = next((place for place in (whole, *whole.parents) if (place / ".git").exists()), whole)
    rules: tuple[Rules, ...] = ()
    at, prefix = top, b""
    for part in whole.relative_to(top).parts:
        with folder(os.fspath(at)) as fd:
            rules = _own_rules(fd, len(prefix)) + rules
        at, prefix = at / part, b"%b%b/" % (prefix, os.fsencode(part))
    return rules, prefix
