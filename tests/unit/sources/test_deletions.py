"""When is a missing spec really gone?"""

import pytest

from controller.sources.deletions import Verdict, due, judge

A, B = b"a", b"b"


@pytest.mark.parametrize(
    ("missing", "known", "now", "scanned", "verdict"),
    [
        pytest.param({}, 5, 10.0, True, Verdict(), id="nothing is missing"),
        pytest.param({A: 10.0}, 5, 10.0, True, Verdict(recheck_after=2.0), id="just missed"),
        pytest.param({A: 10.0}, 5, 11.9, True, Verdict(recheck_after=pytest.approx(0.1)), id="too early"),
        pytest.param({A: 10.0}, 5, 12.0, True, Verdict((A,)), id="seen twice"),
        pytest.param({A: 10.0}, 5, 12.0, False, Verdict(recheck_after=0.0), id="a hint confirms nothing"),
        pytest.param({A: 10.0, B: 11.5}, 15, 12.0, True, Verdict(recheck_after=1.5), id="still vanishing"),
        pytest.param({A: 10.0, B: 69.5}, 15, 70.0, True, Verdict((A,), recheck_after=1.5), id="steady deleting"),
        pytest.param({A: 10.0, B: 10.0}, 10, 99.0, True, Verdict((A, B)), id="a fifth may go"),
        pytest.param({A: 10.0, B: 10.0}, 9, 99.0, True, Verdict((A, B)), id="few specs, no mass"),
        pytest.param(dict.fromkeys([A, B, b"c"], 1.0), 10, 99.0, True, Verdict(stalled=True), id="mass"),
    ],
)
def test_verdicts(missing: dict[bytes, float], known: int, now: float, scanned: bool, verdict: Verdict) -> None:
    assert judge(missing, known, now, scanned=scanned) == verdict


def test_the_confirming_scan_is_due_when_the_last_one_is_old_enough() -> None:
    assert not due({}, 100.0)
    assert not due({A: 10.0, B: 11.0}, 12.9)
    assert due({A: 10.0, B: 11.0}, 13.0)
    assert due({A: 10.0, B: 69.9}, 70.0)
