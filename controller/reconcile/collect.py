"""What a finished attempt left: outputs, metrics, log, and its inputs hashed once more.

Promises: outputs are regular files beneath the results folder, read without following links; inputs are re-hashed after the run, past
the cache; a secret's value in an output is found. Does not: sign or decide.
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from controller.api.experiment import Output
from controller.facts.facts import DatasetFacts
from controller.ports.inputs import Inputs
from controller.reconcile.files import RunFiles
from controller.reconcile.launch import LaunchRecord

CHUNK = 2**20
MAX_METRICS_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Collected:
    """What was found."""

    outputs: tuple[Mapping[str, Any], ...]
    """name, path, sha256, size, required, present."""
    metrics: Mapping[str, float]
    """Last value of every metric."""
    bad_metric_lines: int
    datasets_after: Mapping[str, str | None]
    log_sha256: str | None
    log_size: int
    metrics_file: Mapping[str, Any] | None
    """sha256, size and lines of metrics.jsonl; None when there is none."""
    reason: str = ""
    """OutputMissing, OutputNotAFile, SecretInOutput, or empty."""
    message: str = ""


def collect(
    inputs: Inputs, files: RunFiles, record: LaunchRecord, secrets: Mapping[str, str], number: int
) -> Collected:
    """Look at the results folder and at the inputs, after the run."""
    outputs = tuple(_output(files.results, output, tuple(secrets.values())) for output in record.spec.outputs)
    metrics, lines, bad = read_metrics(files.metrics)
    metrics_sha256, metrics_size, _ = _digest_beneath(files.results, files.metrics.name)
    log_sha256, log_size, _ = _digest_beneath(files.folder, files.log.name)
    reason, message = _objection(outputs)
    return Collected(
        outputs=tuple({key: value for key, value in output.items() if key != "secret"} for output in outputs),
        metrics=metrics,
        bad_metric_lines=bad,
        datasets_after={
            facts.name: inputs.rehash(_as_read(files, facts, number), record.document_file)
            for facts, _ in record.datasets
        },
        log_sha256=log_sha256,
        log_size=log_size,
        metrics_file={"sha256": metrics_sha256, "size": metrics_size, "lines": lines} if metrics_sha256 else None,
        reason=reason,
        message=message,
    )


def _as_read(files: RunFiles, facts: DatasetFacts, number: int) -> DatasetFacts:
    """The place that the run read: for a dataset from the commit, its staged copy."""
    return replace(facts, tracked=False, path=str(files.dataset(number, facts.name))) if facts.tracked else facts


def read_metrics(path: Path) -> tuple[dict[str, float], int, int]:
    """The last value of every numeric field of a metrics.jsonl, how many lines it has, and how many could not be read."""
    last: dict[str, float] = {}
    lines = bad = 0
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return {}, 0, 0
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return {}, 0, 0
        for line in file.read(MAX_METRICS_BYTES).splitlines():
            lines += 1
            try:
                entry = json.loads(line)
                last |= {str(key): value for key, value in entry.items() if _is_number(value)}
            except (ValueError, AttributeError, RecursionError):
                bad += bool(line.strip())
    return last, lines, bad


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def _output(results: Path, output: Output, secrets: tuple[str, ...]) -> dict[str, Any]:
    digest, size, leaked = _digest_beneath(results, output.path, secrets)
    entry: dict[str, Any] = {
        "name": output.name,
        "path": output.path,
        "required": output.required,
        "present": digest is not None,
    }
    if digest is not None:
        entry |= {"sha256": digest, "size": size}
    return entry | {"secret": leaked}


def _objection(outputs: tuple[Mapping[str, Any], ...]) -> tuple[str, str]:
    leaks = [output["path"] for output in outputs if output["secret"]]
    if leaks:
        return "SecretInOutput", f"the value of a secret is in {', '.join(leaks)}"
    missing = [output["path"] for output in outputs if output["required"] and not output["present"]]
    if missing:
        return "OutputMissing", f"required output not found in $(results) as a regular file: {', '.join(missing)}"
    return "", ""


def _digest_beneath(folder: Path, relative: str, secrets: tuple[str, ...] = ()) -> tuple[str | None, int, bool]:
    """Digest, size and whether a secret occurs, of a regular file beneath `folder`, never through a link."""
    try:
        handle = _open_beneath(folder, relative)
    except OSError:
        return None, 0, False
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None, 0, False
        digest = hashlib.sha256()
        size, leaked, tail = 0, False, b""
        needles = [secret.encode() for secret in secrets if secret]
        overlap = max((len(needle) for needle in needles), default=1) - 1
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            window = tail + chunk
            leaked = leaked or any(needle in window for needle in needles)
            tail = window[-overlap:] if overlap else b""
    return "sha256:" + digest.hexdigest(), size, leaked


def _open_beneath(folder: Path, relative: str) -> int:
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for part in parts[:-1]:
        try:
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
        finally:
            os.close(here)
        here = deeper
    try:
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
    finally:
        os.close(here)
