"""Exit codes, and errors that end a command with one of them.

Promises: the table of the design contract, in one place; exceptions of other rooms are known by name, so that nothing
is imported to tell them apart. Standard library only.
"""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    """done (for `run` and `wait`: the run succeeded)"""
    ERROR = 1
    """unexpected error"""
    USAGE = 2
    """wrong usage"""
    INVALID = 3
    """invalid spec"""
    REFUSED = 4
    """refused by preflight or policy (for `run` and `wait` also: finished elsewhere, unverified; nothing ran here)"""
    NOT_FOUND = 5
    """not found"""
    NOT_ALLOWED = 6
    """not allowed"""
    RUN_FAILED = 7
    """the run itself failed or was cancelled"""
    MUST_WAIT = 8
    """must wait"""
    WOULD_LAUNCH = 10
    """`explain --detailed-exitcode`: a launch would happen"""
    TIMED_OUT = 124
    """timed out"""


class CommandError(Exception):
    """Ends the command: a sentence for a person and an exit code."""

    def __init__(self, message: str, code: Exit = Exit.ERROR) -> None:
        self.code = code
        super().__init__(message)


_CODES = {
    "InvalidDocumentError": Exit.INVALID, "SettingsError": Exit.USAGE, "KeyRefusedError": Exit.NOT_ALLOWED,
    "UnsafeFileError": Exit.REFUSED, "ArchiveError": Exit.REFUSED, "FencedError": Exit.NOT_ALLOWED,
    "StoreError": Exit.ERROR, "CatalogueError": Exit.NOT_FOUND, "AbsentError": Exit.NOT_FOUND,
    "UnsafePathError": Exit.REFUSED,
    "DamagedError": Exit.REFUSED, "ChangedError": Exit.REFUSED, "SnapshotError": Exit.REFUSED,
    "DownloadError": Exit.REFUSED, "RowsError": Exit.REFUSED,
    "PermissionError": Exit.NOT_ALLOWED, "FileNotFoundError": Exit.NOT_FOUND, "FileExistsError": Exit.NOT_ALLOWED,
    "IsADirectoryError": Exit.USAGE, "NotADirectoryError": Exit.USAGE, "OSError": Exit.ERROR,
}  # fmt: skip


def code_of(error: Exception) -> Exit | None:
    """The exit code for an error whose text a person can use; None for one that nobody foresaw."""
    if isinstance(error, CommandError):
        return error.code
    return next((_CODES[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _CODES), None)


def sentence_of(error: Exception) -> str:
    """What to print: the error's own words, without Python's [Errno 13]."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    known = code_of(error) is not None
    return str(error) if known else f"{type(error).__name__}: {error}"
