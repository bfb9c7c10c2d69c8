"""What the repository of a spec shows about who submitted it and who approved it: bytes, not yet verified.

Promises: never raises for a bad repository (the result says what is wrong); commits are read by id and checked against
it. Does not: verify a signature.
"""

import os
from contextlib import suppress
from pathlib import Path

from controller.api.documents import Document
from controller.facts.facts import GitFacts
from controller.inputs.git import find_top, open_repository
from controller.inputs.gitcmd import GitError, Objects
from controller.inputs.introduced import Introduced
from controller.ports.inputs import Submission
from controller.trust.root import APPROVALS

MAX_APPROVALS = 64
_MAX_BYTES = 2**16


def submission(root: Path, ref: str, document: Document, git: GitFacts | None) -> Submission:
    """The commits that vouch for the spec as it stands; `root` is what document.file is relative to.

    These are the commits that introduced its user part; and, where the spec leaves its commit out, the commit of the
    code that was found instead, since no signature on the spec says which code is meant.
    """
    file = root / document.file
    owner = _owner(file)
    top = find_top(file.parent)
    if top is None:
        return Submission(error="the spec lies in no git repository", file_owner=owner)
    spec = os.path.relpath(Path(os.path.realpath(file.parent), file.name), top)
    try:
        found = committed(str(top), ref, os.fsencode(spec), document, git)
    except (GitError, OSError, ValueError) as error:
        return Submission(error=str(error), file_owner=owner)
    return Submission(found.commits, found.error, owner)


def committed(top: str, ref: str, spec: bytes, document: Document, git: GitFacts | None) -> Submission:
    """The same for a repository (also a bare one) that is known, without the file's owner.

    Raises:
        GitError, OSError, ValueError: it cannot be read.
    """
    repository = open_repository(Path(top), ref)
    if repository.tip is None:
        return Submission(error=f"{repository.ref} has no commit yet")
    with Objects(top) as objects:
        introduced = Introduced(top, spec, document, objects).commits(repository.tip)
        if not introduced:
            return Submission(error=f"the spec as it stands is in no commit of {repository.ref}")
        if repository.shallow & set(introduced):
            return Submission(error="the history is cut off (shallow clone); run git fetch --unshallow")
        code = (git.commit,) if git and git.exists and not git.stated and git.commit and git.path_exists else ()
        names = tuple(dict.fromkeys((*introduced, *code)))
        return Submission(tuple((name, _commit(objects, name)) for name in names))


def _commit(objects: Objects, name: str) -> bytes:
    found = objects.get(name)
    if found is None or found[1] != "commit":
        raise GitError(f"{name} is no commit")
    return found[2]


def _owner(file: Path) -> int | None:
    """User id of whoever owns the file that was read; None when it is gone."""
    with suppress(OSError):
        return file.stat().st_uid
    return None


def approvals(root: Path, namespace: str, name: str) -> tuple[bytes, ...]:
    """The approvals that lie in the repository for one experiment, unverified: regular files of a plain size only."""
    folder = root / APPROVALS / namespace / name
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False))
    except OSError:
        return ()
    files = [folder / name for name in names if name.endswith(".dsse.json")][:MAX_APPROVALS]
    return tuple(data for data in map(_small, files) if data)


def _small(path: Path) -> bytes:
    with suppress(OSError), path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
        return data if len(data) <= _MAX_BYTES else b""
    return b""
