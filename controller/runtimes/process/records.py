"""The files of one attempt, run_dir/attempts/<n>/, and how they become durable.

Promises: a record is whole or absent after any crash; a claim is given to exactly one process.
Does not: decide what a record means (state.py does). Imported by the supervisor: built-in modules only, json on use.
"""

import os

from controller.runtimes.records import folder, load, read, save, sync_folder

__all__ = ["claim", "claimed", "clear", "folder", "load", "read", "save", "sync_folder"]

ATTEMPT = "attempt.json"
"""What was asked for, without secrets. Written by create."""
CLAIM = "claim"
"""Identity of the one supervisor that may run the attempt: "pid start-time boot-id", or "0 0 stopped"."""
STARTED = "started.json"
"""Written once the sandbox stands and the user's program begins."""
EXIT = "exit.json"
"""Written last, when no process of the attempt is left."""
STOP = "stop.json"
"""A request to stop, with the grace in seconds."""
SCRATCH = "scratch"
"""Home and temporary folder of a run without a mount namespace."""


def clear(place: str) -> None:
    """Remove records that killed writers left half written."""
    halves = tuple(f".{name}." for name in (ATTEMPT, STARTED, EXIT, STOP))
    try:
        for name in (name for name in os.listdir(place) if name.startswith(halves)):
            os.unlink(os.path.join(place, name))
    except FileNotFoundError:
        pass  # the folder is gone, or its writer lives and was quicker


def claim(place: str, text: str) -> bool:
    """Take the attempt, durably, if nobody has; False when somebody has.

    The claim is a symbolic link whose target is the text: made whole, exclusively and with one sync.

    Raises:
        OSError: it could not be written.
    """
    try:
        os.symlink(text, os.path.join(place, CLAIM))
    except FileExistsError:
        return False
    sync_folder(place)
    return True


def claimed(place: str) -> str | None:
    """The text of the claim, or None when nobody has taken the attempt."""
    try:
        return os.readlink(os.path.join(place, CLAIM))
    except FileNotFoundError:
        return None
    except OSError:
        return ""  # something else lies there: taken, by nobody who lives
