"""The rules trust and approval."""

import pytest

from controller.api.status import Cap
from controller.facts.facts import PolicyFacts
from controller.plan.plan import build_plan
from controller.preflight import approval, trust
from tests.builders import experiment, facts, sha
from tests.unit.preflight.judging import PASS, REFUSE, WAIT, Ceiling, judged

FORGE = Cap(level="L0", reason="RunCanForge", message="it could read the key")
SUBMITTER = Cap(level="L1", reason="SubmitterIsReconciler", message="a workstation")
DIRTY = Cap(level="L0", reason="DirtyTree", message="1 file differs")


def level(minimum):
    return experiment(reproducibility={"minTrustLevel": minimum})


def test_reachable():
    assert judged(trust, experiment(), ceiling=Ceiling("L1", (SUBMITTER,))) == [
        (PASS, "L1 required, up to L1 reachable")
    ]


def test_spec_asks_for_too_much():
    assert judged(trust, level("L2"), ceiling=Ceiling("L0", (FORGE, SUBMITTER))) == [
        (
            REFUSE,
            "TrustLevelUnreachable",
            (
                "the spec requires L2, this launch can reach L0 "
                "(RunCanForge: it could read the key; SubmitterIsReconciler: a workstation)"
            ),
            "spec.reproducibility.minTrustLevel",
            "write minTrustLevel: L0, or remove the causes",
        )
    ]


def test_policy_asks_for_too_much():
    policy = facts(policy=PolicyFacts(min_trust_level="L2"))
    [found] = judged(trust, experiment(), policy, ceiling=Ceiling("L1", (SUBMITTER,)))
    assert found[:3] == (
        REFUSE,
        "TrustLevelUnreachable",
        "policy requires L2, this launch can reach L1 (SubmitterIsReconciler: a workstation)",
    )
    assert found[4] == "ask the operator, whose policy requires it"


def test_a_level_without_caps_counts():
    [found] = judged(trust, level("L3"), ceiling=Ceiling("L2"))
    assert found[:3] == (
        REFUSE,
        "TrustLevelUnreachable",
        "the spec requires L3, this launch can reach L2 (this launch reaches L2)",
    )


def test_strict_requires_l1_and_relaxed_nothing():
    forged = Ceiling("L0", (FORGE,))
    assert judged(trust, experiment(), ceiling=forged)[0][0] is REFUSE
    assert judged(trust, experiment(reproducibility={"policy": "relaxed"}), ceiling=forged)[0][0] is PASS


def test_what_another_rule_objects_to_is_not_said_twice():
    assert judged(trust, experiment(), ceiling=Ceiling("L0", (DIRTY, SUBMITTER)))[0][0] is PASS


def test_what_relaxed_let_pass_counts():
    [found] = judged(trust, level("L1"), ceiling=Ceiling("L0", (DIRTY,)), caps=(DIRTY,))
    assert found[:3] == (
        REFUSE,
        "TrustLevelUnreachable",
        "the spec requires L1, this launch can reach L0 (DirtyTree: 1 file differs)",
    )


PLAN = build_plan(experiment(), facts(), "process").sha256
REQUIRED = PolicyFacts(require_approval=True)


@pytest.mark.parametrize(
    ("approved", "policy", "expected"),
    [
        (None, PolicyFacts(), (PASS, "no approval needed")),
        ((PLAN,), PolicyFacts(), (PASS, f"plan {PLAN[:19]} is approved")),
        ((sha("1"), PLAN), REQUIRED, (PASS, f"plan {PLAN[:19]} is approved")),
        (
            None,
            REQUIRED,
            (
                WAIT,
                "ApprovalMissing",
                "policy requires an approval and there is none",
                "",
                "ask a reviewer to run ml approve on the file of digits",
            ),
        ),
        (
            (),
            REQUIRED,
            (
                WAIT,
                "ApprovalMissing",
                "policy requires an approval and there is none",
                "",
                "ask a reviewer to run ml approve on the file of digits",
            ),
        ),
        (
            (sha("1"),),
            PolicyFacts(),
            (
                REFUSE,
                "PlanChangedSinceApproval",
                f"plan {PLAN[:19]} is not the approved sha256:111111111111",
                "",
                "restore what was approved (ml diff shows what moved), or run ml approve on the file of digits",
            ),
        ),
    ],
)
def test_approval(approved, policy, expected):
    assert judged(approval, experiment(), facts(approved_plans=approved, policy=policy)) == [expected]
