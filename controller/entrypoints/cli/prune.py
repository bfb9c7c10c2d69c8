"""`ml prune`: old runs, caches and objects that nobody needs.

Promises: says what it would do, and does it only with --yes; leaves what an active run reads, every object that a spec,
a catalogue entry, an active run or a run that still has its folder names, and every object that was put or used within
a day. Does not: touch a shared store (other repositories use it), or know of specs that stand in no file here.
"""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from controller.entrypoints.cli.durations import seconds_of
from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import existing_store
from controller.entrypoints.cli.output import ProgressLine, examples
from controller.ports import folders
from controller.wiring import Place

_UNITS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_MAX_TEXT = 4 << 20
_RECORDS = ("plan.json", "spec.yaml", "run_manifest.json")
_NEITHER = {".git", ".fetchml", "node_modules", ".venv"}


@click.command(
    "prune",
    epilog=examples(
        "ml prune --older-than 30d                  what would go",
        "ml prune --older-than 30d --yes",
        "ml prune --objects --max-size 50Gi --yes",
        "ml prune --caches --yes",
    ),
)
@click.option("--older-than", default="30d", show_default=True, help="Runs that ended, and objects last used, before.")
@click.option("--caches", is_flag=True, help="Environments and caches too; they are made again when needed.")
@click.option("--objects", is_flag=True, help="Objects too that nothing names and nobody used for a day at least.")
@click.option("--max-size", metavar="SIZE", help="Remove objects only until they take no more than this, such as 50Gi.")
@click.option("--yes", is_flag=True, help="Really do it; without, only say what would be done.")
@click.pass_context
def prune_command(
    ctx: click.Context, older_than: str, caches: bool, objects: bool, max_size: str | None, yes: bool
) -> int:
    """Remove the folders of old finished runs (their rows stay). A dry run unless --yes."""
    age = seconds_of(older_than, "--older-than")
    largest = None if max_size is None else _bytes_of(max_size)
    if largest is not None and not objects:
        raise CommandError("--max-size is about objects; add --objects", Exit.USAGE)
    place = existing_store(ctx)
    found = [*_old_runs(place, datetime.now(UTC) - timedelta(seconds=age)), *(_caches(place) if caches else ())]
    total = 0
    for folder in found:
        size = _size(folder)
        total += size
        click.echo(f"{'removing' if yes else 'would remove'} {folder} ({size / 2**20:.1f} MiB)")
        if yes:
            folders.remove(folder)
    hint = "" if yes else "; add --yes to remove them"
    click.echo(f"{len(found)} folders, {total / 2**20:.1f} MiB" + (hint if found else ""))
    if objects:
        _prune_objects(place, set(found), age, largest, yes)
    return Exit.OK


def _bytes_of(text: str) -> int:
    found = re.fullmatch(r"([0-9]+)([KMGT]i)?", text)
    if not found:
        raise CommandError(f"--max-size {text}: write bytes, or a size such as 500Mi or 50Gi", Exit.USAGE)
    return int(found[1]) * _UNITS[found[2] or ""]


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


def _prune_objects(place: Place, going: set[Path], age: float, largest: int | None, yes: bool) -> None:
    from controller.inventory.clock import SystemClock
    from controller.ports.objectstore import DamagedError
    from controller.stores.objects import FileObjects
    from controller.stores.objects_prune import GRACE, reachable, remove, unneeded

    store = FileObjects(place.base / "objects")
    before = SystemClock().now().timestamp() - max(age, GRACE)
    with ProgressLine() as progress:
        listing = list(store.list())  # before the references: what is named meanwhile was used meanwhile
        try:
            kept = reachable(store, _named(place, going, progress))
        except DamagedError as error:
            raise CommandError(f"{error}; until then nothing can be removed, because it names others") from error
        chosen = unneeded(listing, kept, before, largest)
        size = sum(item.size for item in chosen)
        if not yes:
            hint = "; add --yes to remove them" if chosen else ""
            click.echo(f"{len(chosen)} of {len(listing)} objects, {size / 2**20:.1f} MiB{hint}")
            return
        done = remove(store, chosen, before, lambda count: progress("removing objects", count, len(chosen)))
    used = f"; {done.kept_by_use} were used meanwhile and stay" if done.kept_by_use else ""
    click.echo(f"removed {done.objects} of {len(listing)} objects, {done.size / 2**20:.1f} MiB{used}")


def _named(place: Place, going: set[Path], progress: ProgressLine) -> Iterator[str]:
    """Every digest that a spec, an active run, or a run that keeps its folder names."""
    from controller.stores.objects_prune import mentioned
    from controller.wiring import open_store

    store = open_store(place)
    for run in store.runs(active=True):
        whole = store.run(run.run_id)
        if whole is not None:
            yield from mentioned(whole.plan + whole.spec)
    for count, file in enumerate(_texts(place, going)):
        progress("reading specs and records", count, 0)
        yield from mentioned(file.read_bytes())


def _texts(place: Place, going: set[Path]) -> Iterator[Path]:
    for folder in (place.base / "experiments").glob("*"):
        if folder not in going:
            yield from (file for name in _RECORDS if (file := folder / name).is_file())
    for parent, names, files in os.walk(place.root):
        names[:] = [name for name in names if name not in _NEITHER and Path(parent, name) != place.base]
        for name in files:
            file = Path(parent, name)
            if name.endswith((".yaml", ".yml")) and file.is_file() and file.stat().st_size <= _MAX_TEXT:
                yield file
