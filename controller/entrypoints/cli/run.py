"""`ml run`: one spec until its run ends.

Promises: the reconciler's own loop on one key, or, while another reconciler is at work on this store, a look at what
that one does; status and log as they come; the exit code is the run's fate; Ctrl-C detaches and leaves the run alone.
Does not: have a launch path of its own.
"""

import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.durations import seconds_of
from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.explain import Explained, explain
from controller.entrypoints.cli.follow import Fate, Reporter
from controller.entrypoints.cli.opening import Opened, open_experiment
from controller.entrypoints.cli.output import ProgressLine, examples
from controller.entrypoints.cli.queue import objection

if TYPE_CHECKING:
    from controller.ports.store import Lease
    from controller.reconcile.loop import Loop
    from controller.reconcile.outcome import Outcome
    from controller.sources.writers import FolderLease

POLL = 0.2
"""Seconds between looks at a store that another reconciler writes."""


@click.command(
    "run",
    epilog=examples(
        "ml run specs/digits.yaml",
        "ml run specs/digits.yaml --timeout 10m --no-logs",
        "ml run sweep.yaml --name digits-3",
    ),
)
@click.argument("path", type=click.Path())
@click.option("--name", help="Which experiment of a file with several.")
@click.option("--logs/--no-logs", default=True, help="Show the run's log as it grows.")
@click.option("--timeout", help="Give up following after this long, such as 10m (the run goes on; exit 124).")
@click.option(
    "--wait/--no-wait", "patient", default=False, help="Wait where the verdict is Wait, instead of exiting 8."
)
@click.pass_context
def run_command(ctx: click.Context, path: str, name: str | None, logs: bool, timeout: str | None, patient: bool) -> int:
    """Reconcile one spec until its run ends; the exit code is the run's fate. Ctrl-C detaches; the run goes on."""
    limit = seconds_of(timeout, "--timeout") if timeout else None
    with ProgressLine() as progress, Patience(limit) as patience:
        opened = open_experiment(ctx, path, name, progress, launches=True)
        reporter = Reporter(opened.place, progress, logs=logs, finished=_finished(opened))
        try:
            lease = _lease(opened, path)
            if lease is None:
                lease = Elsewhere(opened, reporter, patient=patient).follow(path, patience)
            if lease is not None:
                _reconcile(opened, lease, reporter, path, patience, patient=patient)
        finally:
            opened.ports.store.close()
    return _end(reporter, patience, path)


def _finished(opened: Opened) -> frozenset[str]:
    """Runs of this experiment that were over before we came."""
    row = opened.ports.store.experiment(opened.key)
    return frozenset(run.run_id for run in opened.ports.store.runs(uid=row.uid, active=False)) if row else frozenset()


def _end(reporter: "Reporter", patience: "Patience", path: str) -> int:
    if reporter.fate is not None:
        fate = reporter.finish()
        if fate in (Exit.REFUSED, Exit.MUST_WAIT) and not reporter.elsewhere:
            click.echo(f"what to do, with the line: ml explain {path}", err=True)
        return fate
    goes_on = "the run goes on; follow it again" if reporter.run_id else "nothing was started; try again"
    if patience.interrupted:
        click.echo(f"detached: {goes_on}: ml run {path}", err=True)
        return 128 + patience.interrupted
    if patience.over:
        click.echo(f"timed out: {goes_on}: ml run {path}", err=True)
        return Exit.TIMED_OUT
    return Exit.ERROR


class Patience:
    """How long to go on: until SIGINT, SIGTERM or the time limit."""

    def __init__(self, limit: float | None) -> None:
        self._end = time.monotonic() + limit if limit is not None else None
        self.interrupted = 0
        """The signal's number."""

    def __enter__(self) -> "Patience":
        self._before = [(number, signal.signal(number, self._stop)) for number in (signal.SIGINT, signal.SIGTERM)]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)

    def _stop(self, number: int, _frame: object) -> None:
        if self.interrupted:
            raise KeyboardInterrupt  # asked twice: at once
        self.interrupted = number

    @property
    def timed_out(self) -> bool:
        """Is the time limit reached?"""
        return self._end is not None and time.monotonic() >= self._end

    @property
    def over(self) -> bool:
        """Stop now?"""
        return bool(self.interrupted) or self.timed_out


def _lease(opened: Opened, path: str) -> "Lease | None":
    """The right to reconcile; None while another reconciler has it."""
    from controller.wiring import claim_lease

    return claim_lease(opened.ports.store, opened.place, _holder(path))


def _hold(opened: Opened, lease: "Lease", path: str) -> "FolderLease":
    """The right to write status beside the spec; without it the store is given back.

    Raises:
        CommandError: a reconciler with another store has it.
    """
    from controller.wiring import FolderHeldError, hold_folder

    try:
        return hold_folder(Path(path).parent)
    except FolderHeldError as error:
        opened.ports.store.release(lease)
        raise CommandError(str(error), Exit.NOT_ALLOWED) from error


def _holder(path: str) -> str:
    from controller.wiring import holder

    return f"{holder()} (ml run {path})"


def _reconcile(
    opened: Opened, lease: "Lease", reporter: Reporter, path: str, patience: Patience, *, patient: bool
) -> None:
    """Run the loop for one key, in a thread, until the reporter knows the fate or the patience ends."""
    from controller.reconcile.loop import Loop
    from controller.reconcile.outcome import Done
    from controller.reconcile.reconciler import Reconciler

    fate = Fate(patient=patient)
    ended = threading.Event()
    held = _hold(opened, lease, path)

    def seen(_key: object, outcome: "Outcome", status: Any) -> None:
        if ended.is_set():
            return
        if status is None and isinstance(outcome, Done):
            reporter.fate = reporter.gone()
        else:
            value = status.as_dict() if status is not None else {}
            reason, failed = getattr(outcome, "reason", ""), getattr(outcome, "failed", False)
            reporter.show(value, reason, getattr(outcome, "message", ""), failed=failed)
            reporter.fate = fate.of(value, reason, failed=failed)
        if reporter.fate is not None:
            ended.set()

    reconciler = Reconciler(opened.ports)
    loop = Loop(reconciler, _holder(path), only=frozenset({opened.key}), workers=1, listener=seen)
    failure: list[Exception] = []
    thread = threading.Thread(target=_guard, args=(loop, lease, failure, ended), daemon=True)
    thread.start()
    try:
        while not ended.wait(0.05) and not patience.over:
            reporter.log.show()
    finally:
        loop.stop()
        thread.join(timeout=10)
        opened.ports.store.set_fence(None)
        held.release()  # before the store, or the next on this store would find the folder taken
        opened.ports.store.release(lease)
    if failure:
        raise failure[0]


def _guard(loop: "Loop", lease: "Lease", failure: list[Exception], ended: threading.Event) -> None:
    try:
        loop.run(lease)
    except Exception as error:  # noqa: BLE001  # raised again in the main thread
        failure.append(error)
    finally:
        ended.set()


class Elsewhere:
    """Follows a run that another reconciler of this store takes care of."""

    def __init__(self, opened: Opened, reporter: Reporter, *, patient: bool) -> None:
        self._opened = opened
        self._reporter = reporter
        self._patient = patient

    def follow(self, path: str, patience: Patience) -> "Lease | None":
        """Until the run ended there (None), or that reconciler is gone and this one may act (the lease)."""
        found = explain(self._opened)
        click.echo(f"another reconciler is at work here: {_who(self._opened)}; following what it does", err=True)
        if found.code is Exit.REFUSED or (found.code is Exit.MUST_WAIT and not self._patient):
            for rule in found.value["preflight"]["rules"]:
                if rule["verdict"] != "Pass":
                    click.echo(objection(rule), err=True)
            self._reporter.fate = found.code
            return None
        while not patience.over:
            lease = _lease(self._opened, path)
            if lease is not None or self._look(found):
                return lease
            self._reporter.log.show()
            time.sleep(POLL)
        return None

    def _look(self, found: Explained) -> bool:
        """Show what the store says of this very plan; True when it ended."""
        row = self._opened.ports.store.experiment(self._opened.key)
        status: Mapping[str, Any] = (row.status if row else None) or {}
        if status.get("planSha256") != found.evaluation.plan.sha256:
            return False
        self._reporter.show(status, *_ready(status))
        if status["phase"] in TERMINAL:
            self._reporter.fate = Fate(patient=True).of(status, _ready(status)[0])
        return self._reporter.fate is not None


TERMINAL = ("Succeeded", "Failed", "Cancelled")


def _ready(status: Mapping[str, Any]) -> tuple[str, str]:
    ready: Mapping[str, str] = next((each for each in status.get("conditions", ()) if each["type"] == "Ready"), {})
    return ready.get("reason", ""), ready.get("message", "")


def _who(opened: Opened) -> str:
    from controller.reconcile.loop import LEASE_NAME
    from controller.stores.sqlite_read import lease_row

    row = lease_row(opened.place.store, LEASE_NAME)
    return row.holder if row else "unknown"
