"""`ml backup` and `ml restore`: the records of a repository as one file, and back on another machine.

Promises: a backup appears whole or not at all, holds the store, the records of all runs and every object, and names
what is damaged; a restored folder appears whole or not at all, after every object in it was checked; what stood there
before is kept under another name. Does not: hold caches (they are made again), private keys, or the repository.
"""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import existing_store, store_place
from controller.entrypoints.cli.output import ProgressLine, examples
from controller.ports import durable, folders
from controller.wiring import STATE, Place

BACKUP = durable.register("backup.appear", "a backup appears under its name")
RESTORE = durable.register("backup.restore", "restored records appear in their place")


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
    try:
        with ProgressLine() as progress:
            open_store(place).backup(copy)
            count, damaged = _pack(place, copy, temporary, progress)
        with durable.step(BACKUP):
            temporary.rename(target)
            _sync_folder(target.parent)
    finally:
        copy.unlink(missing_ok=True)
        temporary.unlink(missing_ok=True)
    click.echo(f"wrote {target} ({target.stat().st_size / 2**20:.1f} MiB, {count} files and the store)")
    if damaged:
        raise CommandError("\n".join([*damaged, f"{target} lacks these objects, and has all else"]))
    return Exit.OK


def _pack(place: Place, copy: Path, temporary: Path, progress: ProgressLine) -> tuple[int, list[str]]:
    """Write the archive durably; returns how many files it holds, and what is damaged."""
    from controller.ports.objectstore import AbsentError, DamagedError
    from controller.stores.objects import FileObjects

    count, damaged = 0, []
    store = FileObjects(place.base / "objects")
    with temporary.open("wb") as raw:
        with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=1) as archive:
            archive.add(copy, STATE)
            for path in _records(place):
                archive.add(path, path.relative_to(place.base).as_posix(), recursive=False)
                count += 1
                progress("packing files", count, 0)
            for item in store.list():
                member = tarfile.TarInfo(f"objects/{item.sha256[7:9]}/{item.sha256[9:]}")
                member.size, member.mtime, member.mode = item.size, int(item.used), 0o444
                try:
                    with store.open(item.sha256) as content:
                        archive.addfile(member, content)
                except AbsentError:
                    continue  # pruned meanwhile
                except DamagedError as error:
                    damaged.append(str(error))
                    continue
                count += 1
                progress("packing objects", count, 0)
        raw.flush()
        os.fsync(raw.fileno())
    return count, damaged


def _records(place: Place) -> Iterator[Path]:
    folder = place.base / "experiments"
    for path in sorted(Path(entry.path) for entry in folders.walk(folder) if not entry.is_symlink()):
        if "workspace" not in path.relative_to(folder).parts and (path.is_file() or path.is_dir()):
            yield path


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@click.command(
    "restore",
    epilog=examples("ml restore fetchml.tar.gz          what it would do", "ml restore fetchml.tar.gz --yes"),
)
@click.argument("file", type=click.Path())
@click.option("--yes", is_flag=True, help="Really do it; without, only say what would be done.")
@click.pass_context
def restore_command(ctx: click.Context, file: str, yes: bool) -> int:
    """Bring a backup back into this repository, which has no store (yet, or any more)."""
    place = store_place(ctx)
    if not Path(file).is_file():
        raise CommandError(f"{file}: there is no such file", Exit.NOT_FOUND)
    if place.store.exists():
        raise CommandError(
            f"{place.store} exists; move {place.base} away first, so that nothing is mixed", Exit.NOT_ALLOWED
        )
    partial = place.base.with_name(f"{place.base.name}.restoring")
    folders.remove(partial)
    with ProgressLine() as progress:
        try:
            count = _unpack(file, partial if yes else None, progress)
        except (tarfile.TarError, EOFError, OSError) as error:
            folders.remove(partial)
            why = str(error).partition("\n")[0].rstrip(":")  # tarfile lists every compression that it tried
            raise CommandError(
                f"{file}: {why}; name a file of `ml backup`; nothing was changed", Exit.INVALID
            ) from error
        click.echo(f"{'restoring' if yes else 'would restore'} {count} files into {place.base}")
        if yes:
            _check_objects(partial, progress)
            kept = _take_place(partial, place.base)
            if kept:
                click.echo(f"what was there is kept as {kept}")
    click.echo("done" if yes else "add --yes to do it")
    return Exit.OK


def _unpack(file: str, target: Path | None, progress: ProgressLine) -> int:
    """Extract into a new folder (None: only look); returns how many members there are."""
    count, has_store = 0, False
    with tarfile.open(file) as archive:
        for member in archive:
            count += 1
            has_store = has_store or member.name == STATE
            if target:
                target.mkdir(exist_ok=True)
                archive.extract(member, target, filter="data")
            progress("unpacking files", count, 0)
    if not has_store:
        raise tarfile.TarError(f"not a backup: it has no {STATE}")
    return count


def _check_objects(partial: Path, progress: ProgressLine) -> None:
    from controller.ports.objectstore import DamagedError
    from controller.stores.objects import FileObjects

    store = FileObjects(partial / "objects")
    for count, item in enumerate(store.list()):
        try:
            store.open(item.sha256).close()
        except DamagedError as error:
            folders.remove(partial)
            raise CommandError(f"{error}; the backup is damaged, nothing was changed", Exit.INVALID) from error
        progress("checking objects", count, 0)


def _take_place(partial: Path, base: Path) -> Path | None:
    """Give the restored folder its name; returns where what stood there went."""
    from controller.stores.objects_copy import sync_file_system

    (partial / ".gitignore").write_text("*\n")
    kept = None
    with durable.step(RESTORE):
        sync_file_system(partial)
        if base.exists():
            kept = next(
                path for n in range(1, 10**6) if not (path := base.with_name(f"{base.name}.before-{n}")).exists()
            )
            base.rename(kept)
        partial.rename(base)
        _sync_folder(base.parent)
    return kept
