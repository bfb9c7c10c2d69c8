"""What a step or a whole reconcile ends with.

Promises: three values and nothing else; any other exception means "try again with backoff".
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing more to do for now."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Look again after so many seconds; the world may have changed by then."""

    after: float
    reason: str
    message: str = ""
    world: bool = False
    """Nothing of ours will end the wait, only the world: looked at again ever more rarely."""
    failed: bool = False
    """An error is the reason; `after` is a backoff."""


@dataclass(frozen=True, slots=True)
class Stalled:
    """Nothing will happen until somebody changes something (looked at again rarely, in case they did)."""

    reason: str
    message: str = ""


Outcome = Done | Waiting | Stalled
