"""`ml run` and `ml queue`: one spec.

Promises: `run` uses the reconciler's own loop on one key, shows the status and the log as they come, and exits with the run's fate;
Ctrl-C detaches and leaves the run alone. Does not: have a launch path of its own.
"""

import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.durations import seconds_of
from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import Opened, open_experiment
from controller.entrypoints.cli.output import ProgressLine, paint, short_digest
from controller.entrypoints.cli.tail import LogTail

if TYPE_CHECKING:
    from controller.api.status import ExperimentStatus
    from controller.ports.source import Key
    from controller.ports.store import Lease
    from controller.reconcile.outcome import Outcome


@click.command(
    "run", epilog="\b\nExamples:\n  ml run specs/digits.yaml\n  ml run specs/digits.yaml --timeout 10m --no-logs"
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
    """Reconcile one spec until its run ends. Ctrl-C detaches; the run goes on."""
    progress = ProgressLine()
    opened = open_experiment(ctx, path, name, progress)
    lease = _lease(opened, path)
    follower = Follower(opened, progress, logs=logs, patient=patient)
    try:
        return follower.follow(lease, path, seconds_of(timeout, "--timeout") if timeout else None)
    finally:
        opened.ports.store.set_fence(None)
        opened.ports.store.release(lease)
        opened.ports.store.close()


@click.command("queue", epilog="\b\nExample:\n  ml queue draft.yaml --specs specs")
@click.argument("path", type=click.Path())
@click.option("--name", help="Which experiment of a file with several.")
@click.option(
    "--specs",
    default="specs",
    show_default=True,
    help="Folder that the reconciler watches, relative to the repository.",
)
@click.pass_context
def queue_command(ctx: click.Context, path: str, name: str | None, specs: str) -> int:
    """Strict preflight, then put the spec where the reconciler finds it."""
    from controller.entrypoints.cli.explain import explain
    from controller.reconcile.files import write_atomic

    progress = ProgressLine()
    opened = open_experiment(ctx, path, name, progress)
    explained, evaluation, _ = explain(opened)
    progress.clear()
    for rule in explained["preflight"]["rules"]:
        if rule["verdict"] != "Pass":
            click.echo(
                f"{rule['file']}:{rule['line'] or 1}:{rule['column'] or 1}: {rule['reason']}: {rule['message']}; {rule['fix']}",
                err=True,
            )
    if str(evaluation.preflight.verdict) == "Refuse":
        return Exit.REFUSED
    target = opened.place.root / specs / Path(path).name
    if target.resolve() != Path(path).resolve():
        if target.exists():
            raise CommandError(f"{target} exists already; edit it there, or rename {path}", Exit.NOT_ALLOWED)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, Path(path).read_bytes())
    click.echo(f"queued {opened.key} at {target.relative_to(opened.place.root)}; `ml reconcile {specs}` runs it")
    return Exit.MUST_WAIT if str(evaluation.preflight.verdict) == "Wait" else Exit.OK


def _lease(opened: Opened, path: str) -> "Lease":
    """The right to reconcile; wait while another reconciler has it."""
    from controller.reconcile.loop import LEASE_NAME, LEASE_SECONDS
    from controller.wiring import holder

    store, said = opened.ports.store, False
    while True:
        lease = store.acquire(LEASE_NAME, f"{holder()} (ml run {path})", LEASE_SECONDS)
        if lease is not None:
            return lease
        if not said:
            from controller.stores.sqlite_read import lease_row

            row = lease_row(opened.place.store, LEASE_NAME)
            click.echo(f"waiting: another reconciler holds this store: {row.holder if row else 'unknown'}", err=True)
            said = True
        time.sleep(0.3)


MAX_ERRORS = 3
"""Errors of the reconciler in a row before `ml run` gives up following."""


class Follower:
    """Runs the loop for one key and shows what happens."""

    def __init__(self, opened: Opened, progress: ProgressLine, *, logs: bool, patient: bool) -> None:
        self._opened = opened
        self._progress = progress
        self._logs = logs
        self._patient = patient
        self._said = ""
        self._log = LogTail()
        self._ended = threading.Event()
        self._errors = 0
        self.code: int = Exit.ERROR

    def follow(self, lease: "Lease", path: str, timeout: float | None) -> int:
        """Until the run ended, or must wait, or was refused, or Ctrl-C, or the timeout."""
        from controller.reconcile.loop import Loop
        from controller.reconcile.reconciler import Reconciler
        from controller.wiring import holder

        key = self._opened.key
        loop = Loop(
            Reconciler(self._opened.ports),
            f"{holder()} (ml run {path})",
            only=frozenset({key}),
            workers=1,
            listener=self.seen,
        )
        thread = threading.Thread(target=self._guard, args=(loop.run, lease), daemon=True)
        thread.start()
        interrupted = self._wait(timeout)
        loop.stop()
        thread.join(timeout=10)
        self._log.show()
        if interrupted:
            click.echo(f"detached; the run goes on. Follow it again: ml run {path}", err=True)
        return self.code

    def _guard(self, function: Any, lease: "Lease") -> None:
        try:
            function(lease)
        except Exception as error:  # noqa: BLE001  # shown by the main thread's exit code
            click.echo(f"ml: {error}", err=True)
            self._ended.set()

    def _wait(self, timeout: float | None) -> bool:
        """True when the user interrupted."""
        end = time.monotonic() + timeout if timeout is not None else None
        interrupted = threading.Event()
        signal.signal(signal.SIGINT, lambda *_: interrupted.set())
        signal.signal(signal.SIGTERM, lambda *_: interrupted.set())
        while not self._ended.wait(0.05):
            self._log.show()
            if interrupted.is_set():
                self.code = 130
                return True
            if end is not None and time.monotonic() > end:
                self.code = Exit.TIMED_OUT
                click.echo("timed out; the run goes on", err=True)
                return False
        return False

    def seen(self, _key: "Key", outcome: "Outcome", status: "ExperimentStatus | None") -> None:
        """One pass of the reconciler ended."""
        from controller.reconcile.outcome import Stalled, Waiting

        if status is None:
            return
        self._say(status, outcome)
        if status.run and self._logs:
            self._log.follow(self._opened.place.base / "experiments" / status.run.id / "run.log")
        if status.phase in ("Succeeded", "Failed", "Cancelled"):
            self._finish(status)
        elif isinstance(outcome, Stalled):
            self.code = Exit.INVALID if outcome.reason in ("InvalidSpec", "NameClash") else Exit.REFUSED
            self._ended.set()
        elif (
            isinstance(outcome, Waiting)
            and status.run is None
            and not self._patient
            and outcome.reason != "WaitingForCapacity"
        ):
            self.code = Exit.MUST_WAIT
            self._ended.set()

    def _say(self, status: "ExperimentStatus", outcome: "Outcome") -> None:
        message = getattr(outcome, "message", "") or next(
            (c.message for c in status.conditions if c.type == "Ready"), ""
        )
        reason = getattr(outcome, "reason", "")
        line = f"{status.phase}" + (f" {status.run.id} attempt {status.run.attempt}" if status.run else "")
        if status.phase in ("Blocked", "Waiting", "Queued", "Pending"):
            line += f" {reason}: {message}"
        if line != self._said:
            self._progress.clear()
            click.echo(f"{paint(str(status.phase))}{line[len(status.phase) :]}", err=True)
            self._said = line

    def _finish(self, status: "ExperimentStatus") -> None:
        self._log.show()
        self.code = Exit.OK if status.phase == "Succeeded" else Exit.RUN_FAILED
        for line in summary(self._opened, status):
            click.echo(line, err=True)
        self._ended.set()


def summary(opened: Opened, status: "ExperimentStatus") -> list[str]:
    """What a person wants to know when a run ended."""
    run = status.run
    failed = next((c for c in status.conditions if c.type == "Failed"), None)
    lines = [f"  because     {failed.reason}: {failed.message}"] if failed else []
    if run and run.exit_code is not None:
        lines.append(f"  exit code   {run.exit_code}")
    lines += [f"  metric      {name} = {value}" for name, value in status.metrics.items()]
    lines += [f"  output      {entry['path']}  {short_digest(entry['sha256'])}" for entry in status.outputs]
    if status.trust_level:
        lines.append(f"  trust       {status.trust_level}")
        lines += [
            f"              <= {cap.level}  {cap.reason}: {cap.message}"
            for cap in status.trust_caps
            if cap.level == status.trust_level
        ]
    if run:
        folder = opened.place.base / "experiments" / run.id
        lines.append(f"  records     {_shown(folder)}")
        if status.provenance and status.provenance.attestation:
            lines.append(f"  verify      ml verify {run.id}")
    return lines


def _shown(folder: Path) -> str:
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)
