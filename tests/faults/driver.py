"""Runs an `ml` command and kills it at one durable step: `python -m tests.faults.driver POINT -- ARGS...`.

POINT is ``before:store.intend`` or ``after:run.write_record:3`` (the third time), ``full:STEP`` (the disk is full
there) or ``none``.
Several points may be joined by commas. Prints nothing of its own.
"""

import errno
import os
import signal
import sys
from collections import Counter

from controller.entrypoints.cli.app import run
from controller.ports import durable


class Killer:
    """Counts how often each step was passed, and acts at the chosen points."""

    def __init__(self, points: list[str], trace: str) -> None:
        self._points = {self._parsed(point) for point in points if point != "none"}
        self._seen: Counter[tuple[str, str]] = Counter()
        self._trace = trace

    @staticmethod
    def _parsed(point: str) -> tuple[str, str, int]:
        phase, step, *count = point.split(":")
        return phase, step, int(count[0]) if count else 1

    def __call__(self, phase: str, step: str) -> None:
        """Called by controller.ports.durable around every step."""
        self._seen[phase, step] += 1
        count = self._seen[phase, step]
        if self._trace:
            with open(self._trace, "a") as file:  # noqa: PTH123  # a plain append, as cheap as can be
                file.write(f"{phase}:{step}:{count}\n")
        if (phase, step, count) in self._points:
            os.kill(os.getpid(), signal.SIGKILL)
        if phase == "before" and ("full", step, count) in self._points:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


if __name__ == "__main__":
    separator = sys.argv.index("--")
    durable.install_hook(Killer(sys.argv[1].split(","), os.environ.get("FAULT_TRACE", "")))
    run(sys.argv[separator + 1 :])
