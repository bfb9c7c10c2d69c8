"""Did a ref move? Asked by stat alone, often.

Promises: the answer changes when somebody commits, checks out, fetches, pushes or packs refs in the repository around
a folder (branches deeper than one slash: when their reflog or packed-refs moves too); costs a handful of stats and
starts no git. Does not: say what moved.
"""

import os
from pathlib import Path

from controller.inputs.git import find_top


def refs_fingerprint(folder: Path) -> str:
    """Stat keys of the places that git touches when refs move; empty outside a repository."""
    top = find_top(folder)
    if top is None:
        return ""
    own = _git_folder(top)
    common = _linked(own / "commondir", own) or own
    places = [own / "HEAD", own / "logs" / "HEAD", common / "packed-refs", common / "FETCH_HEAD"]
    places += [common / "refs" / "heads", common / "reftable" / "tables.list", common / "refs" / "remotes"]
    places += _folders(common / "refs" / "remotes")
    return ";".join(map(_key, places))


def _git_folder(top: Path) -> Path:
    return _linked(top / ".git", top, "gitdir: ") or top / ".git"


def _linked(file: Path, base: Path, prefix: str = "") -> Path | None:
    """The folder that a one-line file points to; None when there is no such file."""
    try:
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return base / text.removeprefix(prefix)


def _folders(parent: Path) -> list[Path]:
    try:
        with os.scandir(parent) as found:
            return sorted(Path(item.path) for item in found if item.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _key(place: Path) -> str:
    try:
        status = place.stat()
    except OSError:
        return ""
    return f"{status.st_ino}.{status.st_mtime_ns}.{status.st_size}"


BELL = "fetchml-look"
"""File in a bare repository that its post-receive hook touches: look again."""


def branch_stamp(repository: Path, branch: str) -> str:
    """Stat keys of the places that git touches when a branch of this bare repository moves, and of the bell."""
    places = ("packed-refs", f"refs/heads/{branch}", "reftable/tables.list", BELL)
    return ";".join(_key(repository / place) for place in places)


def ref_stamp(repository: Path, ref: str) -> str:
    """Stat key of one ref of a bare repository."""
    return ";".join(_key(repository / place) for place in ("packed-refs", ref))
