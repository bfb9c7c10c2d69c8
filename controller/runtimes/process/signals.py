"""The few signal functions that the supervisor needs, without the signal module.

That module builds enumerations when it is imported, which costs as much as starting the interpreter does; this is the
built-in module beneath it (CPython).
"""

from _signal import (  # type: ignore[import-not-found]  # built in; no stub
    SIG_DFL,
    SIG_IGN,
    SIGHUP,
    SIGINT,
    SIGKILL,
    SIGSTOP,
    SIGTERM,
    pidfd_send_signal,
    signal,
    valid_signals,
)

__all__ = [
    "SIGHUP",
    "SIGINT",
    "SIGKILL",
    "SIGSTOP",
    "SIGTERM",
    "SIG_DFL",
    "SIG_IGN",
    "pidfd_send_signal",
    "signal",
    "valid_signals",
]
