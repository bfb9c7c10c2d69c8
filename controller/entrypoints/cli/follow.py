"""What a person sees of a run while it goes on, and what its end means for the exit code.

Promises: `Fate` is a pure function of a status and its reason, but for counting errors in a row; a line is printed
when something changed. Does not: know who reconciles.
"""

from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from controller.entrypoints.cli.errors import Exit
from controller.entrypoints.cli.output import ProgressLine, paint, short_digest
from controller.entrypoints.cli.tail import LogTail
from controller.wiring import Place

MAX_ERRORS = 3
"""Errors of the reconciler in a row before following ends."""
_RESTING = ("Blocked", "Waiting", "Queued", "Pending")


def is_elsewhere(status: Mapping[str, Any]) -> bool:
    """Does it only repeat what the file says of a run that this store never made?"""
    ready: Mapping[str, str] = next((each for each in status.get("conditions", ()) if each["type"] == "Ready"), {})
    return ready.get("reason") == "FinishedElsewhere"


class Fate:
    """When following a spec ends, and with which exit code."""

    def __init__(self, *, patient: bool) -> None:
        self._patient = patient
        self._errors = 0

    def of(self, status: Mapping[str, Any], reason: str, *, failed: bool = False) -> Exit | None:
        """None: go on. `reason` is why the reconciler stopped where it did, `failed` whether that was an error.

        The status is empty when there is none, as after an error.
        """
        phase = status.get("phase", "")
        self._errors = self._errors + 1 if failed else 0
        if self._errors >= MAX_ERRORS:
            return Exit.ERROR
        if failed:
            return None
        if is_elsewhere(status):
            return Exit.REFUSED
        if phase in ("Succeeded", "Failed", "Cancelled"):
            return Exit.OK if phase == "Succeeded" else Exit.RUN_FAILED
        if phase == "Blocked":
            return Exit.INVALID if reason in ("InvalidSpec", "NameClash") else Exit.REFUSED
        if reason == "Suspended":
            return Exit.REFUSED
        if phase == "Waiting" and "run" not in status and not self._patient:
            return Exit.MUST_WAIT
        return None


class Reporter:
    """Prints status lines on stderr and the log on stdout."""

    def __init__(self, place: Place, progress: ProgressLine, *, logs: bool, finished: Container[str] = ()) -> None:
        self._place = place
        self._progress = progress
        self._logs = logs
        self._finished = finished
        self._said = ""
        self._status: Mapping[str, Any] = {}
        self.log = LogTail()
        self.fate: Exit | None = None

    @property
    def run_id(self) -> str:
        """The run that is followed; empty before one was launched."""
        return str(self._status.get("run", {}).get("id", ""))

    @property
    def elsewhere(self) -> bool:
        """Is all that is known of a run what the file says?"""
        return is_elsewhere(self._status)

    def gone(self) -> Exit:
        """The spec was removed, which cancels its run; what that means for the exit code."""
        self._progress.clear()
        what = f"{self.run_id} was cancelled" if self.run_id else "nothing was started"
        click.echo(f"the spec was removed: {what}", err=True)
        return Exit.RUN_FAILED if self.run_id else Exit.NOT_FOUND

    def show(self, status: Mapping[str, Any], reason: str, message: str, *, failed: bool = False) -> None:
        """A pass of the reconciler ended with this status (empty: none), or failed."""
        self._status = status or self._status
        self._say(status, reason, message, failed=failed)
        if self.run_id and self._logs:
            self.log.follow(self._place.base / "experiments" / self.run_id / "run.log")

    def finish(self) -> Exit:
        """Print the rest of the log and what became of the run; its exit code."""
        assert self.fate is not None  # noqa: S101  # only called once it is known
        self.log.show()
        if self._status.get("phase") in ("Succeeded", "Failed", "Cancelled"):
            for line in summary(self._place, self._status):
                click.echo(line, err=True)
        if self.elsewhere:
            click.echo("finished elsewhere, unverified: nothing was run, and nothing shows that it ever ran", err=True)
        if self.elsewhere or self.run_id in self._finished:
            why = "to run it here" if self.elsewhere else "this plan ran before; to run it again"
            click.echo(f"{why}, give the spec a new annotation:", err=True)
            click.echo('  metadata: {annotations: {fetchml.dev/rerun: "1"}}', err=True)
        return self.fate

    def _say(self, status: Mapping[str, Any], reason: str, message: str, *, failed: bool) -> None:
        phase, run = status.get("phase", "Failing" if failed else "Waiting"), status.get("run")
        line = f" {run['id']} attempt {run['attempt']}" if run else ""
        if reason and (failed or phase in _RESTING or reason == "StatusNotWritten"):
            line += f" {reason}: {message}"
        if phase + line != self._said:
            self._progress.clear()
            click.echo(paint(phase) + line, err=True)
            self._said = phase + line


def summary(place: Place, status: Mapping[str, Any]) -> Iterator[str]:
    """What a person wants to know when a run ended."""
    run: Mapping[str, Any] = status.get("run", {})
    conditions = {each["type"]: each for each in status.get("conditions", ())}
    for name in ("Failed", "ProvenanceRecorded"):
        each = conditions.get(name, {})
        if each.get("status") == ("True" if name == "Failed" else "False"):
            yield _row("because" if name == "Failed" else "no proof", f"{each['reason']}: {each.get('message', '')}")
    if run.get("exitCode") is not None:
        yield _row("exit code", str(run["exitCode"]))
    for name, value in status.get("metrics", {}).items():
        yield _row("metric", f"{name} = {value}")
    for entry in status.get("outputs", ()):
        yield _row("output", f"{entry['path']}  {short_digest(entry['sha256'])}")
    if "trustLevel" in status:
        yield _row("trust", status["trustLevel"])
        for cap in status.get("trustCaps", ()):
            yield _row("", f"<= {cap['level']}  {cap['reason']}: {cap['message']}")
    if run:
        yield _row("records", _shown(place.base / "experiments" / run["id"]))
        if status.get("provenance", {}).get("attestation"):
            yield _row("verify", f"ml verify {run['id']}")


def _row(name: str, text: str) -> str:
    return f"  {name:<10}  {text}"


def _shown(folder: Path) -> str:
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)
