"""`ml approve`: bind an approval to the plan of a spec as it stands now.

Promises: what was approved is one plan digest; if anything moves, it does not launch. Does not: sign with a second
identity.
"""

import getpass

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.explain import explain
from controller.entrypoints.cli.opening import open_experiment
from controller.entrypoints.cli.output import ProgressLine, examples


@click.command(
    "approve",
    epilog=examples("ml approve specs/digits.yaml", "ml approve specs/digits.yaml --plan sha256:<64 hex>"),
)
@click.argument("path", type=click.Path())
@click.option("--name", help="Which experiment of a file with several.")
@click.option("--plan", help="Approve only if the plan still has this digest (from `ml explain`).")
@click.pass_context
def approve_command(ctx: click.Context, path: str, name: str | None, plan: str | None) -> int:
    """Approve the plan that `ml explain` shows now; a changed plan needs a new approval."""
    with ProgressLine() as progress:
        opened = open_experiment(ctx, path, name, progress, writes=True)
        found = explain(opened)
    evaluation = found.evaluation
    if plan and plan != evaluation.plan.sha256:
        raise CommandError(
            f"the plan is {evaluation.plan.sha256} now, not {plan}; look again: ml explain {path}", Exit.REFUSED
        )
    store, document = opened.ports.store, opened.document
    row = store.observe(opened.key, document.spec_sha256, document.file)
    store.approve(row.uid, evaluation.plan.sha256, getpass.getuser())
    click.echo(f"approved {found.value['experiment']} with plan {evaluation.plan.sha256}")
    return Exit.OK
