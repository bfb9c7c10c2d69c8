"""What git's complaint means for whoever operates the reconciler. Pure."""

import re

from controller.inputs.gitcmd import GitError
from controller.ports.repository import RepositoryTroubleError

_WORDS: dict[str, tuple[str, ...]] = {
    "DiskFull": ("no space left on device", "disk quota exceeded"),
    "PushRejected": (
        *(r"\(stale info\)", r"\(fetch first\)", r"\(non-fast-forward\)", "failed to update ref", "cannot lock ref"),
        *("incorrect old value", "reference already exists"),
    ),
    "RemoteAuthFailed": (
        *("authentication failed", "could not read (?:username|password)", "terminal prompts disabled"),
        *("permission denied", "host key verification failed", r"\b40[13]\b", "access denied", "dubious ownership"),
    ),
    "RemoteRefused": (
        *("remote rejected", "hook declined", "protected branch", "transport '.*' not allowed", "redirect"),
        "unable to update url base",
    ),
    "RepositoryCorrupt": (
        *("corrupt", "inflate", "bad object", "missing (?:blob|tree|commit)", "garbage", "bad tree", "invalid object"),
        *("unable to read (?:tree|sha1)", r"object file .* is empty", "is missing from the repository"),
    ),
    "BranchNotFound": ("couldn't find remote ref",),
    "RemoteUnreachable": (
        *("could not resolve", "connection (?:refused|timed out|reset|closed)", "failed to connect", "timed out"),
        *("couldn't connect", "no route to host", "network is unreachable", "took longer than", "unable to access"),
        *("remote end hung up", "does not appear to be a git repository", "could not read from remote", "early eof"),
        *("no such file or directory", r"\b50[0234]\b", "repository .*not found"),
    ),
}
"""Reason to words of git, in the order in which they are looked for: the first that stands there names the trouble."""

_FIX = {
    "DiskFull": "make room; nothing was changed",
    "RemoteAuthFailed": (
        "give the reconciler's user access: a git credential helper for https, a key in its ssh agent and the host in "
        "known_hosts for ssh, safe.directory for a path"
    ),
    "RemoteRefused": "write the address that it leads to, or let the reconciler's user push to this branch",
    "RepositoryCorrupt": "git fsck says more",
    "RemoteUnreachable": "it is asked again; what runs goes on",
}


def trouble_of(error: GitError, url: str) -> RepositoryTroubleError:
    """The trouble behind a complaint of git about the repository at `url`."""
    for reason, words in _WORDS.items():
        if re.search("|".join(words), error.errors, re.IGNORECASE):
            fix = f"; {_FIX[reason]}" if reason in _FIX else ""
            return RepositoryTroubleError(reason, f"{url}: {error}{fix}")
    return RepositoryTroubleError("RepositoryFailed", f"{url}: {error}")
