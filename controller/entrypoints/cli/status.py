"""`ml status`, `ml watch`, `ml wait`: what the store says, read without opening it for writing.

Promises: `ml status` imports neither pydantic nor sqlite-utils. Does not: look at the specs or at what runs; a status is as old as the
reconciler's last pass, and says so when no reconciler is there.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import existing_store
from controller.entrypoints.cli.output import age, columns, emit, is_plain, output_option, paint, short_digest
from controller.wiring import Place

API_VERSION = "fetchml.dev/v1alpha1"  # not imported from api: that would import pydantic
PHASES = ("Pending", "Blocked", "Waiting", "Queued", "Launching", "Running", "Succeeded", "Failed", "Cancelled")
_TERMINAL = ("Succeeded", "Failed", "Cancelled")


@click.command("status", epilog="\b\nExamples:\n  ml status\n  ml status digits -o yaml\n  ml status --watch -o json")
@click.argument("name", required=False)
@click.option("-n", "--namespace", help="Only this namespace.")
@click.option("-w", "--watch", is_flag=True, help="Print again whenever something changed.")
@output_option
@click.pass_context
def status_command(ctx: click.Context, name: str | None, namespace: str | None, watch: bool, output: str) -> int:
    """Every experiment that the store knows, or one, with its phase, trust level and reason."""
    place = existing_store(ctx)
    report = report_of(place, name, namespace)
    if name and not report["items"]:
        raise CommandError(f"no experiment {name!r}; `ml status` lists them", Exit.NOT_FOUND)
    if watch:
        return _follow(lambda: report_of(place, name, namespace), output)
    _print(report, output)
    return Exit.OK


@click.command("watch", epilog="\b\nExample:\n  ml watch digits")
@click.argument("name", required=False)
@click.option("-n", "--namespace", help="Only this namespace.")
@output_option
@click.pass_context
def watch_command(ctx: click.Context, name: str | None, namespace: str | None, output: str) -> int:
    """The same as `ml status --watch`: until Ctrl-C."""
    place = existing_store(ctx)
    return _follow(lambda: report_of(place, name, namespace), output)


@click.command("wait", epilog="\b\nExamples:\n  ml wait digits\n  ml wait digits --for=Running --timeout 5m")
@click.argument("name")
@click.option("--for", "phase", default="Succeeded", show_default=True, type=click.Choice(PHASES, case_sensitive=False))
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("--timeout", default="0s", help="Exit 124 after this long, such as 5m; 0s waits for ever.")
@click.pass_context
def wait_command(ctx: click.Context, name: str, phase: str, namespace: str, timeout: str) -> int:
    """Wait until an experiment reaches a phase. Exit 7 when it ends in another one, 124 on timeout."""
    from controller.entrypoints.cli.durations import seconds_of

    place = existing_store(ctx)
    limit = seconds_of(timeout, "--timeout")
    end = time.monotonic() + limit if limit else None
    while True:
        items = report_of(place, name, namespace)["items"]
        if not items:
            raise CommandError(f"no experiment {namespace}/{name}; `ml status` lists them", Exit.NOT_FOUND)
        now = items[0]["phase"]
        if now == phase:
            click.echo(f"{namespace}/{name} {now}")
            return Exit.OK
        if now in _TERMINAL:
            raise CommandError(f"{namespace}/{name} ended as {now}: {items[0]['reason']}", Exit.RUN_FAILED)
        if end is not None and time.monotonic() >= end:
            raise CommandError(f"{namespace}/{name} is still {now} after {timeout}", Exit.TIMED_OUT)
        time.sleep(0.2)


def report_of(place: Place, name: str | None = None, namespace: str | None = None) -> dict[str, Any]:
    """The StatusReport of the design contract."""
    from controller.stores.sqlite_read import status_rows

    rows = status_rows(place.store, name=name, namespace=namespace)
    items = [_item(row) for row in rows if row["kind"] == "Experiment"]
    return {"apiVersion": API_VERSION, "kind": "StatusReport", "counts": _counts(items), "items": items}


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


def _print(report: Mapping[str, Any], output: str) -> None:
    names = [f"experiment/{item['name']}" for item in report["items"]]
    emit(report, output, table=lambda wide: _table(report["items"], wide=wide), names=lambda: names)


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
    import json

    before: object = None
    while True:
        report = look()
        if report != before:
            if output == "json":
                click.echo(json.dumps(report, ensure_ascii=False))
            else:
                if output == "table" and not is_plain():
                    click.clear()
                _print(report, output)
            sys.stdout.flush()
            before = report
        try:
            time.sleep(0.3)
        except KeyboardInterrupt:
            return Exit.OK
