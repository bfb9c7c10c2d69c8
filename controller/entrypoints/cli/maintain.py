"""`ml adopt`, `ml unlock`: what an operator needs at 3 a.m.

Promises: each says what it will do first, and does it only with --yes. Does not: touch a run that is active.
"""

import click

from controller.entrypoints.cli.completion import complete_names
from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import LEASE_NAME, existing_store, reconciler_alive
from controller.entrypoints.cli.output import examples

_yes = click.option("--yes", is_flag=True, help="Really do it; without, only say what would be done.")


@click.command(
    "adopt",
    epilog=examples(
        "ml adopt digits-softmax-abcd2345          what it would do", "ml adopt digits-softmax-abcd2345 --yes"
    ),
)
@click.argument("run_id", shell_complete=complete_names)
@_yes
@click.pass_context
def adopt_command(ctx: click.Context, run_id: str, yes: bool) -> int:
    """Take up a run whose reconciler is gone: follow it to its end and record it."""
    from controller.entrypoints.cli.inspect import find_run
    from controller.entrypoints.cli.run import run_command
    from controller.wiring import open_store

    place = existing_store(ctx)
    store = open_store(place)
    run = find_run(place, store, run_id)
    row = store.experiment(run.key)
    if run.state != "active":
        raise CommandError(f"{run.run_id} is over ({run.state}); there is nothing to adopt", Exit.NOT_FOUND)
    if reconciler_alive(place):
        raise CommandError("a reconciler is at work here and has the run; `ml status` shows it", Exit.NOT_ALLOWED)
    spec = place.root / (row.place if row else "")
    attempt = len(store.attempts(run.run_id))
    doing = "adopting" if yes else "would adopt"
    click.echo(f"{doing} {run.run_id}: attempt {attempt} is followed to its end and recorded")
    if not yes:
        click.echo("add --yes to do it")
        return Exit.OK
    code: int = ctx.invoke(run_command, path=str(spec), name=str(run.key), logs=True, timeout=None, patient=True)
    return code


@click.command("unlock", epilog=examples("ml unlock          who holds it", "ml unlock --yes"))
@click.option("--force", is_flag=True, help="Even if its holder still lives. It will stop at its next write.")
@_yes
@click.pass_context
def unlock_command(ctx: click.Context, force: bool, yes: bool) -> int:
    """Break the lease of a reconciler, so that another may start at once.

    It ends by itself with its holder's process; a holder that hangs needs --force.
    """
    from controller.stores.sqlite_lock import file_of, remove
    from controller.stores.sqlite_read import lease_row
    from controller.wiring import open_store

    place = existing_store(ctx)
    row = lease_row(place.store, LEASE_NAME)
    if row is None:
        click.echo("nobody holds the lease")
        return Exit.OK
    alive = reconciler_alive(place)
    click.echo(f"lease held by {row.holder}" + (", which lives" if alive else ", which is gone"))
    if alive and not force:
        raise CommandError("its holder may still be at work; stop it, or add --force", Exit.NOT_ALLOWED)
    if yes:
        open_store(place).release(row)
        remove(file_of(place.store, LEASE_NAME))  # whoever still holds that lock is fenced by its token
    click.echo("lease broken" if yes else "add --yes to break it")
    return Exit.OK
