"""`ml prune`, `ml backup`, `ml restore`, `ml adopt`, `ml unlock`: what an operator needs, at 3 a.m. too.

Promises: each says what it will do first, and does it only with --yes (backup, which changes nothing, excepted). Does
not: touch a run that is active.
"""

import os
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from controller.entrypoints.cli.completion import complete_names
from controller.entrypoints.cli.durations import seconds_of
from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import LEASE_NAME, existing_store, reconciler_alive, store_place
from controller.entrypoints.cli.output import ProgressLine, examples
from controller.ports import folders
from controller.wiring import STATE, Place

_RECORDS = ("experiments", "objects")
_yes = click.option("--yes", is_flag=True, help="Really do it; without, only say what would be done.")


@click.command(
    "prune",
    epilog=examples("ml prune --older-than 30d", "ml prune --older-than 30d --yes", "ml prune --caches --yes"),
)
@click.option("--older-than", default="30d", show_default=True, help="Runs that ended before this.")
@click.option("--caches", is_flag=True, help="Environments and caches too; they are made again when needed.")
@_yes
@click.pass_context
def prune_command(ctx: click.Context, older_than: str, caches: bool, yes: bool) -> int:
    """Remove the folders of old finished runs (their rows stay). A dry run unless --yes."""
    place = existing_store(ctx)
    before = datetime.now(UTC) - timedelta(seconds=seconds_of(older_than, "--older-than"))
    found = [*_old_runs(place, before), *(_caches(place) if caches else ())]
    total = 0
    for folder in found:
        size = _size(folder)
        total += size
        click.echo(f"{'removing' if yes else 'would remove'} {folder} ({size / 2**20:.1f} MiB)")
        if yes:
            folders.remove(folder)
    click.echo(
        f"{len(found)} folders, {total / 2**20:.1f} MiB" + ("" if yes or not found else "; add --yes to remove them")
    )
    return Exit.OK


def _old_runs(place: Place, before: datetime) -> Iterator[Path]:
    from controller.wiring import open_store

    for run in open_store(place).runs(active=False):
        folder = place.base / "experiments" / run.run_id
        if run.ended_at and datetime.fromisoformat(run.ended_at) < before and folder.is_dir():
            yield folder


def _caches(place: Place) -> Iterator[Path]:
    """The cache folder; a run that is active reads its environment from there."""
    from controller.wiring import open_store

    active = [run.run_id for run in open_store(place).runs(active=True)]
    if active:
        raise CommandError(
            f"{', '.join(active[:3])} still needs the caches; wait for it, or cancel it", Exit.NOT_ALLOWED
        )
    if (place.base / "cache").is_dir():
        yield place.base / "cache"


def _size(folder: Path) -> int:
    return sum(entry.stat(follow_symlinks=False).st_size for entry in folders.walk(folder) if not entry.is_dir())


@click.command("backup", epilog=examples("ml backup /mnt/backup/fetchml-$(date +%F).tar.gz"))
@click.argument("file", type=click.Path())
@click.pass_context
def backup_command(ctx: click.Context, file: str) -> int:
    """Write store, run records and objects to one archive (no caches, no keys). Safe while a reconciler works."""
    from controller.wiring import open_store

    place, target = existing_store(ctx), Path(file)
    if target.exists():
        raise CommandError(f"{target} exists already; name a new file", Exit.NOT_ALLOWED)
    temporary = target.with_name(f".{target.name}.tmp")
    copy = place.base / "backups" / f"backup-{os.getpid()}.db"
    copy.parent.mkdir(exist_ok=True)
    progress, done = ProgressLine(), 0
    try:
        open_store(place).backup(copy)
        with tarfile.open(temporary, "w:gz") as archive:
            archive.add(copy, STATE)
            for path in _kept(place):
                archive.add(path, path.relative_to(place.base).as_posix(), recursive=False)
                done += 1
                progress("packing files", done, 0)
        temporary.rename(target)
    finally:
        copy.unlink(missing_ok=True)
        temporary.unlink(missing_ok=True)
        progress.clear()
    click.echo(f"wrote {target} ({target.stat().st_size / 2**20:.1f} MiB, {done} files and the store)")
    return Exit.OK


def _kept(place: Place) -> Iterator[Path]:
    for name in _RECORDS:
        folder = place.base / name
        for path in sorted(Path(entry.path) for entry in folders.walk(folder) if not entry.is_symlink()):
            if "workspace" not in path.relative_to(folder).parts and (path.is_file() or path.is_dir()):
                yield path


@click.command(
    "restore",
    epilog=examples("ml restore fetchml.tar.gz          what it would do", "ml restore fetchml.tar.gz --yes"),
)
@click.argument("file", type=click.Path())
@_yes
@click.pass_context
def restore_command(ctx: click.Context, file: str, yes: bool) -> int:
    """Bring a backup back into this repository's (empty) records folder."""
    place = store_place(ctx)
    if not Path(file).is_file():
        raise CommandError(f"{file}: there is no such file", Exit.NOT_FOUND)
    if place.store.exists():
        raise CommandError(
            f"{place.store} exists; move {place.base} away first, so that nothing is mixed", Exit.NOT_ALLOWED
        )
    with tarfile.open(file) as archive:
        names = archive.getnames()
        if STATE not in names:
            raise CommandError(f"{file} is not a backup made by `ml backup`: it has no {STATE}", Exit.INVALID)
        click.echo(f"{'restoring' if yes else 'would restore'} {len(names)} files into {place.base}")
        if yes:
            place.base.mkdir(parents=True, exist_ok=True)
            archive.extractall(place.base, filter="data")
    click.echo("done" if yes else "add --yes to do it")
    return Exit.OK


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
@click.option("--force", is_flag=True, help="Even if its holder still renews it. It will stop at its next write.")
@_yes
@click.pass_context
def unlock_command(ctx: click.Context, force: bool, yes: bool) -> int:
    """Break the lease of a reconciler that is gone, so that another may start at once.

    It runs out by itself 15 s after its holder stopped renewing it.
    """
    from controller.stores.sqlite_read import lease_row
    from controller.wiring import open_store

    place = existing_store(ctx)
    row = lease_row(place.store, LEASE_NAME)
    if row is None:
        click.echo("nobody holds the lease")
        return Exit.OK
    alive = reconciler_alive(place)
    click.echo(f"lease held by {row.holder}" + (", renewed within 15 s" if alive else ", run out"))
    if alive and not force:
        raise CommandError("its holder may still be at work; stop it, or add --force", Exit.NOT_ALLOWED)
    if yes:
        open_store(place).release(row)
    click.echo("lease broken" if yes else "add --yes to break it")
    return Exit.OK
