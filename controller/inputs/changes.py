"""What a commit changed.

Promises: reads objects only, through the hardened git call. Does not: parse what it reads.
"""

from collections.abc import Iterator
from pathlib import Path

from controller.inputs.git import find_top
from controller.inputs.gitcmd import GitError, Objects, git


def changed_files(folder: Path, commit: str) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of every file that `commit` added or changed against its first parent.

    Raises:
        LookupError: no repository here, or no such commit.
    """
    top = find_top(folder)
    if top is None or commit.startswith("-"):
        raise LookupError(commit)
    try:
        _, resolved = git(str(top), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
        name = resolved.decode().strip()
        _, listing = git(str(top), "diff-tree", "-r", "--root", "-m", "--first-parent", "--no-commit-id", "--name-only",
                         "--diff-filter=d", "-z", name)  # fmt: skip
    except GitError as error:
        raise LookupError(commit) from error
    with Objects(str(top)) as objects:
        for path in dict.fromkeys(listing.split(b"\0")):
            data = objects.blob(f"{name}:{path.decode(errors='surrogateescape')}") if path else None
            if data is not None:
                yield path.decode(errors="replace"), data
