"""From a path on the command line to documents and ports.

Promises: bad specs end the command with every problem and exit 3; a missing path with exit 5. Does not: print results.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.settings import Settings, load_settings
from controller.wiring import Place, place_of

if TYPE_CHECKING:
    from controller.api.documents import Document
    from controller.ports.inputs import Progress
    from controller.ports.source import Key
    from controller.reconcile.context import Ports


def settings_of(ctx: click.Context) -> Settings:
    """Settings in force for this command."""
    return load_settings(flags=(ctx.obj or {}).get("flags"))


def store_place(ctx: click.Context, directory: str = ".") -> Place:
    """Where the records of the repository around `directory` lie."""
    return place_of(Path(directory), settings_of(ctx))


def existing_store(ctx: click.Context, directory: str = ".") -> Place:
    """The same, when there are records.

    Raises:
        CommandError: nothing has run here yet (exit 5).
    """
    place = store_place(ctx, directory)
    if not place.store.exists():
        raise CommandError(
            f"nothing has run here yet (no {place.store}); begin with: ml run specs/x.yaml", Exit.NOT_FOUND
        )
    return place


LEASE_NAME = "reconciler"
"""controller.reconcile.loop.LEASE_NAME, whose import would bring pydantic; a test compares them."""


def reconciler_alive(place: Place) -> bool:
    """Does somebody hold the lease of this store: a process that lives, or where the kernel cannot say, one in time?"""
    from controller.inventory.clock import SystemClock
    from controller.stores.sqlite_lock import file_of, held
    from controller.stores.sqlite_read import lease_row

    locked = held(file_of(place.store, LEASE_NAME))
    if locked is not None:
        return locked
    row = lease_row(place.store, LEASE_NAME)
    return row is not None and row.expires_at > SystemClock().monotonic()


@dataclass(frozen=True, slots=True)
class Opened:
    """One experiment of one file, and everything to reconcile it with."""

    place: Place
    settings: Settings
    document: "Document"
    ports: "Ports"

    @property
    def key(self) -> "Key":
        """The experiment's key."""
        from controller.ports.source import key_of

        return key_of(self.document)


def load_experiment(path: Path, root: Path, name: str | None = None) -> "Document":
    """The one Experiment of a file (or the one called `name`, or namespace/name).

    Raises:
        CommandError: missing (5), invalid (3), a folder, none or several (2).
    """
    from controller.api.documents import load
    from controller.api.problems import InvalidDocumentError

    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise CommandError(f"{path}: there is no such file", Exit.NOT_FOUND) from error
    except IsADirectoryError as error:
        raise CommandError(_is_a_folder(path), Exit.USAGE) from error
    loaded = load(data, _relative(path, root))
    if loaded.problems:
        raise InvalidDocumentError(loaded.problems)
    experiments = [document for document in loaded.documents if document.kind == "Experiment"]
    found = [each for each in experiments if name in (None, each.name, f"{each.namespace}/{each.name}")]
    if len(found) == 1:
        return found[0]
    names = ", ".join(_shortest(each, experiments) for each in experiments)
    if not experiments:
        kinds = ", ".join(sorted({document.kind for document in loaded.documents})) or "nothing"
        raise CommandError(f"{path} holds no Experiment, but {kinds}", Exit.USAGE)
    what = f"no experiment {name!r}" if name and not found else f"{len(found) or len(experiments)} experiments"
    raise CommandError(f"{path} holds {what}; choose one with --name: {names}", Exit.USAGE)


def _shortest(document: "Document", among: "Sequence[Document]") -> str:
    """The name, with its namespace where the name alone is not enough."""
    same = sum(other.name == document.name for other in among)
    return document.name if same == 1 else f"{document.namespace}/{document.name}"


def _is_a_folder(path: Path) -> str:
    specs = sorted(file for file in path.glob("*.yaml") if not file.name.endswith(".status.yaml"))
    such = f", such as {specs[0]}" if specs else ""
    return f"{path} is a folder; name one file in it{such}, or reconcile all of them: ml reconcile {path}"


def _relative(path: Path, root: Path) -> str:
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow links out of the repository
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else str(path)


def open_experiment(
    ctx: click.Context,
    path: str,
    name: str | None,
    progress: "Progress",
    *,
    among: Path | None = None,
    writes: bool = False,
    launches: bool = False,
) -> Opened:
    """Load a spec and wire everything around it.

    `among` is the folder with which it is reconciled, unless that is its own. Without `writes` the store is only looked
    at, and need not be there or writable. With `launches` the signing key is opened, and so checked, now.
    """
    from controller.wiring import build_ports, look_at_store, open_signer, open_source, open_store, unopened_signer

    settings = settings_of(ctx)
    place = place_of(Path(path), settings)
    document = load_experiment(Path(path), place.root, name)
    signer = open_signer(place, settings) if launches else unopened_signer(place, settings)
    folder = among or Path(path).parent
    # Drafts in the root of a repository are not reconciled together with its specs folder.
    apart = among is None and (place.root / "specs").is_dir() and folder.resolve() == place.root.resolve()
    source = open_source(place, folder, expected="" if apart else document.name)
    store = open_store(place) if writes or launches else look_at_store(place)
    ports = build_ports(place, settings, source, store=store, signer=signer, progress=progress)
    return Opened(place, settings, document, ports)
