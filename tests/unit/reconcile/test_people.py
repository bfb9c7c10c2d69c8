"""Who submitted and who approved: what is shown counts, and what is not shown does not."""

from collections.abc import Iterable
from typing import Any

import pytest

from controller.api.catalog import TrustRule
from controller.ports.inputs import Submission
from controller.ports.signer import KeyFacts
from controller.reconcile.context import Policy
from controller.reconcile.outcome import Stalled, Waiting
from controller.trust.approval import approval_statement
from controller.trust.commits import CommitSigner
from controller.trust.envelope import PAYLOAD_TYPE
from controller.trust.root import Entry, TrustRoot
from tests.fakes.signer import FakeSigner
from tests.unit.reconcile.bench import Bench, document, experiment

COMMIT, OTHER = ("1" * 40, b"commit one"), ("2" * 40, b"commit two")
AT = "2026-01-02T03:04:05Z"
ALICE = CommitSigner("alice", "SHA256:alice")
BOB, CAROL = FakeSigner(2), FakeSigner(3)


def policy(**rule: Any) -> str:
    return document("TrustPolicy", "rules", {"rules": [{"minTrustLevel": "L0", **rule}]})


def reason(bench: Bench) -> str:
    outcome = bench.settle()
    return outcome.reason if isinstance(outcome, Stalled | Waiting) else ""


def submitted(bench: Bench, *commits: tuple[str, bytes], owner: int | None = None) -> None:
    bench.inputs.submitted = Submission(commits, file_owner=owner)


def approvers(bench: Bench, *signers: FakeSigner, names: Iterable[str] = ("bob", "carol")) -> None:
    """These keys may approve."""
    entries = {
        each.key_id: Entry(each.key_id, AT, ("approvals",), name) for each, name in zip(signers, names, strict=False)
    }
    bench.trust.known = TrustRoot({each.key_id: each.public_pem for each in signers}, entries)


def approve(bench: Bench, signer: FakeSigner, plan: str = "", name: str = "default/a") -> None:
    """A signed approval of the plan as it stands lies beside the spec."""
    statement = approval_statement(name, plan or bench.status()["planSha256"], AT)
    bench.inputs.approved.append(signer.sign(PAYLOAD_TYPE, statement))


# Submitters


@pytest.mark.parametrize(
    ("rule", "signers", "expected"),
    [
        ({"requireSignedCommits": True}, {COMMIT[1]: ALICE}, "Running"),
        ({"requireSignedCommits": True}, {OTHER[1]: ALICE}, "CommitNotSigned"),
        ({"submitters": [{"user": "alice"}]}, {COMMIT[1]: ALICE}, "Running"),
        ({"submitters": [{"keyId": "SHA256:alice"}]}, {COMMIT[1]: ALICE}, "Running"),
        ({"submitters": [{"user": "bob"}, {"user": "alice"}]}, {COMMIT[1]: ALICE}, "Running"),
        ({"submitters": [{"user": "bob"}]}, {COMMIT[1]: ALICE}, "SubmitterNotAllowed"),
        ({"submitters": [{"user": "alice", "keyId": "SHA256:other"}]}, {COMMIT[1]: ALICE}, "SubmitterNotAllowed"),
        ({"submitters": [{}]}, {COMMIT[1]: ALICE}, "SubmitterNotAllowed"),
        ({"submitters": []}, {COMMIT[1]: ALICE}, "SubmitterNotAllowed"),
        ({"submitters": [{"user": "alice"}], "namespaces": ["prod"]}, {}, "Running"),
        ({"submitters": [{"user": "alice"}], "paths": ["prod/*"]}, {}, "Running"),
        ({"submitters": [{"user": "alice"}], "paths": ["*.yaml"]}, {}, "CommitNotSigned"),
    ],
)
def test_who_may_submit(bench: Bench, rule: dict[str, Any], signers: dict[bytes, CommitSigner], expected: str) -> None:
    bench.trust.signers = signers
    submitted(bench, COMMIT)
    bench.put(policy(**rule), "policy.yaml")
    bench.put(experiment())
    assert reason(bench) == expected


def test_every_commit_that_the_spec_rests_on_counts(bench: Bench) -> None:
    bench.trust.signers = {COMMIT[1]: ALICE}
    submitted(bench, COMMIT, OTHER)
    bench.put(policy(requireSignedCommits=True), "policy.yaml")
    bench.put(experiment())
    assert reason(bench) == "CommitNotSigned"
    assert "commit 222222222222: it is not signed" in bench.condition("PreflightPassed")["message"]


def test_two_rules_must_both_be_satisfied(bench: Bench) -> None:
    bench.trust.signers = {COMMIT[1]: ALICE}
    submitted(bench, COMMIT)
    bench.put(policy(submitters=[{"user": "alice"}]), "policy.yaml")
    bench.put(experiment())
    assert reason(bench) == "Running"
    bench.put(policy(submitters=[{"user": "alice"}]) + "---\n" + document(
        "TrustPolicy", "more", {"rules": [{"minTrustLevel": "L0", "submitters": [{"user": "bob"}]}]}
    ), "policy.yaml")  # fmt: skip
    bench.put(experiment(name="b"), "b.yaml")
    bench.look()
    assert isinstance(bench.settle("b"), Stalled)


def test_the_operators_rules_stand_whatever_the_folder_says(bench: Bench) -> None:
    rule = TrustRule.model_validate({"minTrustLevel": "L0", "submitters": [{"user": "bob"}]})
    bench.policy = Policy(rules=(rule,))
    bench.trust.signers = {COMMIT[1]: ALICE}
    bench.crash()
    submitted(bench, COMMIT)
    bench.put(policy(submitters=[{"user": "alice"}]), "policy.yaml")
    bench.put(experiment())
    assert reason(bench) == "SubmitterNotAllowed"


def test_only_the_operators_rules_grant_the_network(bench: Bench) -> None:
    full = experiment(sandbox={"network": "full"}, reproducibility={"minTrustLevel": "L0"})
    bench.put(full)
    assert reason(bench) == "NetworkNotAllowed"
    bench.policy = Policy(rules=(TrustRule(allow_network=True, min_trust_level="L0"),))
    bench.crash()
    assert reason(bench) == "Running"


def test_a_trust_root_that_cannot_be_read_vouches_for_nobody(bench: Bench) -> None:
    bench.trust.signers = {COMMIT[1]: ALICE}
    submitted(bench, COMMIT)
    bench.put(policy(requireApproval=True, approvers=[{"user": "bob"}]), "policy.yaml")
    bench.put(experiment())
    approvers(bench, BOB)
    assert reason(bench) == "ApprovalMissing"
    approve(bench, BOB)
    bench.trust.broken = "root:1: not a key"
    assert reason(bench) == "ApprovalMissing"
    bench.trust.broken = ""
    assert reason(bench) == "Running"


# Approvers


def test_a_signed_approval_by_somebody_whom_policy_names_lets_the_plan_start(bench: Bench) -> None:
    approvers(bench, BOB, CAROL)
    bench.put(policy(approvers=[{"user": "bob"}]), "policy.yaml")
    bench.put(experiment())
    assert reason(bench) == "ApprovalMissing"
    approve(bench, CAROL)
    assert reason(bench) == "ApprovalMissing", "carol may approve, but not here"
    approve(bench, BOB)
    assert reason(bench) == "Running"


def test_the_submitters_own_approval_does_not_count(bench: Bench) -> None:
    approvers(bench, BOB, names=["alice"])
    bench.trust.signers = {COMMIT[1]: ALICE}
    submitted(bench, COMMIT)
    bench.put(policy(approvers=[{"user": "alice"}]), "policy.yaml")
    bench.put(experiment())
    assert reason(bench) == "ApprovalMissing"
    approve(bench, BOB)
    assert reason(bench) == "ApprovalMissing"


def test_an_unsigned_note_in_the_store_is_no_signed_approval(bench: Bench) -> None:
    bench.put(policy(approvers=[{"user": "bob"}]), "policy.yaml")
    bench.put(experiment())
    assert reason(bench) == "ApprovalMissing"
    row = bench.store.experiments()[0]
    bench.store.approve(row.uid, bench.status()["planSha256"], "bob")
    assert reason(bench) == "ApprovalMissing"


@pytest.mark.parametrize(
    ("signer", "known", "name", "said"),
    [
        (CAROL, BOB, "default/a", "KeyUnknown"),
        (BOB, BOB, "default/b", ""),
    ],
)
def test_what_is_no_approval_of_this_counts_for_nothing(
    bench: Bench, signer: FakeSigner, known: FakeSigner, name: str, said: str
) -> None:
    approvers(bench, known)
    bench.put(policy(approvers=[{"user": "bob"}]), "policy.yaml")
    bench.put(experiment())
    assert reason(bench) == "ApprovalMissing"
    approve(bench, signer, name=name)
    assert reason(bench) == "ApprovalMissing"
    assert not said or said in bench.events.reasons


def test_a_key_that_may_only_record_runs_approves_nothing(bench: Bench) -> None:
    bench.trust.known = BOB.root
    bench.put(policy(requireApproval=True), "policy.yaml")
    bench.put(experiment())
    assert reason(bench) == "ApprovalMissing"
    approve(bench, BOB)
    assert reason(bench) == "ApprovalMissing"


def test_a_plan_that_changed_needs_a_new_approval(bench: Bench) -> None:
    approvers(bench, BOB)
    bench.put(policy(approvers=[{"user": "bob"}]), "policy.yaml")
    bench.put(experiment())
    assert reason(bench) == "ApprovalMissing"
    approve(bench, BOB)
    bench.put(experiment(seed=8))
    assert reason(bench) == "PlanChangedSinceApproval"
    approve(bench, BOB)
    assert reason(bench) == "Running"


# Levels


class ReadableSigner(FakeSigner):
    """A signer whose key file a test describes."""

    facts = KeyFacts(owner_uid=900, private=True)

    def key_facts(self) -> KeyFacts | None:
        return self.facts


def caps(bench: Bench) -> dict[str, str]:
    """Reason to message of the caps that hold this launch at its level."""
    bench.settle()
    ceiling = bench.run().launch["trust_ceiling"]
    return {cap["reason"]: cap["message"] for cap in ceiling["caps"]}


@pytest.mark.parametrize(
    ("file_owner", "private", "within"),
    [(1000, True, False), (900, True, True), (0, True, True), (1000, False, True)],
)
def test_the_submitter_is_another_where_the_files_owner_cannot_read_the_key(
    bench: Bench, file_owner: int, private: bool, within: bool
) -> None:
    bench.signer = ReadableSigner()
    ReadableSigner.facts = KeyFacts(900, private)
    bench.crash()
    submitted(bench, owner=file_owner)
    bench.put(experiment())
    assert ("SubmitterIsReconciler" in caps(bench)) is within


@pytest.mark.parametrize(
    ("of_operator", "owner", "signers", "why"),
    [
        (True, "lab", {COMMIT[1]: ALICE}, ""),
        (False, "lab", {COMMIT[1]: ALICE}, "set trust_root"),
        (True, "alice", {COMMIT[1]: ALICE}, "another owner"),
        (True, "", {COMMIT[1]: ALICE}, "another owner"),
        (True, "lab", {OTHER[1]: ALICE}, "nobody is shown"),
    ],
)
def test_where_the_spec_came_from_a_commit_its_signer_must_be_somebody_else(
    bench: Bench, of_operator: bool, owner: str, signers: dict[bytes, CommitSigner], why: str
) -> None:
    bench.signer = signer = ReadableSigner()
    ReadableSigner.facts = KeyFacts(900, private=True)
    bench.crash()
    bench.trust.of_operator, bench.trust.signers = of_operator, signers
    entry = {signer.key_id: Entry(signer.key_id, AT, ("runs",), owner)} if owner else {}
    bench.trust.known = TrustRoot(signer.trust_root, entry)
    submitted(bench, COMMIT)
    bench.put(experiment())
    found = caps(bench)
    assert ("SubmitterIsReconciler" in found) is bool(why)
    assert why in found.get("SubmitterIsReconciler", "")


def test_signers_and_approvals_are_recorded_with_the_run(bench: Bench) -> None:
    bench.trust.signers = {COMMIT[1]: ALICE}
    approvers(bench, BOB, CAROL)
    submitted(bench, COMMIT)
    bench.put(policy(requireApproval=True), "policy.yaml")
    bench.put(experiment())
    assert reason(bench) == "ApprovalMissing"
    for signer in (BOB, CAROL):
        approve(bench, signer)
    approve(bench, BOB, plan="sha256:" + "0" * 64)
    found = caps(bench)
    assert not {"CommitNotSigned", "NotReviewed"} & found.keys()
    bench.end(0)
    bench.settle()
    assert len(list((bench.folder() / "approvals").iterdir())) == 2
    assert b'"signers":["alice"]' in (bench.folder() / "run_manifest.json").read_bytes()
