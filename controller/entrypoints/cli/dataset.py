"""`ml dataset`: the catalogue of datasets, and their bytes in object stores.

Promises: entries are Dataset documents beside the specs, to be committed like them; what a command reads from a store
is verified. Does not: fetch an address because a spec names it, unless `prefetch` or `add` is asked to.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.dataset_add import Wanted, add, byte_limit, check_rows, from_croissant, labels_of, say
from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import settings_of, store_place
from controller.entrypoints.cli.output import ProgressLine, columns, emit, examples, output_option, report, short_digest
from controller.entrypoints.cli.sync import store_at, upload_target
from controller.wiring import Place, open_objects, open_objects_at

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from controller.api.catalog import DatasetVersion
    from controller.inputs.catalogue import Entry

SPECS = "specs"

specs_option = click.option("--specs", default=SPECS, show_default=True, help="Folder of the specs and entries.")
namespace_option = click.option(
    "-n", "--namespace", default="default", show_default=True, help="Namespace of the entry."
)


@click.group("dataset", epilog=examples("ml dataset add data/digits.csv.gz --label project=vision", "ml dataset list"))
def dataset_command() -> None:
    """The catalogue: datasets with names and versions, which a spec writes as uri: dataset:NAME@VERSION."""


def complete_entries(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Names of entries; a Tab never prints an error."""
    from click.shell_completion import CompletionItem

    from controller.inputs.catalogue import entries

    try:
        found = entries(specs_folder(store_place(ctx), SPECS))
        return [CompletionItem(e.name, help=e.dataset.spec.description) for e in found if e.name.startswith(incomplete)]
    except Exception:  # noqa: BLE001  # whatever is wrong, Tab is no place to say so
        return []


@dataset_command.command(
    "add",
    epilog=examples(
        "ml dataset add data/digits.csv.gz --label project=vision --licence CC-BY-4.0",
        "ml dataset add data/images --name images --version 2026-11 --to s3://bucket/objects",
        "ml dataset add https://example.org/train.jsonl --sha256 sha256:<64 hex> --schema row.schema.json",
        "ml dataset add croissant.json --croissant",
    ),
)
@click.argument("source")
@click.option("--name", default="", help="Name of the entry (default: from the file's name).")
@click.option("--version", default="", help="Version (default: the next number).")
@click.option("--description", default="", help="One line for those who search.")
@click.option("--licence", default="", help="Licence of the data, best as an SPDX identifier.")
@click.option("--citation", default="", help="How to cite it.")
@click.option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label; may be repeated.")
@click.option("--schema", default="", metavar="FILE", help="JSON Schema that every row must pass (.jsonl, .csv, .gz).")
@click.option("--sha256", default="", help="Digest that it must have; needed for web addresses.")
@click.option("--croissant", is_flag=True, help="SOURCE is a Croissant description; take its file, name and words.")
@click.option("--file", default="", help="Which file of a Croissant description with several.")
@click.option("--max-size", default="100Gi", show_default=True, help="Fetch no more bytes than this.")
@click.option("--to", "address", metavar="STORE", help="Object store (default: object_store of the settings, or here).")
@click.option("--rehash", is_flag=True, help="Trust no cache.")
@namespace_option
@specs_option
@click.pass_context
def add_command(
    ctx: click.Context,
    /,
    labels: tuple[str, ...],
    croissant: bool,
    file: str,
    address: str | None,
    rehash: bool,
    **given: str,
) -> int:
    """Put SOURCE (a file, a folder or a web address) into an object store, and write its entry beside the specs."""
    place = store_place(ctx)
    target = upload_target(place, address or settings_of(ctx).object_store or None, rehash=rehash)
    folder, size = specs_folder(place, given.pop("specs")), byte_limit(given.pop("max_size"))
    wanted = Wanted(**given, labels=labels_of(labels), max_size=size, folder=folder)
    say(*add(place, target, from_croissant(wanted, file) if croissant else wanted))
    return Exit.OK


def specs_folder(place: Place, specs: str) -> Path:
    """The folder of specs and entries."""
    return place.root / specs


@dataset_command.command("list", epilog=examples("ml dataset list", "ml dataset list digit -l project=vision -o json"))
@click.argument("query", default="")
@click.option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Only those with this label.")
@specs_option
@output_option
@click.pass_context
def list_command(ctx: click.Context, query: str, labels: tuple[str, ...], specs: str, output: str) -> int:
    """Entries whose name or description holds QUERY."""
    from controller.inputs.catalogue import entries, matches

    asked = labels_of(labels)
    found = [entry for entry in entries(specs_folder(store_place(ctx), specs)) if matches(entry.dataset, query, asked)]
    value = report("DatasetList", items=[_item(entry) for entry in found])
    emit(value, output, table=lambda wide: _table(found, wide=wide), names=lambda: [entry.name for entry in found])
    return Exit.OK


def _item(entry: "Entry") -> dict[str, Any]:
    meta = entry.dataset.metadata
    spec = entry.dataset.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"name": meta.name, "namespace": meta.namespace, "labels": meta.labels, "file": str(entry.file), **spec}


def _table(found: "Sequence[Entry]", *, wide: bool) -> str:
    if not found:
        return "no such dataset; make one with `ml dataset add`"
    head = ["NAME", "VERSION", "FORM", "FILES", "SIZE", "LABELS", *(["SHA256", "FILE"] if wide else ["DESCRIPTION"])]
    rows = []
    for entry in found:
        spec, labels = entry.dataset.spec, entry.dataset.metadata.labels
        rest = [spec.sha256, str(entry.file)] if wide else [spec.description[:60] or "-"]
        named = ",".join(f"{key}={value}" for key, value in labels.items()) or "-"
        rows.append([entry.name, spec.version, spec.form, _number(spec.files), _size(spec.size), named, *rest])
    return columns(head, rows)


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _size(value: int | None) -> str:
    return "-" if value is None else f"{value:,} B" if value < 2**20 else f"{value / 2**20:,.1f} MiB"


def find_entry(folder: Path, what: str, namespace: str) -> "tuple[Entry, DatasetVersion]":
    """The entry and version of NAME[@VERSION].

    Raises:
        CatalogueError: there is none (exit 5).
    """
    from controller.inputs.catalogue import entries, find, find_version

    listed = [entry for entry in entries(folder) if entry.dataset.metadata.namespace == namespace]
    name, _, version = what.removeprefix("dataset:").partition("@")
    dataset = find((entry.dataset for entry in listed), name)
    return next(entry for entry in listed if entry.name == name), find_version(dataset, version)


@dataset_command.command("show", epilog=examples("ml dataset show digits", "ml dataset show digits@1 -o yaml"))
@click.argument("name", shell_complete=complete_entries)
@namespace_option
@specs_option
@output_option
@click.pass_context
def show_command(ctx: click.Context, name: str, namespace: str, specs: str, output: str) -> int:
    """One entry: its versions, where it came from, and whether the stores have it."""
    place = store_place(ctx)
    entry, version = find_entry(specs_folder(place, specs), name, namespace)
    stores = {"here": open_objects(place).has(version.sha256)}
    shared = settings_of(ctx).object_store
    if shared:
        stores[shared] = open_objects_at(shared, settings_of(ctx)).has(version.sha256)
    value = report("DatasetReport", **_item(entry), shown=version.version, stores=stores)
    emit(value, output, table=lambda _wide: _shown(value, entry, version), names=lambda: [entry.name])
    return Exit.OK


def _shown(value: dict[str, Any], entry: "Entry", version: "DatasetVersion") -> str:
    spec = entry.dataset.spec
    there = ", ".join(store for store, has in value["stores"].items() if has) or "in no store that is known here"
    known = {
        "name": entry.name, "version": version.version, "description": spec.description, "licence": spec.licence,
        "citation": spec.citation, "from": version.uri, "digest": version.sha256, "form": version.form,
        "size": f"{_size(version.size)}, {_number(version.files)} files", "stores": there, "entry": str(entry.file),
    }  # fmt: skip
    lines = [f"{key:<12}{text}" for key, text in known.items() if text]
    lines += [f"{'also':<12}{each.version}  {short_digest(each.sha256)}" for each in spec.versions if each != version]
    return "\n".join(lines)


@dataset_command.command("verify", epilog=examples("ml dataset verify digits", "ml dataset verify digits@1 -o json"))
@click.argument("name", shell_complete=complete_entries)
@click.option("--from", "address", metavar="STORE", help="Verify what this store has (default: this repository's).")
@namespace_option
@specs_option
@output_option
@click.pass_context
def verify_command(ctx: click.Context, name: str, address: str | None, namespace: str, specs: str, output: str) -> int:
    """Read every byte of it again from the store, compare the digests, and check the rows against the schema."""
    place = store_place(ctx)
    entry, version = find_entry(specs_folder(place, specs), name, namespace)
    store = store_at(place, address or settings_of(ctx).object_store or None)
    with ProgressLine() as progress:
        files = _verify(store, version, progress)
    rows = check_rows(entry.dataset, store, version.sha256, version.form)
    value = report(
        "DatasetVerification", name=entry.name, version=version.version, sha256=version.sha256, verified=True,
        files=files, filesWithRows=rows,
    )  # fmt: skip
    checked = f", rows of {rows} checked" if rows else ""
    line = f"{entry.name}@{version.version} {version.sha256} verified: {files:,} files{checked}"
    emit(value, output, table=lambda _wide: line, names=lambda: [entry.name])
    return Exit.OK


def _verify(store: Any, version: "DatasetVersion", progress: ProgressLine) -> int:
    from controller.inputs.snapshots import load

    if version.form == "file":
        store.open(version.sha256).close()
        return 1
    manifest = load(store, version.sha256, snapshot=False)
    for done, file in enumerate(manifest, 1):
        try:
            store.open(file.sha256).close()
        except (LookupError, ValueError) as error:
            raise CommandError(f"{file.path.decode('utf-8', 'backslashreplace')}: {error}", Exit.REFUSED) from error
        progress("verifying files", done, manifest.files)
    return manifest.files


import controller.entrypoints.cli.dataset_data  # noqa: E402, F401  # its commands are part of the group above
