"""The registry of durable steps: every place where the program changes what survives it.

Promises: each durable step has one registered name, and code runs it inside ``with durable.step(NAME)``. The fault
harness enumerates STEPS and installs a hook that kills the process before or after a step; a step no test has killed
fails CI.
Does not: do anything in production beyond one function call.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

Hook = Callable[[Literal["before", "after"], str], None]

STEPS: dict[str, str] = {}
"""Name to what it makes durable."""

_hook: Hook | None = None


def register(name: str, what: str) -> str:
    """Register a durable step once, at import; returns the name.

    Raises:
        ValueError: the name is taken.
    """
    if name in STEPS:
        raise ValueError(f"durable step {name!r} is registered twice")
    STEPS[name] = what
    return name


def install_hook(hook: Hook | None) -> None:
    """Tests only: call `hook` before and after every step."""
    global _hook  # noqa: PLW0603  # one process, one hook
    _hook = hook


def step(name: str) -> AbstractContextManager[None]:
    """Run the body as the durable step `name`.

    Raises:
        LookupError: it is not registered.
    """
    if name not in STEPS:
        raise LookupError(f"durable step {name!r} is not registered")
    return _UNSEEN if _hook is None else _seen(name, _hook)


_UNSEEN = nullcontext()


@contextmanager
def _seen(name: str, hook: Hook) -> Iterator[None]:
    hook("before", name)
    yield
    hook("after", name)
