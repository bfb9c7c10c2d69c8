"""`ml dataset add`: bytes into an object store, and an entry for them beside the specs.

Promises: the entry is written last, so that what it names is there; the same bytes again change nothing; what was
interrupted is done by the same command again. Does not: rewrite an entry that somebody edited by hand.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.output import ProgressLine
from controller.wiring import Place

if TYPE_CHECKING:
    from controller.api.catalog import Dataset
    from controller.inputs.sync import Target, Upload


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for; empty where it says nothing."""

    source: str
    name: str
    namespace: str
    version: str
    description: str
    licence: str
    citation: str
    labels: dict[str, str]
    schema: str
    sha256: str
    max_size: int
    folder: Path
    """Of the specs."""


_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def byte_limit(text: str) -> int:
    """Bytes of 500M or 10Gi.

    Raises:
        CommandError: it is neither (exit 2).
    """
    number = text.rstrip("kKMGTi")
    unit = text[len(number) :]
    if not number.isdecimal() or unit not in _UNITS:
        raise CommandError(f"--max-size {text}: write bytes such as 500M or 10Gi", Exit.USAGE)
    return int(number) * _UNITS[unit]


def labels_of(texts: Sequence[str]) -> dict[str, str]:
    """Labels written as key=value.

    Raises:
        CommandError: one is not (exit 2).
    """
    for text in texts:
        if "=" not in text:
            raise CommandError(f"--label {text}: write key=value", Exit.USAGE)
    return dict(text.split("=", 1) for text in texts)


def from_croissant(wanted: Wanted, file: str) -> Wanted:
    """What a Croissant description says, under what the command line says."""
    from controller.inputs.catalogue_croissant import read

    path = Path(wanted.source)
    try:
        found = read(json.loads(path.read_bytes()), file)
    except ValueError as error:
        raise CommandError(f"{path} is no JSON: {error}", Exit.INVALID) from error
    local = "://" not in found.address
    return replace(
        wanted,
        source=str(path.parent / found.address) if local else found.address,
        name=wanted.name or found.name,
        version=wanted.version or found.version,
        description=wanted.description or found.description,
        licence=wanted.licence or found.licence,
        citation=wanted.citation or found.citation,
        sha256=wanted.sha256 or found.sha256,
    )


def add(place: Place, target: "Target", wanted: Wanted) -> "tuple[Dataset, Path, Upload]":
    """Put it there, check it, and write the entry.

    Raises:
        CommandError, UnsafePathError, CatalogueError, RowsError, DownloadError, OSError: nothing was written then.
    """
    from controller.api.addresses import catalogue_entry
    from controller.inputs.catalogue import CatalogueError, entries, next_version, with_version, write

    name = wanted.name or _name_from(wanted.source)
    if catalogue_entry(f"dataset:{name}") is None:
        raise CommandError(f"--name {name}: write lower-case letters, digits and '-', at most 40", Exit.USAGE)
    held = [
        each
        for each in entries(wanted.folder)
        if (each.name, each.dataset.metadata.namespace) == (name, wanted.namespace)
    ]
    if len(held) > 1:
        raise CatalogueError(f"{len(held)} entries are called {name!r}: {', '.join(str(e.file) for e in held)}")
    before = held[0] if held else None
    done, form = _put(place, target, wanted)
    if wanted.sha256 and done.sha256 != wanted.sha256:
        raise CommandError(f"{wanted.source} has {done.sha256}, not {wanted.sha256}", Exit.REFUSED)
    version = wanted.version or next_version(before.dataset if before else None, done.sha256)
    entry = _entry(place, wanted, name, version, form, done, before.dataset if before else None)
    check_rows(entry, target.objects, done.sha256, form)
    whole = with_version(before.dataset, entry.spec) if before else entry
    whole = whole.model_copy(update={"metadata": entry.metadata})
    file = before.file if before else wanted.folder / f"{name}.dataset.yaml"
    if before is None or whole != before.dataset:
        _may_write(before is None or before.as_written, file, whole)
        write(whole, file)
    return whole, file, done


def _may_write(free: bool, file: Path, whole: "Dataset") -> None:
    if not free or (file.exists() and b"kind: Dataset" not in file.read_bytes()):
        from controller.inputs.catalogue import rendered

        text = rendered(whole).decode()
        raise CommandError(f"{file} was edited by hand and is left alone; write this into it:\n{text}", Exit.REFUSED)


def _name_from(source: str) -> str:
    import re

    stem = Path(source.rstrip("/")).name.split(".")[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:40].rstrip("-")


def _put(place: Place, target: "Target", wanted: Wanted) -> "tuple[Upload, str]":
    from controller.inputs.sync import put_file, put_folder

    with ProgressLine() as progress:
        if "://" in wanted.source:
            return _fetched(place, target, wanted, progress), "file"
        path = Path(wanted.source)
        if not path.exists() and not path.is_symlink():
            raise CommandError(f"{path}: there is no such file or folder", Exit.NOT_FOUND)
        if path.is_dir() and not path.is_symlink():
            return put_folder(path, target, progress), "folder"
        return put_file(path, target), "file"


def _fetched(place: Place, target: "Target", wanted: Wanted, progress: ProgressLine) -> "Upload":
    from controller.inputs.sync import put_file

    part = fetch(place, wanted.source, wanted.sha256, wanted.max_size, progress)
    done = put_file(part, target)
    part.unlink()
    return done


def fetch(place: Place, url: str, sha256: str, limit: int, progress: ProgressLine) -> Path:
    """A web address as a file with this digest; what an interrupted call left is gone on with.

    Raises:
        CommandError: no digest is stated, or the address is of a kind that is not fetched.
    """
    from controller.inputs.remote_data_http import download

    if not sha256:
        raise CommandError(f"{url}: state what its digest must be with --sha256 sha256:<64 hex>", Exit.USAGE)
    if not url.startswith(("http://", "https://")):
        raise CommandError(f"{url}: write a path, or an http(s) address", Exit.USAGE)
    part = place.base / "cache" / "downloads" / f"{sha256.removeprefix('sha256:')}.part"
    download(url, sha256, part, limit, progress)
    return part


def _entry(
    place: Place, wanted: Wanted, name: str, version: str, form: str, done: "Upload", before: "Dataset | None"
) -> "Dataset":
    from controller.api.base import API_VERSION
    from controller.api.catalog import Dataset

    earlier = before.spec if before else None
    schema = json.loads(Path(wanted.schema).read_bytes()) if wanted.schema else earlier and earlier.row_schema
    spec = {
        "version": version,
        "uri": _uri(place, wanted.source),
        "sha256": done.sha256,
        "form": form,
        "size": done.size,
        "files": done.files,
        "description": wanted.description or (earlier.description if earlier else ""),
        "licence": wanted.licence or (earlier.licence if earlier else ""),
        "citation": wanted.citation or (earlier.citation if earlier else ""),
        "row_schema": schema,
    }
    labels = {**(before.metadata.labels if before else {}), **wanted.labels}
    metadata = {"name": name, "namespace": wanted.namespace, "labels": labels}
    value: dict[str, Any] = {"api_version": API_VERSION, "kind": "Dataset", "metadata": metadata, "spec": spec}
    try:
        return Dataset.model_validate(value)
    except ValueError as error:  # the schema's: a head, then the field, then what is wrong with it
        _, field, wrong, *_ = str(error).splitlines()
        raise CommandError(f"{field}: {wrong.partition(' [')[0].strip()}; choose another", Exit.INVALID) from error


def _uri(place: Place, source: str) -> str:
    """Where it came from: a web address, or a path from the repository's root if it lies there."""
    if "://" in source:
        return source
    path = Path(source).absolute()
    return "file:" + (path.relative_to(place.root).as_posix() if path.is_relative_to(place.root) else str(path))


def check_rows(dataset: "Dataset", objects: Any, sha256: str, form: str) -> int:
    """Check every row against the entry's schema; how many files had rows.

    Raises:
        RowsError: some do not pass; the text has the first of them.
    """
    from itertools import islice

    from controller.api.rows import RowsError, row_problems
    from controller.inputs.catalogue_rows import has_rows, rows_of
    from controller.inputs.snapshots import load

    schema = dataset.spec.row_schema
    if schema is None:
        return 0
    files = [(dataset.spec.uri, sha256)] if form == "file" else []
    if form == "folder":
        files = [(file.path.decode("utf-8", "replace"), file.sha256) for file in load(objects, sha256, snapshot=False)]
    readable = [each for each in files if has_rows(each[0])]
    if not readable:
        raise RowsError("there is a schema, but no .jsonl or .csv file (.gz or not) whose rows it could be about")
    for name, digest in readable:
        with objects.open(digest) as stream:
            wrong = list(islice(row_problems(rows_of(name, stream, schema), schema), 10))
        if wrong:
            raise RowsError(f"{name}: " + "\n  ".join(wrong))
    return len(readable)


def say(dataset: "Dataset", file: Path, done: "Upload") -> None:
    """What was done, on standard error; what a spec writes, on standard output."""
    sent = f"{done.sent:,} sent" if done.sent else "nothing to send"
    click.echo(f"{done.files:,} files, {done.size / 2**20:.1f} MiB, {sent}; entry in {file}", err=True)
    click.echo(f"dataset:{dataset.metadata.name}@{dataset.spec.version}  {done.sha256}")
