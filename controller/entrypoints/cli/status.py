"""`ml status`, `ml watch`, `ml wait`: what the store says, read without opening it for writing.

Promises: `ml status` imports neither pydantic nor sqlite-utils. Does not: look at the specs or at what runs; a status
is as old as the reconciler's last pass, and on a terminal it is said when none is there to make one.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from controller.entrypoints.cli.completion import complete_names
from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import existing_store, reconciler_alive
from controller.entrypoints.cli.output import (
    age,
    columns,
    emit,
    examples,
    is_plain,
    output_option,
    paint,
    report,
    short_digest,
)
from controller.wiring import Place

PHASES = ("Pending", "Blocked", "Waiting", "Queued", "Launching", "Running", "Succeeded", "Failed", "Cancelled")
_TERMINAL = ("Succeeded", "Failed", "Cancelled")
_MOVING = ("Pending", "Waiting", "Queued", "Launching", "Running")


@click.command("status", epilog=examples("ml status", "ml status digits -o yaml", "ml status --watch -o json"))
@click.argument("name", required=False, shell_complete=complete_names)
@click.option("-n", "--namespace", help="Only this namespace.")
@click.option("-w", "--watch", is_flag=True, help="Print again whenever something changed.")
@output_option
@click.pass_context
def status_command(ctx: click.Context, name: str | None, namespace: str | None, watch: bool, output: str) -> int:
    """Every experiment that the store knows, or one, with its phase, trust level and reason."""
    place = existing_store(ctx)
    found = report_of(place, name, namespace)
    if name and not found["items"]:
        raise CommandError(_unknown(place, name), Exit.NOT_FOUND)
    if watch:
        return _follow(lambda: report_of(place, name, namespace), output)
    _print(found, output)
    if output in ("table", "wide") and any(item["phase"] in _MOVING for item in found["items"]):
        _say_if_nobody_is_at_work(place)
    return Exit.OK


@click.command("watch", epilog=examples("ml watch digits"))
@click.argument("name", required=False, shell_complete=complete_names)
@click.option("-n", "--namespace", help="Only this namespace.")
@output_option
@click.pass_context
def watch_command(ctx: click.Context, name: str | None, namespace: str | None, output: str) -> int:
    """The same as `ml status --watch`: until Ctrl-C."""
    place = existing_store(ctx)
    return _follow(lambda: report_of(place, name, namespace), output)


@click.command("wait", epilog=examples("ml wait digits", "ml wait digits --for=Running --timeout 5m"))
@click.argument("name", shell_complete=complete_names)
@click.option("--for", "phase", default="Succeeded", show_default=True, type=click.Choice(PHASES, case_sensitive=False))
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("--timeout", default="0s", help="Exit 124 after this long, such as 5m; 0s waits for ever.")
@click.pass_context
def wait_command(ctx: click.Context, name: str, phase: str, namespace: str, timeout: str) -> int:
    """Wait until an experiment reaches a phase (or is past it). Exit 7 when the run failed instead, 4 when it
    finished elsewhere (unverified), 124 on timeout."""
    from controller.entrypoints.cli.durations import seconds_of

    place = existing_store(ctx)
    limit = seconds_of(timeout, "--timeout")
    end = time.monotonic() + limit if limit else None
    said = ""
    while True:
        items = report_of(place, name, namespace)["items"]
        if not items:
            raise CommandError(
                f"{_unknown(place, name)}. It is known once `ml run` or `ml reconcile` saw it", Exit.NOT_FOUND
            )
        item = items[0]
        fate = _waited(item, phase)
        if fate is not None:
            if fate is Exit.OK:
                click.echo(f"{namespace}/{name} {item['phase']}")
                return fate
            what = "says" if fate is Exit.REFUSED else "ended as"
            raise CommandError(f"{namespace}/{name} {what} {item['phase']}, not {phase}: {item['message']}", fate)
        if item["phase"] != said:
            said = item["phase"]
            click.echo(f"{namespace}/{name} {said} {item['reason']}", err=True)
        if end is not None and time.monotonic() >= end:
            raise CommandError(f"{namespace}/{name} is still {said} after {timeout}", Exit.TIMED_OUT)
        time.sleep(0.2)


def _waited(item: Mapping[str, Any], wanted: str) -> Exit | None:
    """The exit code when waiting ends; None while the phase may still come."""
    now = item["phase"]
    if item["reason"] == "FinishedElsewhere":
        return Exit.REFUSED  # the phase is what the file says of a run that nobody here has seen
    if now == wanted:
        return Exit.OK
    if now not in _TERMINAL:
        return None
    if now != "Succeeded":
        return Exit.RUN_FAILED
    return Exit.ERROR if wanted in _TERMINAL else Exit.OK  # it went past a phase that it was to reach


def report_of(place: Place, name: str | None = None, namespace: str | None = None) -> dict[str, Any]:
    """The StatusReport of the design contract."""
    from controller.stores.sqlite_read import status_rows

    rows = status_rows(place.store, name=name, namespace=namespace)
    items = [_item(row) for row in rows if row["kind"] == "Experiment"]
    return report("StatusReport", counts=_counts(items), items=items)


def _unknown(place: Place, name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, [item["name"] for item in report_of(place)["items"]], n=1)
    return f"no experiment {name!r} here; " + (f"did you mean {near[0]}?" if near else "`ml status` lists them")


def _say_if_nobody_is_at_work(place: Place) -> None:
    if not reconciler_alive(place):
        click.echo("no reconciler is at work here, so nothing moves; start one: ml reconcile", err=True)


def _counts(items: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    groups = {
        "queued": ("Pending", "Waiting", "Queued"), "blocked": ("Blocked",), "running": ("Launching", "Running"),
        "completed": ("Succeeded",), "failed": ("Failed",), "cancelled": ("Cancelled",),
    }  # fmt: skip
    return {group: sum(item["phase"] in phases for item in items) for group, phases in groups.items()}


def _item(row: Mapping[str, Any]) -> dict[str, Any]:
    status = row["status"] or {}
    ready: Mapping[str, Any] = next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), {})
    return {
        "namespace": row["namespace"],
        "name": row["name"],
        "phase": status.get("phase", "Pending"),
        "trustLevel": status.get("trustLevel"),
        "reason": ready.get("reason", ""),
        "message": ready.get("message", ""),
        "place": row["place"],
        "since": ready.get("lastTransitionTime"),
        "status": status,
    }


def _print(found: Mapping[str, Any], output: str) -> None:
    names = [f"experiment/{item['name']}" for item in found["items"]]
    emit(found, output, table=lambda wide: _table(found["items"], wide=wide), names=lambda: names)


def _table(items: Sequence[Mapping[str, Any]], *, wide: bool) -> str:
    if not items:
        return "no experiments yet"
    header = ["NAMESPACE", "NAME", "PHASE", "TRUST", "RUN", "AGE", "REASON"]
    header += ["PLAN", "COMMIT", "FILE"] if wide else []
    text = columns(header, [_row(item, wide=wide) for item in items])
    lines = text.split("\n")
    return "\n".join([lines[0], *(_coloured(line, item["phase"]) for line, item in zip(lines[1:], items, strict=True))])


def _coloured(line: str, phase: str) -> str:
    return line.replace(f" {phase} ", f" {paint(phase)} ", 1)


def _row(item: Mapping[str, Any], *, wide: bool) -> list[str]:
    status = item["status"]
    run = status.get("run", {})
    reason = "" if item["reason"] in ("Succeeded", item["phase"]) else item["reason"]
    row = [
        item["namespace"],
        item["name"],
        item["phase"],
        item["trustLevel"] or "-",
        run.get("id", "-"),
        _age(item["since"]),
        reason,
    ]
    if wide:
        commit = (status.get("resolved", {}).get("commit") or "-")[:12]
        row += [short_digest(status.get("planSha256")), commit, item["place"]]
    return row


def _age(since: str | None) -> str:
    if not since:
        return "-"
    return age((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds())


def _follow(look: Callable[[], Mapping[str, Any]], output: str) -> int:
    """Print when something changed: JSON lines for -o json, else the table again."""
    before: object = None
    try:
        while True:
            found = look()
            if found != before:
                _print_again(found, output)
                before = found
            time.sleep(0.3)
    except KeyboardInterrupt:
        return Exit.OK


def _print_again(found: Mapping[str, Any], output: str) -> None:
    if output == "json":
        import json

        click.echo(json.dumps(found, ensure_ascii=False))
        return
    if output in ("table", "wide") and not is_plain():
        click.clear()
    if output == "yaml":
        click.echo("---")
    _print(found, output)
