"""What the records of an attempt, and the life of its supervisor, say about it.

Promises: the truth after any crash, from files and /proc alone. Does not: change anything.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

from controller.ports.runtime import Observed, RuntimeState
from controller.runtimes.process import procfs, records

NEVER_STARTED = "stopped"
"""In place of a boot id: the claim was taken by stop, before any supervisor came."""


def number_of(name: str) -> int:
    """The attempt's number, the last part of its name; 0 when there is none."""
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def run_id_of(name: str) -> str:
    """The run's id within an attempt's name."""
    return name.removeprefix("fetchml-").rpartition("-")[0]


def place(name: str, run_dir: Path) -> str:
    """The folder of the attempt's records."""
    return records.folder(str(run_dir), number_of(name))


def claimed_by(name: str, run_dir: Path) -> procfs.Identity | None:
    """The supervisor that claimed the attempt."""
    words = (records.claimed(place(name, run_dir)) or "").split()
    if len(words) != 3 or not (words[0].isdigit() and words[1].isdigit()):
        return None
    return (int(words[0]), int(words[1]), words[2])


def observe(name: str, run_dir: Path) -> Observed:
    """The state now."""
    folder = place(name, run_dir)
    attempt = records.load(folder, records.ATTEMPT)
    if attempt is None or attempt.get("name") != name:
        return Observed(name, RuntimeState.ABSENT)
    claimed = records.claimed(folder) is not None
    who = claimed_by(name, run_dir)
    living = who is not None and procfs.alive(who)
    # In this order: a supervisor that is dead now wrote its exit record before, or never will.
    ended = records.load(folder, records.EXIT)
    if ended is not None:
        return _seen(name, attempt, RuntimeState.EXITED, ended)
    if not claimed:
        return _seen(name, attempt, RuntimeState.CREATED, {})
    started = records.load(folder, records.STARTED) or {}
    if living:
        return _seen(name, attempt, RuntimeState.RUNNING, started)
    return _seen(name, attempt, RuntimeState.LOST, started | _loss(who))


def _loss(who: procfs.Identity | None) -> dict[str, object]:
    if who is not None and who[2] == NEVER_STARTED:
        return {"reason": "Stopped", "message": "stopped before it was started"}
    if who is not None and who[2] != procfs.boot_id():
        return {"reason": "NodeLost", "message": "the host was restarted while the attempt ran"}
    return {"reason": "SupervisorLost", "message": "the supervisor was killed, and the run died with it"}


def _seen(name: str, attempt: dict[str, object], state: RuntimeState, record: dict[str, Any]) -> Observed:
    return Observed(
        name,
        state,
        run_id=str(attempt.get("run_id", "")),
        number=number_of(name),
        exit_code=record.get("exit_code"),
        reason=record.get("reason", ""),
        message=record.get("message", ""),
        started_at=record.get("started_at"),
        ended_at=record.get("ended_at"),
        sandbox=record.get("sandbox", {}),
        usage=record.get("usage", {}),
    )


def never_started(now: datetime) -> dict[str, object]:
    """exit.json of an attempt that was stopped before anything was started."""
    ended = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"exit_code": None, "reason": "Stopped", "message": "stopped before it was started", "ended_at": ended}


def unrecorded(name: str) -> Observed:
    """A living supervisor whose records are gone, or not there yet."""
    return Observed(name, RuntimeState.RUNNING, run_id=run_id_of(name), number=number_of(name))


def stray(name: str) -> Observed:
    """Processes that a killed supervisor left behind."""
    message = "processes of the attempt are left behind; remove kills them"
    return Observed(
        name,
        RuntimeState.LOST,
        run_id=run_id_of(name),
        number=number_of(name),
        reason="SupervisorLost",
        message=message,
    )
