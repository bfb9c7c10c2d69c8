"""`ml logs`, `ml cancel`, `ml info`: look at one run, or stop it.

Promises: a run is named by its id or by its experiment's name (then its newest run). Does not: show control characters
of a log on a terminal, or stop anything itself: `cancel` asks the reconciler.
"""

import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.completion import complete_names
from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import existing_store, reconciler_alive
from controller.entrypoints.cli.output import emit, examples, output_option, report
from controller.entrypoints.cli.tail import LogTail
from controller.wiring import Place

if TYPE_CHECKING:
    from controller.ports.store import RunRow, Store


def find_run(place: Place, store: "Store", what: str) -> "RunRow":
    """The run with this id, or the newest run of the experiment with this name (or namespace/name).

    Raises:
        CommandError: there is none (exit 5), with near names.
    """
    import difflib

    run = store.run(what)
    if run is not None:
        return run
    namespace, _, name = what.rpartition("/")
    runs = store.runs()
    mine = [row for row in runs if row.key.name == name and row.key.namespace == (namespace or "default")]
    found = store.run(mine[0].run_id) if mine else None
    if found is None:
        _say_if_known(store, namespace or "default", name)
        near = difflib.get_close_matches(what, [row.run_id for row in runs] + [row.key.name for row in runs], n=1)
        hint = f"; did you mean {near[0]}?" if near else "; `ml status` lists them"
        raise CommandError(f"no run or experiment {what!r} in {place.base}{hint}", Exit.NOT_FOUND)
    return found


def _say_if_known(store: "Store", namespace: str, name: str) -> None:
    """An experiment without a run is not a typing error."""
    from controller.ports.source import Key

    row = store.experiment(Key("Experiment", namespace, name))
    if row is not None:
        phase = (row.status or {}).get("phase", "Pending")
        raise CommandError(f"{row.key} has no run yet ({phase}); `ml explain {row.place}` says why", Exit.NOT_FOUND)


@click.command("logs", epilog=examples("ml logs digits", "ml logs -f digits-softmax-abcd2345"))
@click.argument("what", shell_complete=complete_names)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("--attempt", type=int, help="An earlier attempt.")
@click.pass_context
def logs_command(ctx: click.Context, what: str, follow: bool, attempt: int | None) -> int:
    """Print the log of a run (by id, or the newest of an experiment). Ctrl-C ends following, never the run."""
    from controller.reconcile.files import run_files
    from controller.wiring import open_store

    place = existing_store(ctx)
    store = open_store(place)
    run = find_run(place, store, what)
    files = run_files(place.base, run.run_id)
    newest = store.attempts(run.run_id)[-1].number
    path = files.log if attempt in (None, newest) else files.attempt(attempt or 0) / "run.log"
    if not path.exists() and not (follow and run.state == "active"):
        raise CommandError(f"{run.run_id} has no log{f' of attempt {attempt}' if attempt else ''} yet", Exit.NOT_FOUND)
    tail = LogTail()
    tail.follow(path)
    while follow and (current := store.run(run.run_id)) and current.state == "active":
        tail.show()
        time.sleep(0.1)
    tail.show()
    return Exit.OK


@click.command(
    "cancel",
    epilog=examples("ml cancel digits-softmax-abcd2345", "ml cancel digits && ml wait digits --for=Cancelled"),
)
@click.argument("what", shell_complete=complete_names)
@click.pass_context
def cancel_command(ctx: click.Context, what: str) -> int:
    """Ask the reconciler to stop a run: SIGTERM, the grace period, SIGKILL. Its record stays."""
    from controller.wiring import open_store

    place = existing_store(ctx)
    store = open_store(place)
    run = find_run(place, store, what)
    if not store.request_cancel(run.run_id):
        raise CommandError(f"{run.run_id} is over already ({run.state})", Exit.NOT_FOUND)
    click.echo(f"asked for {run.run_id} to be cancelled", err=True)
    if not reconciler_alive(place):
        click.echo("no reconciler is at work here; start one to carry it out: ml reconcile", err=True)
    return Exit.OK


@click.command(
    "info",
    epilog=examples(
        "ml info digits", "ml info digits-softmax-abcd2345 -o json", "ml info specs/x.yaml", "ml info run.tar"
    ),
)
@click.argument("what", shell_complete=complete_names)
@output_option
@click.pass_context
def info_command(ctx: click.Context, what: str, output: str) -> int:
    """Everything recorded about a run: by id, experiment, spec file, run folder or exported archive.

    What it says of a folder or archive is as recorded there; `ml verify` proves it.
    """
    elsewhere = _is_records(Path(what))
    value = _recorded(ctx, what) if elsewhere else _known(ctx, what)
    target = shlex.quote(what) if elsewhere else value["run"]
    emit(value, output, table=lambda wide: _text(value, target, wide=wide), names=lambda: [value["run"]])
    return Exit.OK


def _is_records(path: Path) -> bool:
    """An exported archive, or a run folder."""
    if path.is_dir():
        return (path / "run_manifest.json").is_file()
    return path.is_file() and path.suffix not in (".yaml", ".yml")


def _text(value: dict[str, Any], target: str, *, wide: bool) -> str:
    from controller.entrypoints.cli.info_text import info_text

    return info_text(value, target, wide=wide)


def _known(ctx: click.Context, what: str) -> dict[str, Any]:
    """What store and run folder know of a run of this repository."""
    from controller.entrypoints.cli.records import reproduction
    from controller.reconcile.files import read_json, run_files
    from controller.stores.sqlite_read import event_rows
    from controller.wiring import open_store

    place = existing_store(ctx, str(Path(what).parent) if Path(what).exists() else ".")
    run = find_run(place, open_store(place), _name_of(what, place))
    files = run_files(place.base, run.run_id)
    events = [*event_rows(place.store, subject=str(run.key)), *event_rows(place.store, subject=run.run_id)]
    return report(
        "RunInfo",
        run=run.run_id,
        experiment=str(run.key),
        state=run.state,
        planSha256=run.plan_sha256,
        result=dict(run.result),
        manifest=read_json(files.manifest),
        folder=str(files.folder),
        events=sorted(events, key=lambda event: event["at"]),
        reproduction=reproduction(read_json(files.folder / "reproduction" / "comparison.dsse.json")),
    )


STATES = {"running": "active", "completed": "succeeded"}
"""The manifest's words for a run's state that are not the store's."""


def _recorded(ctx: click.Context, path: str) -> dict[str, Any]:
    """The same from the records alone, wherever they came from."""
    from controller.entrypoints.cli.records import open_records, reproduction

    records = open_records(ctx, path)
    manifest = records.manifest()
    metrics = dict(manifest.metrics.last) if manifest.metrics else {}
    because = {"reason": manifest.failure_reason} if manifest.failure_reason else {}
    compared = records.find("reproduction/comparison.dsse.json")
    return report(
        "RunInfo",
        run=manifest.run_id,
        experiment=f"{manifest.namespace}/{manifest.experiment}",
        state=STATES.get(manifest.state, manifest.state),
        planSha256=manifest.plan_sha256,
        result={"metrics": metrics, "trust": records.verdict(), **because},
        manifest=manifest.model_dump(mode="json", exclude_none=True),
        folder=path,
        events=[],
        reproduction=reproduction(json.loads(compared) if compared else None),
    )


def _name_of(what: str, place: Place) -> str:
    from controller.entrypoints.cli.opening import load_experiment

    if not Path(what).is_file():
        return what
    document = load_experiment(Path(what), place.root)
    return f"{document.namespace}/{document.name}"
