"""Trust policies of the folder: they tighten, and never grant."""

import pytest

from controller.reconcile.context import Policy
from controller.reconcile.outcome import Stalled, Waiting
from tests.unit.reconcile.bench import Bench, document, experiment


def policy(*rules: dict[str, object]) -> str:
    return document("TrustPolicy", "rules", {"rules": list(rules)})


def reason(bench: Bench) -> str:
    outcome = bench.settle()
    return outcome.reason if isinstance(outcome, Stalled | Waiting) else ""


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"minTrustLevel": "L2"}, "TrustLevelUnreachable"),
        ({"minTrustLevel": "L0"}, "Running"),
        ({"minTrustLevel": "L0", "requireApproval": True}, "ApprovalMissing"),
        ({"requireSignedCommits": True}, "CommitNotSigned"),
        ({"submitters": [{"user": "alice"}]}, "CommitNotSigned"),
        ({"submitters": []}, "CommitNotSigned"),
        ({"approvers": [{"user": "alice"}]}, "ApprovalMissing"),
        ({"approvers": []}, "ApprovalMissing"),
        ({"minTrustLevel": "L4", "namespaces": ["other"]}, "Running"),
        ({"minTrustLevel": "L4", "namespaces": ["default"]}, "TrustLevelUnreachable"),
        ({"minTrustLevel": "L4", "paths": ["prod/*"]}, "Running"),
        ({"minTrustLevel": "L4", "paths": ["*.yaml"]}, "TrustLevelUnreachable"),
    ],
)
def test_what_a_rule_demands(bench: Bench, rule: dict[str, object], expected: str) -> None:
    bench.put(policy(rule), "policy.yaml")
    bench.put(experiment())
    assert reason(bench) == expected


def test_the_strictest_of_several_rules_counts(bench: Bench) -> None:
    bench.put(policy({"minTrustLevel": "L0"}, {"minTrustLevel": "L3"}, {"minTrustLevel": "L1"}), "policy.yaml")
    bench.put(experiment())
    assert reason(bench) == "TrustLevelUnreachable"


def test_a_rule_in_the_submitters_folder_never_grants_network(bench: Bench) -> None:
    full = experiment(sandbox={"network": "full"})
    bench.put(policy({"allowNetwork": True, "minTrustLevel": "L0"}), "policy.yaml")
    bench.put(full)
    assert reason(bench) == "NetworkNotAllowed"
    bench.policy = Policy(allow_network=("default",))
    bench.crash()
    assert reason(bench) == "Running", "the operator's settings do"


def test_the_settings_cannot_be_loosened(bench: Bench) -> None:
    bench.policy = Policy(require_approval=True)
    bench.crash()
    bench.put(policy({"requireApproval": False, "minTrustLevel": "L0"}), "policy.yaml")
    bench.put(experiment())
    assert reason(bench) == "ApprovalMissing"


def test_an_approval_lets_exactly_that_plan_start(bench: Bench) -> None:
    bench.put(policy({"requireApproval": True}), "policy.yaml")
    bench.put(experiment())
    assert reason(bench) == "ApprovalMissing"
    row = bench.store.experiments()[0]
    bench.store.approve(row.uid, bench.status()["planSha256"], "alice")
    assert reason(bench) == "Running"
    bench.end(0)
    bench.settle()
    bench.put(experiment(seed=5))
    assert reason(bench) == "PlanChangedSinceApproval"


def test_a_policy_that_goes_away_is_gone_only_when_that_is_confirmed(bench: Bench) -> None:
    bench.put(policy({"requireApproval": True}), "policy.yaml")
    bench.put(experiment())
    assert reason(bench) == "ApprovalMissing"
    bench.source.remove("policy.yaml")
    assert reason(bench) == "ApprovalMissing"
    bench.clock.advance(3)
    assert reason(bench) == "Running"
