"""`ml approve`: bind an approval to the plan of a spec as it stands now, and sign it.

Promises: what was approved is one plan digest; if anything moves, it does not launch. With a key that the trust root
lets approve, the approval is a signed in-toto statement in approvals/, to be committed, that anybody can verify
offline. Does not: commit, or decide whether the approver may (the trust policy does).
"""

import getpass
from typing import TYPE_CHECKING

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.explain import explain
from controller.entrypoints.cli.opening import open_experiment
from controller.entrypoints.cli.output import ProgressLine, examples

if TYPE_CHECKING:
    from pathlib import Path

    from controller.entrypoints.cli.opening import Opened


@click.command(
    "approve",
    epilog=examples(
        "ml approve specs/digits.yaml && git add approvals",
        "ml approve specs/digits.yaml --plan sha256:<64 hex>    only what was reviewed",
    ),
)
@click.argument("path", type=click.Path())
@click.option("--name", help="Which experiment of a file with several.")
@click.option("--plan", help="Approve only if the plan still has this digest (from `ml explain`).")
@click.option("--comment", default="", help="A sentence for those who read the approval later.")
@click.pass_context
def approve_command(ctx: click.Context, path: str, name: str | None, plan: str | None, comment: str) -> int:
    """Approve the plan that `ml explain` shows now; a changed plan needs a new approval.

    With a key for approvals (ml key new --owner YOU --use approvals) the approval is signed and written to approvals/.
    """
    with ProgressLine() as progress:
        opened = open_experiment(ctx, path, name, progress, writes=True)
        found = explain(opened)
    evaluation = found.evaluation
    if plan and plan != evaluation.plan.sha256:
        raise CommandError(
            f"the plan is {evaluation.plan.sha256} now, not {plan}; look again: ml explain {path}", Exit.REFUSED
        )
    written = _signed(opened, evaluation.plan.sha256, comment)
    store, document = opened.ports.store, opened.document
    row = store.observe(opened.key, document.spec_sha256, document.file)
    store.approve(row.uid, evaluation.plan.sha256, getpass.getuser())
    how = "" if written else ", unsigned, in this store only"
    click.echo(f"approved {found.value['experiment']} with plan {evaluation.plan.sha256}{how}")
    if written:
        click.echo(f"signed   {written} (commit it)")
    else:
        click.echo("not signed: no key of yours may approve here (ml key new --owner YOU --use approvals)", err=True)
    return Exit.OK


def _signed(opened: "Opened", plan_sha256: str, comment: str) -> "Path | None":
    """Where the signed approval was written; None without a key for it."""
    from controller.reconcile.files import write_atomic
    from controller.reconcile.times import timestamp
    from controller.trust.approval import FOLDER, approval_name, approval_statement
    from controller.trust.envelope import PAYLOAD_TYPE
    from controller.wiring import open_signer

    signer = open_signer(opened.place, opened.settings, "approvals")
    if signer is None:
        return None
    key = opened.key
    at = timestamp(opened.ports.clock.now())
    envelope = signer.sign(PAYLOAD_TYPE, approval_statement(str(key), plan_sha256, at, comment))
    path = opened.place.root / FOLDER / key.namespace / key.name / approval_name(plan_sha256, signer.key_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, envelope)
    return path
