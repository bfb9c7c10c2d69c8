"""`ml queue --push`: hand a spec to a reconciler that watches a git repository.

Promises: the preflight judges the very commit that is pushed, as the reconciler will see it; a file that is there and
differs is not overwritten; a push that comes second is judged and made again on the new tip; nothing is forced, and the
work tree and index of the repository around are not touched. Does not: push code: that has to be there already.
"""

import posixpath
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.explain import explain
from controller.entrypoints.cli.opening import Opened, load_experiment
from controller.entrypoints.cli.output import ProgressLine

if TYPE_CHECKING:
    from controller.api.documents import Document
    from controller.entrypoints.cli.explain import Explained
    from controller.inputs.clone import Clone
    from controller.settings import Settings
    from controller.wiring import Place

TRIES = 20
_PAUSE = 0.1
_LIMIT = 4 * 2**20
_QUEUE = "queue"
"""Folder of the clones that queued specs are made in: a reconciler's own may be in use."""


@dataclass(frozen=True, slots=True)
class Aim:
    """Where the spec is to go."""

    repository: str
    branch: str
    target: str
    """Path of the file in the repository."""


def origin_of(place: "Place") -> str:
    """The address that the repository around pushes to."""
    from controller.inputs.gitcmd import GitError, git

    try:
        return git(str(place.root), "config", "--get", "remote.origin.url")[1].decode().strip()
    except GitError as error:
        message = "there is no remote called origin; name the repository: --repo https://..."
        raise CommandError(message, Exit.USAGE) from error


def queue_push(place: "Place", settings: "Settings", path: Path, name: str | None, aim: Aim) -> "Explained | None":
    """Judge and push; what was explained, or None when the very file is there already.

    Raises:
        CommandError: it may not or cannot be pushed.
        InvalidDocumentError: the spec is invalid.
    """
    from controller.inputs.addresses import checked_branch
    from controller.ports.repository import RepositoryTroubleError
    from controller.wiring import open_clone

    document = replace(load_experiment(path, place.root, name), file=aim.target)
    try:
        checked_branch(aim.branch)
        mine = replace(settings, git_author=_author(place))
        clone = open_clone(replace(place, base=place.base / _QUEUE), mine, aim.repository)
        try:
            return _until_pushed(_Push(place, settings, clone, aim, document, path.read_bytes()))
        finally:
            clone.close()
    except RepositoryTroubleError as error:
        raise CommandError(f"{error.reason}: {error}", Exit.ERROR) from error


def _author(place: "Place") -> str:
    """Who the user is to git, as git writes it."""
    from controller.inputs.gitcmd import GitError, git

    try:
        words = git(str(place.root), "var", "GIT_AUTHOR_IDENT")[1].decode().split(" ")
    except GitError as error:
        raise CommandError(f"git does not know who you are: {error}; git config user.name and user.email") from error
    return " ".join(words[:-2])


@dataclass(frozen=True, slots=True)
class _Push:
    """One spec on its way."""

    place: "Place"
    settings: "Settings"
    clone: "Clone"
    aim: Aim
    document: "Document"
    data: bytes

    def once(self) -> "Explained | None":
        """Make the commit on the newest tip, judge it, push it (errors as for `queue_push`, and PushRejectedError)."""
        tip = self.clone.refresh(self.aim.branch)
        if tip is None:
            raise CommandError(f"{self.aim.repository} has no branch {self.aim.branch}; push it first", Exit.NOT_FOUND)
        if self._is_there(tip):
            return None
        commit = self.clone.commit(tip, {self.aim.target: self.data}, f"Queue {self.document.name}")
        found = self._judged(commit)
        if found.code is not Exit.REFUSED:
            self.clone.push(self.aim.branch, commit, tip)
        return found

    def _is_there(self, tip: str) -> bool:
        """Is this very spec there already?"""
        from controller.api.documents import user_part_of

        there = self.clone.file(tip, self.aim.target, _LIMIT)
        if there is None:
            return False
        if not isinstance(there, bytes) or user_part_of(there) != user_part_of(self.data):
            message = f"{self.aim.target} exists already, and differs; edit it there, or rename your file"
            raise CommandError(message, Exit.NOT_ALLOWED)
        return True

    def _judged(self, commit: str) -> "Explained":
        """What `ml explain` would say of the commit, with the quotas and policies that stand beside the spec."""
        from controller.sources.git import Branches
        from controller.wiring import build_ports, look_at_store, open_branch, unopened_signer

        source = open_branch(self.clone, Branches(self.aim.branch, posixpath.dirname(self.aim.target) or "."))
        source.poll()
        self.clone.mark(commit)
        place = replace(self.place, clone=self.clone.folder)
        signer = unopened_signer(place, self.settings)
        with ProgressLine() as progress:
            store = look_at_store(place)
            ports = build_ports(place, self.settings, source, store=store, signer=signer, progress=progress)
            return explain(Opened(place, self.settings, self.document, ports))


def _until_pushed(push: _Push) -> "Explained | None":
    from controller.inventory.clock import SystemClock
    from controller.ports.repository import PushRejectedError

    for count in range(TRIES):
        try:
            return push.once()
        except PushRejectedError:
            SystemClock().sleep(random.uniform(0, _PAUSE * (count + 1)))  # noqa: S311  # it spreads, it guards nothing
    raise CommandError(f"others push to {push.aim.branch} all the time; try again", Exit.MUST_WAIT)
