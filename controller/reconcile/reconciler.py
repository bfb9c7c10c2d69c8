"""reconcile(key): make the world match the spec with this key, as far as it goes now, and say so in its status.

Promises: level-based (every call looks at everything again); any exception becomes a retry with backoff and a status that says
so; the final status is computed at one exit, whatever happened. Does not: schedule itself (loop.py does).
"""

import logging

from controller.api.status import ExperimentStatus
from controller.ports.source import Key, StatusWriteError
from controller.ports.store import FencedError
from controller.reconcile.context import Ports, Work
from controller.reconcile.outcome import Done, Outcome, Stalled, Waiting
from controller.reconcile.status import status_of
from controller.reconcile.steps import STEPS
from controller.reconcile.times import timestamp

log = logging.getLogger(__name__)

FIRST_BACKOFF = 1.0
MAX_BACKOFF = 300.0
STATUS_RETRY = 2.0


class Reconciler:
    """Reconciles keys of one source with one store and one runtime."""

    def __init__(self, ports: Ports) -> None:
        self.ports = ports
        self._failures: dict[Key, int] = {}

    def reconcile(self, key: Key) -> tuple[Outcome, ExperimentStatus | None]:
        """One pass over the key: its outcome, and the status (None when there is nothing to say).

        Raises:
            FencedError: another reconciler took over; stop.
        """
        work = Work(key)
        work.outcome = self._run_steps(work)
        if work.row is None or not (work.document or work.problems or work.clash or work.run):
            return work.outcome, None  # nothing there, not there for sure, or gone: the last status stays as it is
        status = status_of(work, timestamp(self.ports.clock.now()))
        return self._publish(work, status), status

    def _run_steps(self, work: Work) -> Outcome:
        try:
            for step in STEPS:
                outcome = step(self.ports, work)
                if outcome is not None:
                    self._failures.pop(work.key, None)
                    return outcome
        except FencedError:
            raise
        except Exception as error:  # one spec's trouble is its own: backoff, and say so
            return self._backoff(work, error)
        self._failures.pop(work.key, None)
        return Done()

    def _backoff(self, work: Work, error: Exception) -> Waiting:
        count = self._failures.get(work.key, 0)
        self._failures[work.key] = count + 1
        after = min(FIRST_BACKOFF * 2**count, MAX_BACKOFF)
        log.warning(
            "%s: %s: %s; again in %.0f s",
            work.key,
            type(error).__name__,
            error,
            after,
            exc_info=log.isEnabledFor(logging.DEBUG),
        )
        self.ports.events.emit(str(work.key), "Warning", "RetryAfterError", f"{type(error).__name__}: {error}")
        return Waiting(after, "RetryAfterError", f"{type(error).__name__}: {error}")

    def _publish(self, work: Work, status: ExperimentStatus) -> Outcome:
        """Store and write back; a write-back that fails is tried again and loses nothing, for the store has the status."""
        outcome = work.outcome or Done()
        body = status.as_dict()
        self.ports.store.save_status(work.key, body)
        if work.document is None:
            return outcome
        try:
            written = self.ports.source.write_status(work.document, body)
        except StatusWriteError as error:
            self.ports.events.emit(str(work.key), "Warning", "StatusNotWritten", str(error))
            return _sooner(outcome, Waiting(STATUS_RETRY * 5, "StatusNotWritten", str(error)))
        return outcome if written else _sooner(outcome, Waiting(0.05, "SpecMoved", "the spec changed meanwhile"))


def _sooner(outcome: Outcome, again: Waiting) -> Outcome:
    """The outcome, looked at again at the latest when `again` says."""
    if isinstance(outcome, Stalled | Done):
        return again
    return outcome if outcome.after <= again.after else again
