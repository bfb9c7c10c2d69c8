"""reconcile(key): make the world match the spec with this key, as far as it goes now, and say so in its status.

Promises: level-based (every call looks at everything again); any exception becomes a retry with backoff and a status
that says so; the final status is computed at one exit, whatever happened. Does not: schedule itself (loop.py does).
"""

import logging
from collections.abc import Callable

from controller.api.base import build_models
from controller.api.status import ExperimentStatus
from controller.ports.source import Key, StatusWriteError
from controller.ports.store import FINAL, StoreError
from controller.reconcile.context import Ports, Work
from controller.reconcile.outcome import Done, Outcome, Stalled, Waiting
from controller.reconcile.status import status_of
from controller.reconcile.steps import STEPS
from controller.reconcile.times import timestamp

log = logging.getLogger(__name__)

FIRST_BACKOFF = 1.0
MAX_BACKOFF = 300.0
MAX_HOST_BACKOFF = 15.0
"""Seconds; the latter for errors of the host (disk full, store locked), which end without any change to the spec."""
STATUS_RETRY = 2.0


class Reconciler:
    """Reconciles keys of one source with one store and one runtime."""

    def __init__(self, ports: Ports) -> None:
        build_models()  # before there are threads
        self.ports = ports
        self._failures: dict[Key, int] = {}

    def reconcile(self, key: Key) -> tuple[Outcome, ExperimentStatus | None]:
        """One pass over the key: its outcome, and the status (None when there is nothing to say).

        Raises:
            FencedError, StoreReplacedError: another reconciler took over, or the store is gone; stop.
        """
        work = Work(key)
        work.outcome = self._tried(work, self._run_steps)
        if work.row is None or not (work.document or work.problems or work.clash or work.run):
            return work.outcome, None  # nothing there, not there for sure, or gone: the last status stays as it is
        outcome = self._tried(work, self._publish)
        if not work.failed:
            self._failures.pop(key, None)
        return outcome, work.status

    def _tried(self, work: Work, function: Callable[[Work], Outcome]) -> Outcome:
        """One spec's trouble is its own: backoff, and say so."""
        try:
            return function(work)
        except FINAL:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, the neighbours go on
            return work.outcome if work.failed and work.outcome else self._backoff(work, error)

    def _run_steps(self, work: Work) -> Outcome:
        for step in STEPS:
            outcome = step(self.ports, work)
            if outcome is not None:
                return outcome
        return Done()

    def _backoff(self, work: Work, error: Exception) -> Waiting:
        work.failed = True
        count = self._failures.get(work.key, 0)
        self._failures[work.key] = count + 1
        of_host = isinstance(error, OSError | StoreError)
        after = min(FIRST_BACKOFF * 2 ** min(count, 16), MAX_HOST_BACKOFF if of_host else MAX_BACKOFF)
        reason = error.reason if isinstance(error, StoreError) else "RetryAfterError"
        message = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
        log.warning(
            "%s: %s: %s; again in %.0f s", work.key, reason, message, after, exc_info=log.isEnabledFor(logging.DEBUG)
        )
        self.ports.events.emit(str(work.key), "Warning", reason, message)
        return Waiting(after, reason, message, failed=True)

    def _publish(self, work: Work) -> Outcome:
        """Store and write back; a write-back that fails is tried again and loses nothing: the store has the status."""
        outcome = work.outcome or Done()
        work.status = status_of(work, timestamp(self.ports.clock.now()))
        body = work.status.as_dict()
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
