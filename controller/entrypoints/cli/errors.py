"""Exit codes, and errors that end a command with one of them.

Promises: the table of the design contract, in one place. Standard library only.
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
    """refused by preflight or policy"""
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
