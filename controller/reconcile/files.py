"""The folder of a run, and files that are whole or absent.

Promises: the layout of design contract section "Files"; `write_atomic` is durable when it returns (temp, fsync,
rename, fsync of the folder). Does not: know what the files mean.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.ports import durable

WRITE_RECORD = durable.register(
    "run.write_record", "a file of the run folder (spec, plan, manifest, attestation, verdict) is in place"
)


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` durably; a reader sees the old or the new bytes, never half. The same bytes are not written again.

    Raises:
        OSError: disk full, read-only, ...; the old file is untouched.
    """
    write_together({path: data})


def write_together(files: Mapping[Path, bytes]) -> None:
    """The same for several files, each whole or absent; their folders are synced once, before this returns."""
    changed = [path for path, data in files.items() if not (path.is_file() and path.read_bytes() == data)]
    for path in changed:
        with durable.step(WRITE_RECORD):
            _replace(path, files[path])
    for folder in {path.parent for path in files}:  # also where a crash came between the rename and this
        fsync_folder(folder)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Paths of one run beneath <base>/experiments/<run-id>."""

    folder: Path

    @property
    def spec(self) -> Path:
        """The spec as it stood at launch."""
        return self.folder / "spec.yaml"

    @property
    def plan(self) -> Path:
        """The plan's RFC 8785 bytes."""
        return self.folder / "plan.json"

    @property
    def params(self) -> Path:
        """Parameters as the run sees them (FETCHML_PARAMS)."""
        return self.folder / "params.json"

    @property
    def manifest(self) -> Path:
        """run_manifest.json."""
        return self.folder / "run_manifest.json"

    @property
    def attestation(self) -> Path:
        """The signed provenance statement."""
        return self.folder / "attestation.dsse.json"

    @property
    def verdict(self) -> Path:
        """The signed trust level."""
        return self.folder / "verdict.dsse.json"

    @property
    def log(self) -> Path:
        """Standard output and error of the newest attempt."""
        return self.folder / "run.log"

    @property
    def results(self) -> Path:
        """What the run leaves."""
        return self.folder / "results"

    @property
    def metrics(self) -> Path:
        """Metrics that the run appended."""
        return self.results / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Kept across attempts."""
        return self.folder / "checkpoints"

    def attempt(self, number: int) -> Path:
        """Folder of one attempt: the runtime's records, the workspace, and what an earlier attempt left."""
        return self.folder / "attempts" / str(number)

    def workspace(self, number: int) -> Path:
        """Private copy of the code for one attempt."""
        return self.attempt(number) / "workspace"

    def dataset(self, number: int, name: str) -> Path:
        """Copy of a dataset that came from the commit, for one attempt."""
        return self.attempt(number) / "data" / name


def run_files(base: Path, run_id: str) -> RunFiles:
    """The folder of a run beneath the base path."""
    return RunFiles(base / "experiments" / run_id)


def read_json(path: Path) -> Any:
    """A JSON file, or None when it is not there."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
