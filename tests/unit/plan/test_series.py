"""Metric curves: bounded and finite, whatever a program wrote."""

import json

import pytest

from controller.plan.series import MAX_NAMES, MAX_POINTS, curves


def lines(*entries: object) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def test_points_are_step_and_value() -> None:
    assert curves(lines({"step": 1, "loss": 2.5}, {"step": 10, "loss": 1, "acc": 0.5})) == {
        "loss": ((1.0, 2.5), (10.0, 1.0)),
        "acc": ((10.0, 0.5),),
    }


def test_without_a_step_lines_are_counted() -> None:
    assert curves(lines({"loss": 3}, {"loss": 2})) == {"loss": ((0.0, 3.0), (1.0, 2.0))}


@pytest.mark.parametrize(
    "line",
    [
        b"not json\n", b"[1, 2]\n", b"\xff\xfe\n", b"[" * 100_000, b'{"loss": NaN}\n', b'{"loss": Infinity}\n',
        b'{"loss": 1e999}\n', b'{"loss": %s}\n' % (b"9" * 400), b'{"loss": "1"}\n', b'{"loss": true}\n',
        b'{"": 1}\n', b'{"%s": 1}\n' % (b"n" * 300), b'{"\\u001b[2J": 1}\n', b"\n\n",
    ],
)  # fmt: skip
def test_what_is_no_number_with_a_name_is_left_out(line: bytes) -> None:
    assert curves(line + b"\n" + lines({"step": 1, "acc": 1})) == {"acc": ((1.0, 1.0),)}


def test_a_step_that_is_no_number_is_replaced_by_the_line() -> None:
    assert curves(b'{"step": NaN, "loss": 1}\n') == {"loss": ((0.0, 1.0),)}


def test_long_curves_are_thinned_and_keep_their_spikes() -> None:
    values = [1.0] * 20_000
    values[777], values[15_003] = 1e9, -1e9
    (curve,) = curves(lines(*({"step": step, "loss": value} for step, value in enumerate(values)))).values()
    assert len(curve) <= MAX_POINTS
    assert {(777.0, 1e9), (15_003.0, -1e9)} <= set(curve)
    assert list(curve) == sorted(curve)


def test_many_names_are_cut() -> None:
    assert len(curves(lines({f"m{n}": n for n in range(5000)}))) == MAX_NAMES
