"""What a proposed change of specs means, before it is merged.

Promises: one sentence for each experiment, derived from its plan before and after and from preflight's verdict; a pure
function of values that the reconciler's own path computed. Does not: compute them, or print.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from controller.api.problems import Problem
from controller.plan.diff import FieldChange

Change = Literal["added", "changed", "moved", "affected", "removed", "invalid"]
"""What happened to it: `affected` means that the spec is as it was, but the code that it runs is not."""
VERDICTS = ("Pass", "Wait", "Refuse", "Invalid")
"""From best to worst."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """One experiment after the change, as `ml explain` sees it."""

    explanation: dict[str, Any]
    before: str | None
    """Plan digest before the change; None when there was no such experiment."""
    changes: Sequence[FieldChange]
    done: str | None = None
    """A run of this very plan."""
    suspended: bool = False


def reviewed(experiment: str, file: str, change: Change, outlook: Outlook) -> dict[str, Any]:
    """An item of the review, of an experiment that will be there after the change."""
    explained = outlook.explanation
    rules = [rule for rule in explained["preflight"]["rules"] if rule["verdict"] != "Pass"]
    verdict = explained["preflight"]["verdict"]
    return {
        "experiment": experiment,
        "file": file,
        "change": change,
        "verdict": verdict,
        "launches": verdict != "Refuse" and not _idle(outlook),
        "meaning": _meaning(outlook, verdict, rules),
        "trust": explained["trust"],
        "planSha256": explained["planSha256"],
        "planBefore": outlook.before,
        "changes": [each.as_dict() for each in outlook.changes],
        "rules": rules,
        "problems": [],
    }


def removed(experiment: str, file: str) -> dict[str, Any]:
    """An item of an experiment that will be gone."""
    meaning = "Nothing runs any more: what is running is cancelled; finished runs keep their records."
    return {**_empty(experiment, file, "removed", "Pass"), "meaning": meaning}


def invalid(file: str, problems: Iterable[Problem]) -> dict[str, Any]:
    """An item of a file that cannot be read."""
    found = [
        {"line": p.position.line, "column": p.position.column, "field": p.field, "reason": p.reason,
         "message": p.message, "fix": p.fix, "file": file}
        for p in problems
    ]  # fmt: skip
    meaning = f"Nothing in this file starts until it is valid: {len(found)} problem{'s' if len(found) != 1 else ''}."
    return {**_empty("", file, "invalid", "Invalid"), "meaning": meaning, "problems": found}


def worst(items: Iterable[dict[str, Any]]) -> str:
    """The verdict on the whole change."""
    return max((item["verdict"] for item in items), key=VERDICTS.index, default="Pass")


def _empty(experiment: str, file: str, change: Change, verdict: str) -> dict[str, Any]:
    return {
        "experiment": experiment, "file": file, "change": change, "verdict": verdict, "launches": False, "meaning": "",
        "trust": None, "planSha256": None, "planBefore": None, "changes": [], "rules": [], "problems": [],
    }  # fmt: skip


def _idle(outlook: Outlook) -> bool:
    """Nothing new to start, whatever preflight says."""
    same = outlook.before == outlook.explanation["planSha256"]
    return same or outlook.done is not None or outlook.suspended


def _meaning(outlook: Outlook, verdict: str, rules: Sequence[dict[str, Any]]) -> str:
    if outlook.suspended:
        return "Nothing starts: the spec is suspended."
    if outlook.before == outlook.explanation["planSha256"]:
        return "Nothing starts: the plan stays the same."
    if outlook.done:
        return f"Nothing starts: this plan ran already, as {outlook.done}."
    what = "A first run" if outlook.before is None else f"A new run, {_count(outlook.changes)} changed in the plan,"
    reasons = ", ".join(dict.fromkeys(rule["reason"] for rule in rules if rule["verdict"] == verdict))
    if verdict == "Refuse":
        return f"{what} is refused: {reasons}."
    if verdict == "Wait":
        return f"{what} starts once it may: {reasons}."
    return f"{what} starts."


def _count(changes: Sequence[FieldChange]) -> str:
    return f"{len(changes)} field{'' if len(changes) == 1 else 's'}"
