"""`ml reconcile`: watch a folder of specs, reconcile, write back.

Promises: one line per change of status on stderr, plain without a terminal. Does not: daemonise (systemd does).
"""

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import settings_of
from controller.entrypoints.cli.output import examples, paint
from controller.wiring import place_of

if TYPE_CHECKING:
    from controller.api.status import ExperimentStatus
    from controller.ports.source import Change, Key
    from controller.reconcile.loop import Loop
    from controller.reconcile.outcome import Outcome


@click.command(
    "reconcile",
    epilog=examples(
        "ml reconcile                 watch specs/",
        "ml reconcile specs --once    work off what is there, then stop",
        "ml reconcile specs --prune   many specs were removed on purpose",
    ),
)
@click.argument("folder", type=click.Path(), default="specs")
@click.option("--prune", is_flag=True, help="Specs that are gone are really meant to be gone, however many.")
@click.option("--once", is_flag=True, help="Stop as soon as nothing runs or waits for room.")
@click.option("-v", "--verbose", is_flag=True, help="Log every pass.")
@click.pass_context
def reconcile_command(ctx: click.Context, folder: str, prune: bool, once: bool, verbose: bool) -> int:
    """Watch a folder of specs and make the world match it, until Ctrl-C. Runs go on without it."""
    from controller.entrypoints.watcher import HeldElsewhereError, watch_folder

    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(message)s")
    if Path(folder).is_file():
        raise CommandError(f"{folder} is a file; one spec is for: ml run {folder}", Exit.USAGE)
    if not Path(folder).is_dir():
        raise CommandError(f"{folder}: there is no such folder; make one with `ml init`", Exit.NOT_FOUND)
    settings = settings_of(ctx)
    place = place_of(Path(folder), settings)
    teller = Teller()

    def ready(loop: "Loop") -> None:
        click.echo(f"watching {folder} (records in {place.base}); Ctrl-C stops watching, runs go on", err=True)
        if once:
            teller.stop_when_quiet(loop)

    try:
        watch_folder(
            place,
            settings,
            Path(folder),
            prune=prune,
            listener=teller.seen,
            on_change=teller.changed,
            ready=ready,
        )
    except HeldElsewhereError as error:
        raise CommandError(str(error), Exit.NOT_ALLOWED) from error
    click.echo("stopped; runs go on, and the next `ml reconcile` takes them up again", err=True)
    return Exit.OK


class Teller:
    """Says what changed, once."""

    def __init__(self) -> None:
        self._said: dict[object, str] = {}
        self._lock = threading.Lock()

    def seen(self, key: "Key", outcome: "Outcome", status: "ExperimentStatus | None") -> None:
        """One pass ended."""
        reason = getattr(outcome, "reason", "")
        message = getattr(outcome, "message", "")
        if status is None:  # gone, or nothing of it could be recorded yet
            return self._say(key, f"{key}  {reason}: {message}" if reason else f"{key}  gone")
        quiet = status.phase in ("Running", "Launching", "Succeeded") or not reason
        rest = "" if quiet else f"  {reason}: {message}"
        run = f"  {status.run.id}" if status.run else ""
        level = f"  {status.trust_level}" if status.trust_level else ""
        return self._say(key, f"{key}  {paint(str(status.phase))}{run}{level}{rest}")

    def changed(self, change: "Change") -> None:
        """Invalid files and withheld deletions."""
        for file, problems in change.invalid.items():
            self._say(file, "\n".join(str(problem) for problem in problems))
        for file in [said for said in self._said if isinstance(said, str) and said not in change.invalid and said]:
            del self._said[file]
        if change.stalled:
            self._say("", f"{change.stalled}: {change.message}")
        else:
            self._said.pop("", None)

    def stop_when_quiet(self, loop: "Loop") -> None:
        """For --once: end the loop when nothing runs, waits or is planned soon."""
        threading.Thread(target=loop.stop_when_settled, daemon=True).start()

    def _say(self, subject: object, text: str) -> None:
        with self._lock:
            if self._said.get(subject) != text:
                self._said[subject] = text
                click.echo(text, err=True)
