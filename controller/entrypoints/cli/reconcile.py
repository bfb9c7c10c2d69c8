"""`ml reconcile`: watch a folder of specs or a branch of a git repository, reconcile, write back.

Promises: one line per change of status on stderr, plain without a terminal. Does not: daemonise (systemd does).
"""

import logging
import posixpath
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import settings_of
from controller.entrypoints.cli.output import examples, paint
from controller.wiring import place_of

if TYPE_CHECKING:
    from controller.api.status import ExperimentStatus
    from controller.entrypoints.watcher import Telling
    from controller.entrypoints.webhook import Webhook
    from controller.ports.source import Change, Key
    from controller.reconcile.loop import Loop
    from controller.reconcile.outcome import Outcome
    from controller.settings import Settings
    from controller.wiring import Place


@click.command(
    "reconcile",
    epilog=examples(
        "ml reconcile                 watch specs/",
        "ml reconcile specs --once    work off what is there, then stop",
        "ml reconcile specs --prune   many specs were removed on purpose",
        "ml reconcile /srv/lab.git --path specs",
        "ml reconcile https://git.example.org/lab.git --branch main --status-branch status",
        "ml reconcile ssh://git@git.example.org/lab.git --webhook 127.0.0.1:8765 --webhook-secret-file hook.secret",
    ),
)
@click.argument("what", metavar="[FOLDER|REPO]", type=click.Path(), default="specs")
@click.option("--prune", is_flag=True, help="Specs that are gone are really meant to be gone, however many.")
@click.option("--once", is_flag=True, help="Stop as soon as nothing runs or waits for room.")
@click.option("--branch", default="main", show_default=True, help="REPO: the branch that holds the specs.")
@click.option("--path", "below", default="specs", show_default=True, help="REPO: folder of the specs; . for all.")
@click.option("--status-branch", default="", help="REPO: commit statuses to this branch instead of into the specs.")
@click.option("--webhook", metavar="[HOST:]PORT", help="REPO: listen there for signed news of a push (127.0.0.1).")
@click.option("--webhook-secret-file", metavar="FILE", type=click.Path(), help="REPO: the secret that signs the news.")
@click.option("-v", "--verbose", is_flag=True, help="Log every pass.")
@click.pass_context
def reconcile_command(ctx: click.Context, /, what: str, prune: bool, once: bool, verbose: bool, **git: str) -> int:
    """Watch a folder of specs, or a branch of a git repository, and make the world match it, until Ctrl-C.

    Runs go on without it. REPO is a bare repository on this host, or an https:// or ssh:// address; statuses come back
    as commits.
    """
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(message)s")
    from controller.entrypoints.watcher import HeldElsewhereError, Telling
    from controller.inputs.addresses import is_bare, looks_remote

    teller = Teller()

    def ready(loop: "Loop") -> None:
        click.echo(f"watching {what} (records in {place.base}); Ctrl-C stops watching, runs go on", err=True)
        if once:
            teller.stop_when_quiet(loop)

    telling = Telling(teller.seen, teller.changed, ready)
    settings = settings_of(ctx)
    remote = looks_remote(what) or is_bare(Path(what))
    place = place_of(Path() if remote else _checked_folder(ctx, what), settings)
    try:
        if remote:
            _watch_branch(place, settings, what, prune, telling, git)
        else:
            from controller.entrypoints.watcher import watch_folder

            watch_folder(place, settings, Path(what), prune=prune, telling=telling)
    except HeldElsewhereError as error:
        raise CommandError(str(error), Exit.NOT_ALLOWED) from error
    click.echo("stopped; runs go on, and the next `ml reconcile` takes them up again", err=True)
    return Exit.OK


_GIT_OPTIONS = ("branch", "below", "status_branch", "webhook", "webhook_secret_file")


def _checked_folder(ctx: click.Context, folder: str) -> Path:
    if Path(folder).is_file():
        raise CommandError(f"{folder} is a file; one spec is for: ml run {folder}", Exit.USAGE)
    if not Path(folder).is_dir():
        raise CommandError(f"{folder}: there is no such folder; make one with `ml init`", Exit.NOT_FOUND)
    given = [name for name in _GIT_OPTIONS if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if given:
        option = "--path" if given[0] == "below" else "--" + given[0].replace("_", "-")
        message = f"{option} is for a git repository, and {folder} is a folder; name a bare repository or an address"
        raise CommandError(message, Exit.USAGE)
    return Path(folder)


def _watch_branch(
    place: "Place", settings: "Settings", address: str, prune: bool, telling: "Telling", git: "Mapping[str, str]"
) -> None:
    from controller.entrypoints.watcher import watch_branch
    from controller.inputs.addresses import checked_branch
    from controller.ports.repository import RepositoryTroubleError
    from controller.sources.git import Branches

    try:
        branch = checked_branch(git["branch"])
        status = checked_branch(git["status_branch"]) if git["status_branch"] else ""
        branches = Branches(branch, _checked_below(git["below"]), status, settings.git_poll_seconds)
        serve = _webhook(git["webhook"], git["webhook_secret_file"])
        watch_branch(place, settings, address, branches, prune=prune, telling=telling, serve=serve)
    except RepositoryTroubleError as error:
        raise CommandError(f"{error.reason}: {error}", Exit.ERROR) from error


def _checked_below(path: str) -> str:
    clean = posixpath.normpath(path)
    if clean.startswith(("/", "..")) or not clean.isprintable():
        raise CommandError(f"--path {path!r} is no folder of the repository; write specs, or . for all", Exit.USAGE)
    return clean


def _webhook(address: str | None, secret_file: str | None) -> "Callable[[Callable[[], None]], Webhook]":
    if bool(address) != bool(secret_file):
        raise CommandError("--webhook and --webhook-secret-file belong together: unsigned news is refused", Exit.USAGE)
    if not address or not secret_file:
        return lambda _ring: nullcontext()  # type: ignore[return-value]  # a context manager is all that is needed
    from controller.entrypoints.webhook import Webhook, listening_at, read_secret

    try:
        host, port, secret = *listening_at(address), read_secret(Path(secret_file))
    except (OSError, ValueError) as error:
        raise CommandError(f"--webhook: {error}", Exit.USAGE) from error
    return lambda ring: Webhook(host, port, secret, ring)


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
