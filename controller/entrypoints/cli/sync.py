"""`ml sync`: a folder as a content-addressed snapshot, in an object store.

Promises: prints the digest for `source.snapshot` alone on standard output; interrupted anywhere, the next call goes
on. Does not: remove anything.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import store_place
from controller.entrypoints.cli.output import ProgressLine, emit, examples, output_option, report
from controller.wiring import Place, open_objects, open_objects_at

if TYPE_CHECKING:
    from controller.inputs.sync import Target, Upload
    from controller.ports.objectstore import ObjectStore

PAUSE = 0.5
"""Seconds between two looks of --watch, at least; ten times as long as a look takes, so that it costs a tenth of a
core."""


@click.command(
    "sync",
    epilog=examples(
        "ml sync .                                  put the folder into this repository's objects",
        "ml sync code --to ssh://ml@gpu1/srv/objects",
        "ml sync . --watch                          again whenever something changes",
    ),
)
@click.argument("directory", type=click.Path(), default=".")
@click.option("--to", "address", metavar="STORE", help="Object store: s3://bucket/prefix, ssh://host/folder, a folder.")
@click.option("--watch", is_flag=True, help="Go on: sync on every change, until interrupted.")
@click.option("--rehash", is_flag=True, help="Trust no cache: read every file, and ask the store for every object.")
@output_option
@click.pass_context
def sync_command(
    ctx: click.Context, directory: str, address: str | None, watch: bool, rehash: bool, output: str
) -> int:
    """Put DIRECTORY into an object store as a snapshot; print its digest, to be written as source.snapshot.

    What .gitignore and .mlignore name is left out (and .git and .fetchml). Only objects that the store lacks travel.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise CommandError(f"{directory}: there is no such folder", Exit.NOT_FOUND)
    place = store_place(ctx)
    target = upload_target(place, address, rehash=rehash)
    done = sync_once(folder, target)
    _say(folder, done, output, line=watch)
    if watch:
        _follow(folder, target, output, done.sha256)
    return Exit.OK


def upload_target(place: Place, address: str | None, *, rehash: bool) -> "Target":
    """Where `address` (None: this repository's objects) is, with what is remembered of it.

    Raises:
        CommandError: no such form of an address (exit 2).
    """
    from controller.inputs.statcache import StatCache
    from controller.inputs.sync import Target
    from controller.wiring import prepare

    prepare(place)
    cache = None if rehash else StatCache(place.base / "cache" / "sync")
    return Target(store_at(place, address), address or str(place.base), cache, place.base / "cache" / "sync")


def store_at(place: Place, address: str | None) -> "ObjectStore":
    """The store at an address; this repository's without one.

    Raises:
        CommandError: no such form of an address (exit 2).
    """
    try:
        return open_objects_at(address) if address else open_objects(place)
    except ValueError as error:
        raise CommandError(str(error), Exit.USAGE) from error


def sync_once(folder: Path, target: "Target") -> "Upload":
    """One snapshot.

    Raises:
        CommandError: something in the folder cannot be taken (exit 4).
    """
    from controller.inputs.beneath import UnsafePathError
    from controller.inputs.sync import put_snapshot

    try:
        with ProgressLine() as progress:
            return put_snapshot(folder, target, progress)
    except UnsafePathError as error:
        raise CommandError(f"{folder}: {error}", Exit.REFUSED) from error


def _say(folder: Path, done: "Upload", output: str, *, line: bool) -> None:
    sent = f"{done.sent:,} sent ({done.sent_bytes / 2**20:.1f} MiB)" if done.sent else "nothing to send"
    click.echo(f"{done.files:,} files, {done.size / 2**20:.1f} MiB; {done.read:,} read, {sent}", err=True)
    if line and output == "json":
        click.echo(json.dumps(_value(folder, done)))
    else:
        emit(_value(folder, done), output, table=lambda _wide: done.sha256, names=lambda: [done.sha256])


def _value(folder: Path, done: "Upload") -> dict[str, Any]:
    return report(
        "Snapshot",
        folder=str(folder),
        sha256=done.sha256,
        files=done.files,
        size=done.size,
        read=done.read,
        sent=done.sent,
        sentBytes=done.sent_bytes,
    )


def _follow(folder: Path, target: "Target", output: str, last: str) -> None:
    """Look again and again: a look is a stat walk, which no file system can keep from us."""
    from controller.inventory.clock import SystemClock

    clock = SystemClock()
    said = ""
    click.echo("watching; Ctrl-C ends it", err=True)
    while True:
        began = clock.monotonic()
        try:
            done = sync_once(folder, target)
        except CommandError as error:  # a file that is being written, a link that comes and goes
            if str(error) != said:
                click.echo(f"{error} (looking again)", err=True)
            said = str(error)
        else:
            if done.sha256 != last:
                _say(folder, done, output, line=True)
            last, said = done.sha256, ""
        clock.sleep(max(PAUSE, 10 * (clock.monotonic() - began)))
