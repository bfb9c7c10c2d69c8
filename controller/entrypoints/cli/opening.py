"""From a path on the command line to documents and ports.

Promises: bad specs end the command with every problem and exit 3; a missing path with exit 5. Does not: print results.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        raise CommandError(f"no records at {place.base}; run a spec first: ml run specs/x.yaml", Exit.NOT_FOUND)
    return place


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
    """The one Experiment of a file (or the one called `name`).

    Raises:
        CommandError: missing (5), invalid (3), none or several (2).
    """
    from controller.api.documents import load
    from controller.api.problems import InvalidDocumentError

    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise CommandError(f"{path}: there is no such file", Exit.NOT_FOUND) from error
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", Exit.NOT_FOUND) from error
    loaded = load(data, _relative(path, root))
    if loaded.problems:
        raise InvalidDocumentError(loaded.problems)
    found = [
        document for document in loaded.documents if document.kind == "Experiment" and name in (None, document.name)
    ]
    if len(found) != 1:
        names = ", ".join(document.name for document in found) or "none"
        raise CommandError(f"{path} holds {len(found)} experiments ({names}); name one with --name", Exit.USAGE)
    return found[0]


def _relative(path: Path, root: Path) -> str:
    absolute = Path.cwd() / path
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else str(path)


def open_experiment(
    ctx: click.Context, path: str, name: str | None, progress: "Progress", **source_options: Any
) -> Opened:
    """Load a spec and wire everything around it."""
    from controller.wiring import build_ports, open_source, open_store

    settings = settings_of(ctx)
    place = place_of(Path(path), settings)
    document = load_experiment(Path(path), place.root, name)
    source = open_source(place, Path(path).parent, **source_options)
    ports = build_ports(place, settings, source, store=open_store(place), progress=progress)
    return Opened(place, settings, document, ports)
