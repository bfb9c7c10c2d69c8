"""What a finished attempt left: outputs, metrics, log, checkpoints, and its inputs hashed once more.

Promises: only regular files beneath the run's folders are read, never through a link, and nothing that can block (a
FIFO) is waited for; inputs are re-hashed after the run, past the cache; a secret's value in an output or in the
metrics is found, wherever in the file it stands. Does not: sign or decide.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from controller.api.base import byte_count
from controller.api.experiment import Output
from controller.facts.facts import DatasetFacts
from controller.ports import folders
from controller.ports.inputs import Inputs
from controller.ports.store import AttemptRow
from controller.reconcile import metrics
from controller.reconcile.files import RunFiles
from controller.reconcile.launch import LaunchRecord

CHUNK = 2**20
MAX_CHECKPOINT_FILES = 1_000_000
"""Checkpoints are counted up to here."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What was found."""

    outputs: tuple[Mapping[str, Any], ...]
    """name, path, required, present; sha256 and size when present."""
    metrics: Mapping[str, float]
    """Last value of every metric."""
    bad_metric_lines: int
    datasets_after: Mapping[str, str | None]
    datasets_touched: Mapping[str, bool]
    """Was a file of it written, touched or replaced since it was verified? Only those that could be compared."""
    log_sha256: str | None
    log_size: int
    metrics_file: Mapping[str, Any] | None
    """sha256, size and lines of metrics.jsonl; None when there is none."""
    checkpoint_files: int = 0
    """Regular files that a next attempt finds in the checkpoints folder."""
    reason: str = ""
    """OutputMissing, OutputNotAFile, OutputTooLarge, SecretInOutput, or empty."""
    message: str = ""


def collect(
    inputs: Inputs, files: RunFiles, record: LaunchRecord, secrets: Mapping[str, str], attempt: AttemptRow
) -> Collected:
    """Look at the results folder and at the inputs, after the attempt."""
    before = [_as_read(files, facts, attempt) for facts, _ in record.datasets]
    after = [inputs.rehash(facts, record.document_file) for facts in before]
    needles = tuple(value.encode("utf-8", "surrogateescape") for value in secrets.values() if value)
    results = _Results(files.results, needles, byte_count(record.spec.resources.disk))
    found = {output.path: results.read(output.path) for output in record.spec.outputs}
    measured = results.read(files.metrics.name)
    parsed = _metrics(files) if measured.sha256 and not measured.leaks else metrics.Metrics()
    log = _read(files.folder, files.log.name)
    reason, message = _objection(record.spec.outputs, found, {**found, files.metrics.name: measured})
    return Collected(
        outputs=tuple(_entry(output, found[output.path]) for output in record.spec.outputs),
        metrics=parsed.last,
        bad_metric_lines=parsed.bad,
        datasets_after={facts.name: facts.sha256 for facts in after},
        datasets_touched={
            old.name: old.stamp != new.stamp for old, new in zip(before, after, strict=True) if old.stamp and new.stamp
        },
        log_sha256=log.sha256,
        log_size=log.size,
        metrics_file={"sha256": measured.sha256, "size": measured.size, "lines": parsed.lines}
        if measured.sha256
        else None,
        checkpoint_files=count_files(files.checkpoints),
        reason=reason,
        message=message,
    )


def count_files(folder: Path) -> int:
    """Regular files beneath a folder, not through links; 0 when it is not there."""
    count = 0
    for entry in folders.walk(folder):
        count += entry.is_file(follow_symlinks=False)
        if count >= MAX_CHECKPOINT_FILES:
            break
    return count


def _as_read(files: RunFiles, facts: DatasetFacts, attempt: AttemptRow) -> DatasetFacts:
    """The place that the run read: for a dataset from the commit, its staged copy."""
    if not facts.tracked:
        return facts
    stamp = attempt.data.get("stamps", {}).get(facts.name, "")
    return replace(facts, tracked=False, path=str(files.dataset(attempt.number, facts.name)), stamp=stamp)


@dataclass(slots=True)
class _Read:
    """One file of the run, read to its end."""

    sha256: str | None = None
    """None: it is not there, or is no regular file."""
    size: int = 0
    leaks: bool = False
    exists: bool = False
    too_large: bool = False
    """It was not read: with it the results would have more bytes than resources.disk."""


class _Results:
    """Reads files of the results folder: each inode once, and in all no more bytes than the run may write.

    The bytes are those of the files' sizes, holes included: a sparse file costs nothing to write and hours to hash.
    """

    def __init__(self, folder: Path, needles: tuple[bytes, ...], limit: int) -> None:
        self._folder = folder
        self._needles = needles
        self._left = limit
        self._known: dict[tuple[int, int], _Read] = {}

    def read(self, relative: str) -> _Read:
        try:
            with _open(self._folder, relative) as file:
                status = os.fstat(file.fileno())
        except OSError:
            return _read(self._folder, relative)
        inode = status.st_dev, status.st_ino
        if inode not in self._known:
            fits = status.st_size <= self._left
            self._known[inode] = _read(self._folder, relative, self._needles) if fits else _Read(too_large=True)
            self._left -= self._known[inode].size
        return self._known[inode]


def _entry(output: Output, read: _Read) -> dict[str, Any]:
    present = read.sha256 is not None
    entry = {"name": output.name, "path": output.path, "required": output.required, "present": present}
    return entry | ({"sha256": read.sha256, "size": read.size} if present else {})


def _objection(outputs: tuple[Output, ...], found: Mapping[str, _Read], every: Mapping[str, _Read]) -> tuple[str, str]:
    leaks = [path for path, read in every.items() if read.leaks]
    if leaks:
        return "SecretInOutput", f"the value of a secret is in {', '.join(leaks)}"
    large = [path for path, read in every.items() if read.too_large]
    if large:
        return "OutputTooLarge", f"with {', '.join(large)} the outputs have more bytes than resources.disk; state more"
    required = [output.path for output in outputs if output.required and found[output.path].sha256 is None]
    odd = [path for path in required if found[path].exists]
    if odd:
        return "OutputNotAFile", f"{', '.join(odd)} in $(results) must be a regular file, not a link, folder or other"
    if required:
        return "OutputMissing", f"required output not found in $(results): {', '.join(required)}"
    return "", ""


def _metrics(files: RunFiles) -> metrics.Metrics:
    with suppress(OSError), _open(files.results, files.metrics.name) as file:
        return metrics.parse(file.read(metrics.MAX_BYTES))
    return metrics.Metrics()


def _read(folder: Path, relative: str, needles: tuple[bytes, ...] = ()) -> _Read:
    """Digest, size and whether a needle occurs, of a regular file beneath `folder`."""
    try:
        file = _open(folder, relative)
    except FileNotFoundError:
        return _Read()
    except OSError:  # a link, a socket, a folder that may not be entered
        return _Read(exists=True)
    with file:
        digest, read, tail = hashlib.sha256(), _Read(exists=True), b""
        overlap = max(map(len, needles), default=1) - 1
        for chunk in _chunks(file):
            digest.update(chunk)
            read.size += len(chunk)
            window = tail + chunk
            read.leaks = read.leaks or any(needle in window for needle in needles)
            tail = window[-overlap:] if overlap else b""
    read.sha256 = "sha256:" + digest.hexdigest()
    return read


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def _open(folder: Path, relative: str) -> BinaryIO:
    """Open a regular file beneath a folder, without following a link and without waiting for a writer.

    Raises:
        OSError: there is none.
    """
    *parents, name = [part for part in relative.split("/") if part not in ("", ".")]
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for part in parents:
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = deeper
        found = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
    finally:
        os.close(here)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise OSError(errno.EINVAL, "not a regular file", relative)
    return os.fdopen(found, "rb")
