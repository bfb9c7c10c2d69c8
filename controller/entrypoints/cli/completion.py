"""`ml completion`, and what is completed besides commands and options: names of experiments and runs.

Promises: a Tab never prints an error. Does not: need a running reconciler.
"""

from typing import TYPE_CHECKING

import click

from controller.entrypoints.cli.errors import Exit
from controller.entrypoints.cli.output import examples

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


@click.command(
    "completion",
    epilog=examples('eval "$(ml completion bash)"', 'eval "$(ml completion zsh)"', "ml completion fish | source"),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> int:
    """Print a completion script for a shell: commands, options, files, experiments and runs."""
    from click.shell_completion import get_completion_class

    from controller.entrypoints.cli.app import ml

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101  # click knows these three
    click.echo(kind(ml, {}, "ml", "_ML_COMPLETE").source())
    return Exit.OK


def complete_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Experiments and runs of the store around this folder."""
    from click.shell_completion import CompletionItem

    from controller.entrypoints.cli.opening import store_place
    from controller.stores.sqlite_read import status_rows

    try:
        rows = status_rows(store_place(ctx).store)
    except Exception:  # noqa: BLE001  # whatever is wrong, Tab is no place to say so
        return []
    found = {row["name"]: (row["status"] or {}).get("phase", "") for row in rows}
    if parameter.name != "name":
        runs = [(row["status"] or {}).get("run", {}) for row in rows]
        found |= {run["id"]: f"attempt {run['attempt']}" for run in runs if run}
    return [CompletionItem(name, help=text) for name, text in found.items() if name.startswith(incomplete)]
