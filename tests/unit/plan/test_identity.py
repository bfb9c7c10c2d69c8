"""Names and labels."""

import pytest

from controller.plan.identity import annotations, attempt_name, labels, run_id
from tests.builders import sha


def test_a_known_run_id():
    # printf '["u1","sha256:aaa...",""]' | openssl dgst -sha256 -binary | base32 | head -c 8 | tr A-Z a-z
    assert run_id("digits", "u1", sha()) == "digits-gnyn6xtc"


def test_each_part_of_the_identity_counts():
    one = run_id("d", "u1", sha("a"), "r")
    assert (
        len({one, run_id("d", "u2", sha("a"), "r"), run_id("d", "u1", sha("b"), "r"), run_id("d", "u1", sha("a"))}) == 4
    )


def test_names_and_labels():
    run = run_id("x" * 40, "u", sha())
    assert len(attempt_name(run, 99999)) == 63
    assert attempt_name("d-abcdefgh", 1) == "fetchml-d-abcdefgh-1"
    assert attempt_name("d-abcdefgh", 2) == "fetchml-d-abcdefgh-2"
    assert labels("s1", "d-abcdefgh", 2, sha("a")) == {
        "fetchml.dev/store": "s1",
        "fetchml.dev/run": "d-abcdefgh",
        "fetchml.dev/attempt": "2",
        "fetchml.dev/plan": "a" * 32,
    }
    assert annotations(sha()) == {"fetchml.dev/plan-sha256": sha()}


@pytest.mark.parametrize(("run", "number"), [("x" * 49, 100000), ("d", 0), ("d", -1)])
def test_what_cannot_name_an_attempt(run, number):
    with pytest.raises(ValueError, match="cannot name an attempt"):
        attempt_name(run, number)
