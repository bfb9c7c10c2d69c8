"""The two threads of a git source that is watched: one asks the remote, one pushes statuses.

Promises: a repository on this host is looked at 20 times a second by three stats, another every `poll_seconds` or when
the bell rings; a remote that does not answer is asked less often, at random moments, and at least once a minute.
Does not: look at what a commit holds.
"""

import logging
import random
import threading
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from controller.ports.repository import Repository, RepositoryTroubleError

if TYPE_CHECKING:
    from controller.sources.git import Branches
    from controller.sources.gitstatus import StatusCommits

log = logging.getLogger(__name__)

NEWS = frozenset({"git"})
"""The hint: there is something of the branch to look at."""
STAMP_SECONDS = 0.05
"""How often a repository on this host is looked at."""
LONGEST_PAUSE = 60.0
"""Seconds between two questions to a remote that does not answer, at most."""
STOP_SECONDS = 5.0
"""How long a remote that does not answer is waited for at the end."""
PUSH_PAUSE = 2.0
"""Seconds before statuses that could not be pushed are tried again, at first."""


class Watched(Protocol):
    """The source, as far as the threads need it."""

    branches: "Branches"
    statuses: "StatusCommits"

    @property
    @abstractmethod
    def in_trouble(self) -> bool:
        """Did the last question to the remote fail?"""

    @abstractmethod
    def refresh(self) -> bool:
        """Ask the remote; True when there is something to poll for."""

    @abstractmethod
    def push_trouble(self, trouble: tuple[str, str]) -> bool:
        """Note why statuses cannot be pushed; True when that is news."""


class BranchWatch:
    """Runs until stopped."""

    def __init__(
        self,
        source: Watched,
        repository: Repository,
        bell: threading.Event,
        notify: Callable[[frozenset[str]], None],
    ) -> None:
        self._source = source
        self._repository = repository
        self._bell = bell
        self._notify = notify
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._look, name="git-look", daemon=True),
            threading.Thread(target=self._push, name="git-push", daemon=True),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> bool:
        """End; a question or push that is under way is waited for, but not for ever: False when one is stuck."""
        self._stopped.set()
        self._bell.set()
        self._source.statuses.news.set()
        for thread in self._threads:
            thread.join(STOP_SECONDS)
        return not any(thread.is_alive() for thread in self._threads)

    def _look(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            self._bell.clear()
            stamp = self._stamp()
            if self._source.refresh():
                self._notify(NEWS)
            failures = failures + 1 if self._source.in_trouble else 0
            self._wait(stamp, pause_after(self._source.branches.poll_seconds, failures))

    def _stamp(self) -> str:
        return self._repository.stamp(self._source.branches.branch)

    def _wait(self, stamp: str, seconds: float) -> None:
        """Until the bell rings, the stamp moves or the time is over."""
        step = STAMP_SECONDS if stamp else seconds
        for _ in range(max(1, round(seconds / step))):
            if self._bell.wait(step) or self._stopped.is_set() or (stamp and self._stamp() != stamp):
                return

    def _push(self) -> None:
        statuses, failures = self._source.statuses, 0
        while not self._stopped.is_set():
            statuses.news.clear()
            due = statuses.due()
            if due is None or due > 0:
                statuses.news.wait(due)
            elif self._flushed():
                failures = 0
            else:
                failures += 1
                self._stopped.wait(pause_after(PUSH_PAUSE, failures))

    def _flushed(self) -> bool:
        trouble = ("", "")
        try:
            self._source.statuses.flush()
        except RepositoryTroubleError as error:
            trouble = (error.reason, f"statuses wait to be pushed: {error}")
        except Exception as error:
            log.exception("statuses could not be pushed")
            trouble = ("RepositoryFailed", f"statuses wait to be pushed: {type(error).__name__}: {error}")
        if self._source.push_trouble(trouble):
            self._notify(NEWS)
        return not trouble[0]


def pause_after(usual: float, failures: int) -> float:
    """Seconds until the next try: longer after each failure, a little random so that many do not ask at once."""
    longest = max(LONGEST_PAUSE, usual)
    pause = min(usual * 2.0 ** min(failures, 16), longest)
    return pause * random.uniform(0.8, 1.0) if failures else pause  # noqa: S311  # it spreads, it guards nothing
