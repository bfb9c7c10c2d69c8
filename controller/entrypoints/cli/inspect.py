"""`ml logs`, `ml cancel`, `ml info`: look at one run, or stop it.

Promises: a run is named by its id or by its experiment's name (then its newest run). Does not: show control characters
of a log on a terminal, or stop anything itself: `cancel` asks the reconciler.
"""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.completion import complete_names
from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import existing_store, reconciler_alive
from controller.entrypoints.cli.output import emit, examples, output_option, paint, report
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
    "info", epilog=examples("ml info digits", "ml info digits-softmax-abcd2345 -o json", "ml info specs/x.yaml")
)
@click.argument("what", shell_complete=complete_names)
@output_option
@click.pass_context
def info_command(ctx: click.Context, what: str, output: str) -> int:
    """Everything recorded about a run (by id, experiment or spec file): manifest, trust, events, files."""
    from controller.reconcile.files import run_files
    from controller.stores.sqlite_read import event_rows
    from controller.wiring import open_store

    place = existing_store(ctx, str(Path(what).parent) if Path(what).exists() else ".")
    store = open_store(place)
    run = find_run(place, store, _name_of(what, place))
    files = run_files(place.base, run.run_id)
    manifest = json.loads(files.manifest.read_bytes()) if files.manifest.exists() else None
    events = [*event_rows(place.store, subject=str(run.key)), *event_rows(place.store, subject=run.run_id)]
    value = report(
        "RunInfo",
        run=run.run_id,
        experiment=str(run.key),
        state=run.state,
        planSha256=run.plan_sha256,
        result=dict(run.result),
        manifest=manifest,
        folder=str(files.folder),
        events=sorted(events, key=lambda event: event["at"]),
    )
    emit(value, output, table=lambda wide: _info(value, wide=wide), names=lambda: [run.run_id])
    return Exit.OK


def _name_of(what: str, place: Place) -> str:
    from controller.entrypoints.cli.opening import load_experiment

    if not Path(what).is_file():
        return what
    document = load_experiment(Path(what), place.root)
    return f"{document.namespace}/{document.name}"


def _info(value: dict[str, Any], *, wide: bool) -> str:
    manifest, result = value["manifest"] or {}, value["result"]
    node = manifest.get("node", {})
    trust = result.get("trust", {})
    rows = [
        ("Run", value["run"]), ("Experiment", value["experiment"]), ("State", paint(value["state"].capitalize())),
        ("Because", f"{result['reason']}: {result.get('message', '')}" if result.get("reason") else ""),
        ("Plan", value["planSha256"]), ("Commit", manifest.get("commit_id", "")),
        ("Started", manifest.get("started_at", "")), ("Ended", manifest.get("ended_at", "")),
        ("Exit code", str(manifest.get("exit_code", ""))), ("Attempts", str(len(manifest.get("attempts", ())))),
        ("Node", ", ".join(node[part] for part in ("hostname", "os", "kernel") if node.get(part))),
        ("Sandbox", str(manifest.get("runtime", {}).get("sandbox", {}).get("launcher", ""))),
        ("Metrics", " ".join(f"{k}={v}" for k, v in result.get("metrics", {}).items())),
        ("Outputs", ", ".join(entry["path"] for entry in result.get("outputs", ()))),
        ("Trust", trust.get("level", "")), ("Files", value["folder"]),
    ]  # fmt: skip
    lines = [f"{name:<11} {text}" for name, text in rows if text]
    caps = trust.get("caps", ())
    shown = caps if wide else [cap for cap in caps if cap["level"] == trust.get("level")]
    lines += [f"  <= {cap['level']}  {cap['reason']}: {cap['message']}" for cap in shown]
    events = value["events"] if wide else value["events"][-8:]
    lines += (
        ["Events", *(f"  {e['at']}  {e['kind']:<7}  {e['reason']}: {e['message']}" for e in events)] if events else []
    )
    return "\n".join(lines)
