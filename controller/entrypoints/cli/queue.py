"""`ml queue`: hand a spec to the reconciler.

Promises: the same preflight as everywhere, then the file's very bytes in the folder that is watched; what is there is
not overwritten. Does not: commit or push.
"""

from pathlib import Path
from typing import Any

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.explain import explain
from controller.entrypoints.cli.opening import open_experiment
from controller.entrypoints.cli.output import ProgressLine, examples


@click.command(
    "queue",
    epilog=examples("ml queue drafts/digits.yaml", "ml queue drafts/digits.yaml --specs lab/specs"),
)
@click.argument("path", type=click.Path())
@click.option("--name", help="Which experiment of a file with several.")
@click.option(
    "--specs",
    default="specs",
    show_default=True,
    type=click.Path(),
    help="Folder that the reconciler watches, relative to the repository.",
)
@click.pass_context
def queue_command(ctx: click.Context, path: str, name: str | None, specs: str) -> int:
    """Strict preflight, then put the spec where the reconciler finds it. Exit 4 when refused, 8 when it must wait."""
    from controller.reconcile.files import write_atomic

    with ProgressLine() as progress:
        opened = open_experiment(ctx, path, name, progress)
        found = explain(opened)
    for rule in found.value["preflight"]["rules"]:
        if rule["verdict"] != "Pass":
            click.echo(objection(rule), err=True)
    if found.code is Exit.REFUSED:
        return Exit.REFUSED
    target = opened.place.root / specs / Path(path).name
    data = Path(path).read_bytes()
    if target.exists() and target.read_bytes() != data:
        raise CommandError(f"{target} exists already, and differs; edit it there, or rename {path}", Exit.NOT_ALLOWED)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, data)
    shown = target.relative_to(opened.place.root) if target.is_relative_to(opened.place.root) else target
    click.echo(f"queued {opened.key} at {shown}; `ml reconcile {specs}` runs it")
    return found.code


def objection(rule: dict[str, Any]) -> str:
    """One line as compilers print it: file:line:column: reason: message; fix."""
    place = ":".join(str(rule[part]) for part in ("file", "line", "column") if rule[part])
    return f"{place}: {rule['reason']}: {rule['message']}; {rule['fix']}"
