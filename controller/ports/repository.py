"""One branch of a git repository, as the git source needs it: commits in, commits out, no work tree.

Promises: what is read is an object of a commit; a commit that is pushed has the branch's tip as its only parent, and
the push fails where that tip moved meanwhile; nothing is ever forced. `refresh` and `push` go to the remote and may
take long; everything else is local. Threads may share one.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class TreeChange(NamedTuple):
    """One file that differs between two commits."""

    path: str
    """From the root; bytes that are no UTF-8 are escaped as os.fsdecode does."""
    oid: str
    """Its blob in the newer commit; empty when it is gone."""
    why: str = ""
    """Not empty: what stands there may not be read (a link, a submodule, a name such as ".."), and why."""


@dataclass(frozen=True, slots=True)
class FileTooLarge:
    """Stands for a file's bytes when there are more than were asked for."""

    size: int


class RepositoryTroubleError(Exception):
    """The repository cannot be used now; what runs goes on, and it is tried again.

    `reason` is RemoteUnreachable, RemoteAuthFailed, RemoteRefused, BranchNotFound, RepositoryCorrupt,
    RepositoryRefused, DiskFull or RepositoryFailed.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class PushRejectedError(Exception):
    """Somebody else pushed first: refresh, apply the change to the newest version, push again."""


class Repository(ABC):
    """A local copy of a remote repository. Every method may raise RepositoryTroubleError."""

    @abstractmethod
    def refresh(self, branch: str) -> str | None:
        """Ask the remote, fetch what is new; the branch's newest commit, None when there is no such branch."""

    @abstractmethod
    def stamp(self, branch: str) -> str:
        """Moves when the branch may have moved; empty where only `refresh` can tell. Cheap enough for 20 a second."""

    @abstractmethod
    def tip(self, branch: str) -> str | None:
        """The branch's newest commit as of the last refresh or push."""

    @abstractmethod
    def contains(self, tip: str, commit: str) -> bool:
        """Is `commit` in the history of `tip`? False also where it is not known here any more."""

    @abstractmethod
    def files(self, commit: str, below: str) -> tuple[TreeChange, ...]:
        """Every file below a folder ("." for all) of a commit."""

    @abstractmethod
    def changes(self, old: str, new: str) -> tuple[TreeChange, ...]:
        """Every file that differs between two commits, those that are gone first."""

    @abstractmethod
    def blob(self, oid: str, limit: int) -> bytes | FileTooLarge:
        """The bytes of a blob, checked against its id."""

    @abstractmethod
    def file(self, commit: str, path: str, limit: int) -> bytes | FileTooLarge | None:
        """The bytes of a regular file of a commit; None when there is no such file."""

    @abstractmethod
    def mark(self, commit: str) -> None:
        """This is the commit that was looked at last; what a spec refers to is judged by it."""

    @abstractmethod
    def commit(self, parent: str | None, files: Mapping[str, bytes], message: str) -> str:
        """Make a commit on top of `parent` in which only these files differ; its id. It is on no branch yet."""

    @abstractmethod
    def push(self, branch: str, commit: str, parent: str | None) -> None:
        """Make `commit` the branch's tip if that is still `parent` (None: the branch does not exist).

        Raises:
            PushRejectedError: it is not.
        """
