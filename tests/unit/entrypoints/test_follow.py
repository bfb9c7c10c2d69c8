"""When `ml run` ends, and what it says then."""

from pathlib import Path
from typing import Any

import pytest

from controller.api.status import Phase
from controller.entrypoints.cli import run, status
from controller.entrypoints.cli.errors import Exit
from controller.entrypoints.cli.follow import MAX_ERRORS, Fate, summary
from controller.wiring import Place

RUN = {"id": "x-abcd2345", "attempt": 1}

ENDS = [
    ("Succeeded", "Succeeded", Exit.OK),
    ("Failed", "ExitCode", Exit.RUN_FAILED),
    ("Cancelled", "Cancelled", Exit.RUN_FAILED),
    ("Blocked", "DirtyTree", Exit.REFUSED),
    ("Blocked", "InvalidSpec", Exit.INVALID),
    ("Blocked", "NameClash", Exit.INVALID),
    ("Pending", "Suspended", Exit.REFUSED),
    ("Waiting", "NotPushed", Exit.MUST_WAIT),
    ("Queued", "WaitingForCapacity", None),
    ("Launching", "", None),
    ("Running", "Running", None),
]


@pytest.mark.parametrize(("phase", "reason", "code"), ENDS)
def test_the_fate(phase: str, reason: str, code: Exit | None) -> None:
    assert Fate(patient=False).of({"phase": phase}, reason) is code


def test_what_only_the_file_says_is_no_success() -> None:
    ready = {"type": "Ready", "status": "Unknown", "reason": "FinishedElsewhere"}
    for phase in ("Succeeded", "Failed"):
        assert Fate(patient=True).of({"phase": phase, "conditions": [ready]}, "") is Exit.REFUSED
        item = {"phase": phase, "reason": "FinishedElsewhere"}
        assert status._waited(item, "Succeeded") is status._waited(item, "Running") is Exit.REFUSED


def test_patience_waits_where_the_verdict_is_wait() -> None:
    assert Fate(patient=True).of({"phase": "Waiting"}, "NotPushed") is None
    assert Fate(patient=True).of({"phase": "Blocked"}, "DirtyTree") is Exit.REFUSED


def test_a_run_that_goes_on_is_never_left() -> None:
    assert Fate(patient=False).of({"phase": "Waiting", "run": RUN}, "DeletionUnconfirmed") is None


def test_errors_in_a_row_end_it() -> None:
    fate = Fate(patient=True)
    codes = [fate.of({"phase": "Waiting"}, "StoreLocked", failed=True) for _ in range(MAX_ERRORS - 1)]
    assert codes == [None] * (MAX_ERRORS - 1)
    assert fate.of({"phase": "Running"}, "Running") is None
    codes = [fate.of({}, "RetryAfterError", failed=True) for _ in range(MAX_ERRORS)]
    assert codes == [*[None] * (MAX_ERRORS - 1), Exit.ERROR]


def test_a_spec_that_is_missing_may_come_back() -> None:
    assert Fate(patient=False).of({}, "DeletionUnconfirmed") is None


def test_the_summary_says_why_there_is_no_proof() -> None:
    conditions = [
        {"type": "Failed", "status": "True", "reason": "ExitCode", "message": "exited with 3"},
        {"type": "ProvenanceRecorded", "status": "False", "reason": "NoKey", "message": "make one: ml key new"},
    ]
    value: dict[str, Any] = {"conditions": conditions, "run": {**RUN, "exitCode": 3}, "metrics": {"loss": 0.5}}
    lines = list(summary(Place(Path("/r"), Path("/r/.fetchml")), value))
    assert lines == [
        "  because     ExitCode: exited with 3",
        "  no proof    NoKey: make one: ml key new",
        "  exit code   3",
        "  metric      loss = 0.5",
        "  records     /r/.fetchml/experiments/x-abcd2345",
    ]


def test_phases_are_the_models() -> None:
    assert set(status.PHASES) == {str(phase) for phase in Phase}
    assert set(status._TERMINAL) == set(run.TERMINAL)
