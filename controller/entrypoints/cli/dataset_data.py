"""`ml dataset prefetch` and `ml dataset export`: data from the object stores, for runs and for people.

Promises: web addresses are fetched here because an operator asks, never because a spec names them; what is in use by an
active run is not removed from the cache. Does not: change an entry.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.entrypoints.cli.dataset import (
    complete_entries,
    dataset_command,
    find_entry,
    namespace_option,
    specs_folder,
    specs_option,
)
from controller.entrypoints.cli.dataset_add import byte_limit, fetch
from controller.entrypoints.cli.durations import seconds_of
from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import settings_of, store_place
from controller.entrypoints.cli.output import ProgressLine, examples
from controller.wiring import Place, open_objects, open_objects_at

if TYPE_CHECKING:
    from controller.api.catalog import DatasetVersion
    from controller.api.experiment import DatasetRef
    from controller.inputs.remote_data import Form
    from controller.inputs.remote_data_facts import StoredData


@dataset_command.command(
    "prefetch", epilog=examples("ml dataset prefetch digits", "ml dataset prefetch specs/digits.yaml --ttl 7d")
)
@click.argument("what", nargs=-1, required=True, shell_complete=complete_entries)
@click.option("--ttl", default="30d", show_default=True, help="First remove from the cache what was unused this long.")
@click.option("--max-size", default="100Gi", show_default=True, help="Fetch no more bytes than this.")
@namespace_option
@specs_option
@click.pass_context
def prefetch_command(
    ctx: click.Context, what: tuple[str, ...], ttl: str, max_size: str, namespace: str, specs: str
) -> int:
    """Bring the data of entries, or of all that a spec names, into this repository's cache: runs need not wait."""
    place = store_place(ctx)
    limit, before = byte_limit(max_size), _now() - seconds_of(ttl, "--ttl")
    stored = _stored(ctx, place)
    for name in stored.cache.expire(before, _in_use(place)):
        click.echo(f"removed {name}: unused for {ttl}", err=True)
    with ProgressLine() as progress:
        for each in what:
            for ref, found in _references(each, specs_folder(place, specs), namespace):
                click.echo(f"{ref.uri}  {_prefetch(place, stored, ref, found, limit, progress)}")
    return Exit.OK


def _now() -> float:
    from controller.inventory.clock import SystemClock

    return SystemClock().now().timestamp()


def _stored(ctx: click.Context, place: Place) -> "StoredData":
    from controller.inputs.remote_data_facts import StoredData
    from controller.inputs.statcache import StatCache
    from controller.wiring import prepare

    prepare(place)
    shared = settings_of(ctx).object_store
    store = open_objects_at(shared, settings_of(ctx)) if shared else None
    return StoredData(open_objects(place), store, place.base, StatCache(place.base / "cache" / "stat"))


def _in_use(place: Place) -> frozenset[str]:
    """Names in the cache that an active run reads."""
    from controller.wiring import open_store

    if not place.store.exists():
        return frozenset()
    runs = open_store(place).runs(active=True)
    return frozenset(Path(each["path"]).name for run in runs for each in run.launch.get("datasets", ()))


def _references(what: str, folder: Path, namespace: str) -> "Iterator[tuple[DatasetRef, DatasetVersion | None]]":
    """The datasets of an entry's name, or of every experiment of a file."""
    from controller.api.experiment import DatasetRef
    from controller.entrypoints.cli.opening import load_experiment
    from controller.inputs.catalogue import entries, version_of

    if not what.endswith((".yaml", ".yml")):
        _, version = find_entry(folder, what, namespace)
        name = what.removeprefix("dataset:").partition("@")[0]
        yield DatasetRef(name=name, uri=f"dataset:{name}@{version.version}"), version
        return
    path = Path(what)
    document = load_experiment(path, path.parent)
    listed = [e.dataset for e in entries(path.parent) if e.dataset.metadata.namespace == document.namespace]
    for ref in document.model.spec.datasets:  # type: ignore[union-attr]  # load_experiment gives an Experiment
        yield ref, version_of(ref, listed)


def _prefetch(
    place: Place,
    stored: "StoredData",
    ref: "DatasetRef",
    version: "DatasetVersion | None",
    limit: int,
    progress: ProgressLine,
) -> str:
    """Bring one dataset; what to say of it."""
    from controller.inputs.remote_data_facts import REMOTE
    from controller.ports.objectstore import AbsentError

    uri, sha256 = (version.uri, version.sha256) if version else (ref.uri, ref.sha256 or "")
    form: Form = version.form if version else "file"
    if version is None and not uri.startswith(REMOTE):
        return "lies on this host"
    try:
        return str(stored.place(sha256, form, progress))
    except AbsentError:
        if not uri.startswith(("http://", "https://")):
            raise
    part = fetch(place, uri, sha256, limit, progress)
    open_objects(place).put_file(part, sha256)
    part.unlink()
    stored.note_fetched(uri, sha256)
    return str(stored.place(sha256, form, progress))


@dataset_command.command(
    "export", epilog=examples("ml dataset export digits > croissant.json", "ml dataset export digits@1 --data out")
)
@click.argument("name", shell_complete=complete_entries)
@click.option("--data", metavar="DIR", help="Write the data into this new folder, with croissant.json beside it.")
@namespace_option
@specs_option
@click.pass_context
def export_command(ctx: click.Context, name: str, data: str | None, namespace: str, specs: str) -> int:
    """Print the Croissant description of an entry; with --data write its bytes too."""
    from controller.inputs.catalogue_croissant import write

    place = store_place(ctx)
    entry, version = find_entry(specs_folder(place, specs), name, namespace)
    stored = _stored(ctx, place)
    if data:
        _write_data(stored, version, Path(data))
    text = json.dumps(write(entry.dataset, version, _files(stored, place, version, data)), indent=2) + "\n"
    if data:
        Path(data, "croissant.json").write_text(text)
        click.echo(f"wrote {data}", err=True)
    else:
        click.echo(text, nl=False)
    return Exit.OK


def _write_data(stored: "StoredData", version: "DatasetVersion", folder: Path) -> None:
    if folder.exists():
        raise CommandError(f"{folder} exists already; name a new folder", Exit.NOT_ALLOWED)
    with ProgressLine() as progress:
        stored.bring(version.sha256, version.form, progress)
        stored.export(
            version.sha256, version.form, folder / "data" / (_name(version) if version.form == "file" else "")
        )


def _name(version: "DatasetVersion") -> str:
    return version.uri.rstrip("/").rpartition("/")[2].rpartition(":")[2]


def _files(
    stored: "StoredData", place: Place, version: "DatasetVersion", data: str | None
) -> Iterator[tuple[str, str, int]]:
    from controller.inputs.snapshots import load

    if version.form == "file":
        address = f"data/{_name(version)}" if data else version.uri.removeprefix("file:")
        yield address, version.sha256, -1 if version.size is None else version.size
        return
    with ProgressLine() as progress:
        stored.bring(version.sha256, version.form, progress)
    for file in load(open_objects(place), version.sha256, snapshot=False):
        yield f"data/{file.path.decode('utf-8', 'backslashreplace')}", file.sha256, -1
