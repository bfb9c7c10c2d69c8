"""Walking a specs folder by scandir and stat.

Promises: yields every candidate once, descends into no hidden folder and no symlinked one; what cannot be listed is
reported, never taken for empty. Does not: open a file.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from controller.api.problems import Problem
from controller.sources.files import UnusableFileError, name_problem, refuse, stat_key

SUFFIXES = (".yaml", ".yml")
STATUS_SUFFIXES = (".status.yaml", ".status.yml")
LEFTOVER_MARK = ".fetchml-"
"""In the hidden names of files that we are writing."""


def is_spec_name(name: str) -> bool:
    """Does a file of that name hold specs? (Not a hidden one, not our sidecars.)"""
    return name.endswith(SUFFIXES) and not name.startswith(".") and not name.endswith(STATUS_SUFFIXES)


def is_leftover_name(name: str) -> bool:
    """Could this be a file that we were writing?"""
    return name.startswith(".") and LEFTOVER_MARK in name


def is_spec_path(path: str) -> bool:
    """Does a path relative to the root name a spec outside hidden folders?"""
    *folders, name = path.split("/")
    return is_spec_name(name) and not any(folder.startswith(".") or folder == "" for folder in folders)


@dataclass(slots=True)
class Walk:
    """One walk; `files` is consumed once, the rest is complete afterwards."""

    root: Path
    leftovers: list[str] = field(default_factory=list)
    problems: dict[str, Problem] = field(default_factory=dict)
    """By raw path: a folder that cannot be listed or has an unusable name, a folder named like a spec."""
    unlisted: list[str] = field(default_factory=list)
    """Folders beneath which nothing was seen; what was known there stays."""
    folders: list[str] = field(default_factory=list)

    def files(self, below: str = "") -> Iterator[tuple[str, bytes]]:
        """Relative path and stat key of every candidate beneath a folder.

        Raises:
            OSError: the folder itself cannot be listed.
        """
        pending = [below]
        while pending:
            folder = pending.pop()
            try:
                listing = os.scandir(self.root / folder)
            except OSError as error:
                if folder == below:
                    raise
                self._cannot_list(folder, error)
                continue
            self.folders.append(folder)
            with listing:
                yield from self._listed(folder, listing, pending)

    def _listed(
        self, folder: str, listing: Iterator[os.DirEntry[str]], pending: list[str]
    ) -> Iterator[tuple[str, bytes]]:
        prefix = folder + "/" if folder else ""
        for item in listing:
            name = item.name
            if name.startswith("."):
                if LEFTOVER_MARK in name:
                    self.leftovers.append(prefix + name)
            elif item.is_dir(follow_symlinks=False):
                self._enter(prefix + name, pending)
            elif is_spec_name(name):
                try:
                    yield prefix + name, _key(item)
                except FileNotFoundError:
                    continue  # deleted since it was listed

    def _enter(self, folder: str, pending: list[str]) -> None:
        problem = name_problem(folder)
        if problem is None and is_spec_name(folder.rpartition("/")[2]):
            problem = refuse(folder, "NotAFile", "this is a folder named like a spec", "rename it without .yaml")
        if problem is None:
            pending.append(folder)
        else:
            self.problems[folder] = problem.problem

    def _cannot_list(self, folder: str, error: OSError) -> None:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return
        refused: UnusableFileError = refuse(
            folder, "UnreadableFolder", f"it cannot be listed: {error.strerror}", "give the reconciler read permission"
        )
        self.unlisted.append(folder + "/")
        self.problems[folder] = refused.problem


def _key(item: os.DirEntry[str]) -> bytes:
    status = item.stat(follow_symlinks=False)
    if item.is_symlink():
        try:
            status = item.stat()
        except OSError:
            return stat_key(status)  # dangling: reading it says so
    return stat_key(status)


def names(root: Path) -> set[str]:
    """The candidates only, for finding out what is missing."""
    return {path for path, _ in Walk(root).files()}
