"""The records of a container's attempt, and how they are read.

Promises: records hold what a later process needs, never the value of a secret. Does not: ask the engine.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controller.ports import folders
from controller.ports.runtime import AttemptSpec, Observed, RuntimeRefusedError, RuntimeState
from controller.runtimes import records
from controller.runtimes.container import launcher, request

ATTEMPT, CLAIMED, STARTED, STOPPED, EXITED = "container.json", "claimed.json", "started.json", "stop.json", "exit.json"
RUN_UID = 65532
"""The run's user where we are root: nobody's, and nobody else's of ours."""


def place_of(name: str, run_dir: Path) -> Path:
    """Where the attempt's records lie."""
    digits = name.rpartition("-")[2]
    number = int(digits) if digits.isascii() and digits.isdigit() else 0
    return Path(records.folder(str(run_dir), number))


def store_of(found: Mapping[str, Any]) -> str:
    """Whose container it is."""
    return str((found["Config"].get("Labels") or {}).get(f"{request.LABEL}store", ""))


def check_labels(found: Mapping[str, Any], attempt: AttemptSpec) -> None:
    """Raises:
    RuntimeRefusedError: NotOurs.
    """
    marks = found["Config"].get("Labels") or {}
    if any(marks.get(name) != value for name, value in request.labels(attempt).items()):
        raise RuntimeRefusedError("NotOurs", f"a container {attempt.name} exists already and is not this attempt's")


def give_away(attempt: AttemptSpec) -> None:
    """The run's folders belong to the run's user, where we may give them away."""
    if os.getuid() != 0:
        return
    for folder in (attempt.workspace, attempt.results, attempt.checkpoints):
        if folder is not None:
            os.chown(folder, RUN_UID, RUN_UID, follow_symlinks=False)
            for entry in folders.walk(folder):
                os.chown(entry.path, RUN_UID, RUN_UID, follow_symlinks=False)


def record_of(attempt: AttemptSpec, kit: launcher.Kit) -> dict[str, Any]:
    """container.json: what a later process needs, never a secret's value."""
    limits = attempt.limits
    polled = {"disk": limits.disk, "deadline": limits.deadline, "log": limits.log_bytes}
    return {
        "format": "fetchml.container/v1",
        "name": attempt.name,
        "run_id": attempt.run_id,
        "number": attempt.number,
        "store_id": attempt.store_id,
        "image": attempt.image,
        "gpus": list(attempt.gpus),
        "secrets": sorted(attempt.secrets),
        "limits": asdict(limits),
        "log": str(attempt.log),
        "watched": [str(path) for path in (attempt.workspace, attempt.results, attempt.checkpoints) if path],
        "outside": {
            "image": attempt.image,
            "fresh": True,
            "network": attempt.network,
            "launcher_sha256": kit.sha256,
            "limits": {name: {"value": value, "enforcer": "reconciler (polled)"} for name, value in polled.items()}
            | {"open_files": {"value": limits.open_files, "enforcer": "rlimit"}},
        },
    }


def seen_as(record: Mapping[str, Any], state: RuntimeState, values: Mapping[str, Any]) -> Observed:
    """An observation from a record of the attempt and what is known beyond it."""
    names = ("exit_code", "reason", "message", "started_at", "ended_at", "sandbox", "usage")
    known = {name: values[name] for name in names if values.get(name) is not None}
    return Observed(
        str(record["name"]), state, run_id=str(record["run_id"]), number=int(str(record["number"])), **known
    )


def time_of(text: str) -> str | None:
    """The engine's time as ours: UTC, milliseconds. None for its zero."""
    if not text or text.startswith("0001-"):
        return None
    head, _, rest = text.rstrip("Z").partition(".")
    zone = rest[rest.find("+") :] if "+" in rest else "+00:00"
    digits = rest.partition("+")[0]
    return stamp(datetime.fromisoformat(f"{head}.{(digits + '000000')[:6]}{zone}"))


def end_of(finished: str, started: str, now: str) -> str:
    """When it ended. An engine stamps the start once the program is on its way: one that ends at once ends before."""
    return max(time_of(finished) or now, started)


def stamp(moment: datetime) -> str:
    """As records have it: UTC, milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
