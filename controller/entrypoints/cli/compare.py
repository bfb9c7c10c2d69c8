"""`ml compare`: two runs side by side, provenance first.

Promises: reads records only, of this repository or of exported archives; says of each side whether it verifies; what a
run wrote never reaches the terminal or the report unescaped. Does not: judge which run is better.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.completion import complete_names
from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.output import columns, emit, examples, output_option, paint, report
from controller.entrypoints.cli.records import Records, open_records
from controller.entrypoints.cli.shown import harmless, percent, shown, signed

if TYPE_CHECKING:
    from controller.plan.compare import Comparison, Side

METRICS = "results/metrics.jsonl"


@click.command(
    "compare",
    epilog=examples(
        "ml compare digits-abcd2345 digits-wxyz6723",
        "ml compare digits theirs.tar -o json | jq '.sections.metrics'",
        "ml compare a.tar b.tar --html report.html",
    ),
)
@click.argument("a", shell_complete=complete_names)
@click.argument("b", shell_complete=complete_names)
@click.option("--html", type=click.Path(), help="Also write a report with the metric curves to this one file.")
@output_option
@click.pass_context
def compare_command(ctx: click.Context, a: str, b: str, html: str | None, output: str) -> int:
    """Compare two runs (ids, experiments, run folders or exported archives): what differs, and by how much.

    `-o wide` shows what is the same too.
    """
    from controller.plan.compare import compare

    records = [open_records(ctx, what) for what in (a, b)]
    sides = [_side(each) for each in records]
    found = compare(*sides)
    value = _value(sides, found)
    if html:
        _write_html(html, value, records)
    emit(value, output, table=lambda wide: text(value, wide=wide), names=lambda: list(_differing(value)))
    return Exit.OK


def _side(records: Records) -> "Side":
    from controller.plan.compare import Side
    from controller.plan.plan import load_plan

    manifest = records.manifest()
    try:
        plan = load_plan(records.read("plan.json"))
    except ValueError as error:
        raise CommandError(f"{records.what}: plan.json: {error}", Exit.INVALID) from error
    return Side(manifest, plan, records.level(), records.objections())


def _value(sides: "list[Side]", found: "Comparison") -> dict[str, Any]:
    from controller.plan.compare import same_plan

    one, other = (
        {
            "run": side.manifest.run_id,
            "experiment": f"{side.manifest.namespace}/{side.manifest.experiment}",
            "state": side.manifest.state,
            "trustLevel": side.level,
            "verified": not side.objections,
            "objections": list(side.objections),
        }
        for side in sides
    )
    sections = {name: [row.as_dict() for row in rows] for name, rows in found.items()}
    return report("RunComparison", a=one, b=other, samePlan=same_plan(found), sections=sections)


def _differing(value: Mapping[str, Any]) -> Iterator[str]:
    for name, rows in value["sections"].items():
        yield from (f"{name}/{row['field']}" for row in rows if not row["same"])


def text(value: Mapping[str, Any], *, wide: bool) -> str:
    """The comparison for a terminal: what differs, or with `wide` everything."""
    parts = ["\n".join([*_heads(value), "", "Both ran the same plan." if value["samePlan"] else "The plans differ."])]
    for name, rows in value["sections"].items():
        differ = [row for row in rows if not row["same"]]
        head = f"{name.capitalize()}: " + (f"{len(differ)} of {len(rows)} differ" if rows else "none")
        listed = rows if wide or name == "metrics" else differ
        parts.append(head + ("\n" + _table(name, listed, wide=wide) if listed else ""))
    return "\n\n".join(parts)


def _heads(value: Mapping[str, Any]) -> Iterator[str]:
    for letter in ("a", "b"):
        side = value[letter]
        proof = paint("ok", "verified") if side["verified"] else paint("FAILED", "NOT verified")
        level = harmless(side["trustLevel"] or "no level")
        state = paint(harmless(side["state"]).capitalize())
        yield f"{letter.upper()}  {harmless(side['run'])}  {state}  {level}  {proof}"
        yield from (f"     {harmless(objection)}" for objection in side["objections"][:5])


def _table(name: str, rows: list[dict[str, Any]], *, wide: bool) -> str:
    cells = [["  " + shown(row["field"], 60), _cell(row["a"], wide=wide), _cell(row["b"], wide=wide)] for row in rows]
    if name != "metrics":
        return columns(("  FIELD", "A", "B"), cells)
    more = [[signed(row.get("delta")), percent(row.get("ratio"))] for row in rows]
    lines = [[*cell, *extra] for cell, extra in zip(cells, more, strict=True)]
    return columns(("  METRIC", "A", "B", "B-A", ""), lines)


def _cell(value: Any, *, wide: bool) -> str:
    if isinstance(value, str) and value.startswith("sha256:") and not wide:
        return shown(value[: len("sha256:") + 16])
    return shown(value, 200 if wide else 60)


def _write_html(target: str, value: Mapping[str, Any], records: list[Records]) -> None:
    from controller.entrypoints.cli.compare_html import page
    from controller.plan.series import curves
    from controller.reconcile.files import write_atomic

    series = [curves(each.find(METRICS) or b"") for each in records]
    write_atomic(Path(target), page(value, series).encode())
    click.echo(f"wrote {target}", err=True)
