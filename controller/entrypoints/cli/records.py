"""The records of a finished run, wherever they are: a run id, an experiment, a run folder, or an exported archive.

Promises: one shape for all of them; nothing is extracted. Does not: believe them (`ml verify`, and `proof` here, do).
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import existing_store, store_place
from controller.wiring import Place

if TYPE_CHECKING:
    from controller.api.manifest import RunManifest

MAX_RECORD = 64 * 2**20
"""Bytes of a record that is read whole."""


@dataclass(frozen=True, slots=True)
class Records:
    """One run's files, by path relative to the run folder."""

    what: str
    """As the user named it."""
    place: Place
    """Whose trust/ says which keys count."""
    files: Mapping[str, Callable[[], BinaryIO]]
    folder: Path | None
    """The run folder; None for an archive."""

    def read(self, name: str) -> bytes:
        """A record, whole.

        Raises:
            CommandError: missing (5), unreadable or too large (4).
        """
        data = self.find(name)
        if data is None:
            raise CommandError(f"{self.what} has no {name}", Exit.NOT_FOUND)
        return data

    def find(self, name: str) -> bytes | None:
        """The same, or None when it is not there."""
        if name not in self.files:
            return None
        try:
            with self.files[name]() as stream:
                data = stream.read(MAX_RECORD + 1)
        except OSError as error:
            raise CommandError(f"{self.what}: {name} cannot be read: {error}", Exit.REFUSED) from error
        if len(data) > MAX_RECORD:
            raise CommandError(f"{self.what}: {name} has more than {MAX_RECORD} bytes", Exit.REFUSED)
        return data

    def manifest(self) -> "RunManifest":
        """run_manifest.json.

        Raises:
            CommandError: missing (5) or not a manifest (3).
        """
        from controller.api.manifest import InvalidManifestError, parse_manifest

        data = self.find("run_manifest.json")
        if data is None:
            raise CommandError(f"{self.what} has no run_manifest.json yet; `ml info` shows its state", Exit.NOT_FOUND)
        try:
            return parse_manifest(data)
        except InvalidManifestError as error:
            raise CommandError(f"{self.what}: run_manifest.json: {error}", Exit.INVALID) from error

    def verdict(self) -> dict[str, Any]:
        """Level (L0 to L4, or empty) and caps as the verdict states them; `objections` says if that is true."""
        from controller.trust.verdict import CAPS_FIELD, LEVEL_PREFIX

        predicate = _predicate(self.find("verdict.dsse.json"))
        levels, caps = predicate.get("verifiedLevels"), predicate.get(CAPS_FIELD)
        level = str(levels[0]).removeprefix(LEVEL_PREFIX) if isinstance(levels, list) and len(levels) == 1 else ""
        stated = [cap for cap in caps if _is_cap(cap)] if isinstance(caps, list) else []
        return {"level": level if level in LEVELS else "", "caps": stated}

    def level(self) -> str:
        """The level alone."""
        return str(self.verdict()["level"])

    def objections(self) -> tuple[str, ...]:
        """What `ml verify` would fail on, as sentences; empty when the run verifies."""
        from controller.identity.trust_folder import read_trust
        from controller.trust.verify import verify_run

        keys = self.place.trust
        if not keys.is_dir():
            return (f"{keys}: there is no folder of public keys",)
        checks = verify_run(self.files, read_trust(keys))
        return tuple(f"{check.name}: {check.message}" for check in checks if not check.ok)


LEVELS = ("L0", "L1", "L2", "L3", "L4")


def _is_cap(cap: Any) -> bool:
    return isinstance(cap, dict) and all(isinstance(cap.get(key), str) for key in ("level", "reason", "message"))


def _predicate(envelope: bytes | None) -> dict[str, Any]:
    """The predicate of an enveloped statement, unverified; empty when it cannot be read."""
    try:
        predicate = json.loads(base64.b64decode(json.loads(envelope or b"{}")["payload"]))["predicate"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
    return predicate if isinstance(predicate, dict) else {}


def reproduction(envelope: Any) -> dict[str, Any] | None:
    """What the comparison beside a run says in short, unverified: was it reproduced, and by which run."""
    predicate = _predicate(json.dumps(envelope).encode()) if envelope is not None else {}
    rerun = predicate.get("rerun")
    if not isinstance(rerun, dict) or not isinstance(predicate.get("reproduced"), bool):
        return None
    return {"reproduced": predicate["reproduced"], "run": str(rerun.get("run", ""))}


def open_records(ctx: click.Context, what: str) -> Records:
    """The run with this id, the newest of this experiment, or the run in this folder or archive.

    Raises:
        CommandError: there is none (5).
        ArchiveError: the file is no archive of ours.
    """
    from controller.identity.run_folder import run_folder

    path = Path(what)
    if path.is_file():
        from controller.identity.run_archive import archive_files

        return Records(what, store_place(ctx), archive_files(path), None)
    place = store_place(ctx)
    folder = path if (path / "run_manifest.json").is_file() else _folder(ctx, place, what)
    return Records(what, place, run_folder(folder), folder)


def _folder(ctx: click.Context, place: Place, what: str) -> Path:
    from controller.entrypoints.cli.inspect import find_run
    from controller.wiring import open_store

    direct = place.base / "experiments" / what
    if "/" not in what and what not in ("", ".", "..") and direct.is_dir():
        return direct
    place = existing_store(ctx)
    store = open_store(place)
    try:
        run = find_run(place, store, what)
    finally:
        store.close()
    folder = place.base / "experiments" / run.run_id
    if not folder.is_dir():
        raise CommandError(f"{run.run_id} has no folder any more ({folder}); was it pruned?", Exit.NOT_FOUND)
    return folder
