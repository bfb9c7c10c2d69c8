"""What others signed about a run: it raises the level when it verifies, and fails the verification when it does not."""

import dataclasses
import json
from typing import Any

import pytest

from controller.api.canonical import canonical_bytes, digest_bytes
from controller.api.catalog import TrustRule
from controller.api.manifest import manifest_bytes
from controller.trust.approval import Approval, approval_statement, reviewers
from controller.trust.comparison import COMPARISON, RERUN_ATTESTATION, RERUN_MANIFEST, comparison_statement
from controller.trust.envelope import PAYLOAD_TYPE
from controller.trust.levels import Later, judge_run
from controller.trust.policy import policy_checks
from controller.trust.records import Check
from controller.trust.root import Entry, TrustRoot
from controller.trust.statement import provenance_statement
from controller.trust.verdict import verdict_statement
from controller.trust.verify import judged_now, verified, verify_run
from tests.fakes.signed_run import SANDBOX, content, manifest_of
from tests.fakes.signer import FakeSigner

LAB, ALICE, BOB, OTHER_LAB, EVE = (FakeSigner(seed) for seed in range(1, 6))
AT = "2026-01-02T03:04:05Z"
TOLERANCES: dict[str, float] = {}


def root(**changes: Any) -> TrustRoot:
    """The lab records runs, Alice and Bob approve, the other lab signs comparisons; nobody knows Eve."""
    roles = {LAB: ("runs", "lab"), ALICE: ("approvals", "alice"), BOB: ("approvals", "bob")}
    roles |= {OTHER_LAB: ("comparisons", "other-lab")}
    entries = {each.key_id: Entry(each.key_id, AT, (use,), owner) for each, (use, owner) in roles.items()}
    return dataclasses.replace(TrustRoot({each.key_id: each.public_pem for each in roles}, entries), **changes)


CONTAINER = {
    "image": "registry.example/x@sha256:" + "a" * 64,
    "store": "store-1",
    "submission": {"commits": ["c" * 40], "signers": ["alice"], "keys": ["SHA256:a"]},
    "trust_ceiling": {"level": "L3", "caps": [{"level": "L3", "reason": "NotReviewed", "message": "not yet"}]},
    "runtime": {
        "name": "docker",
        "reconciler_uid": 1000,
        "sandbox": SANDBOX | {"outer_uid": 100000, "fresh": True, "engine_socket": False},
    },
}
ELSEWHERE = {
    "run_id": "digits-again",
    "uid": "other",
    "store": "store-2",
    "node": {"hostname": "h2", "machine_id": "m2", "boot_id": "b2", "kernel": "6.1"},
}


def run(
    *approvers: FakeSigner, rerun: dict[str, Any] | None = None, by: FakeSigner = OTHER_LAB, **changes: Any
) -> dict[str, bytes]:
    """A signed run in a container that is as isolated as can be, with what others signed about it."""
    files = content()
    manifest = manifest_of(files, **CONTAINER | changes)
    files["run_manifest.json"] = data = manifest_bytes(manifest)
    files["attestation.dsse.json"] = LAB.sign(PAYLOAD_TYPE, provenance_statement(data))
    people = tuple(sorted({root().owner(each.key_id) for each in approvers}))
    judged = judge_run(manifest, plan_sha256=manifest.plan_sha256, signed=True, later=Later(people))
    verdict = verdict_statement(data, files["attestation.dsse.json"], judged, AT)
    files["verdict.dsse.json"] = LAB.sign(PAYLOAD_TYPE, verdict)
    for number, each in enumerate(approvers):
        files[f"approvals/{number}.dsse.json"] = approval(each, manifest.plan_sha256)
    return files | (reproduction(files, rerun, by) if rerun is not None else {})


def approval(signer: FakeSigner, plan: str, experiment: str = "default/digits") -> bytes:
    """One signed approval."""
    return signer.sign(PAYLOAD_TYPE, approval_statement(experiment, plan, AT))


def reproduction(files: dict[str, bytes], changes: dict[str, Any], by: FakeSigner) -> dict[str, bytes]:
    """The evidence of a re-run that is recorded by the lab, and a comparison signed by somebody."""
    again = manifest_bytes(manifest_of(content(), **CONTAINER | ELSEWHERE | changes))
    statement = comparison_statement(files["run_manifest.json"], again, TOLERANCES, AT)
    return {
        RERUN_MANIFEST: again,
        RERUN_ATTESTATION: LAB.sign(PAYLOAD_TYPE, provenance_statement(again)),
        COMPARISON: by.sign(PAYLOAD_TYPE, statement),
    }


def failures(files: dict[str, bytes], trust: TrustRoot | None = None) -> list[Check]:
    """The checks that do not hold."""
    return [check for check in verify_run(files, trust or root()) if not check.ok]


def test_an_isolated_container_with_a_signed_commit_reaches_l3() -> None:
    files = run()
    assert failures(files) == []
    judged = judged_now(files, root())
    assert judged.level == "L3"
    assert [cap.reason for cap in judged.caps] == ["NotReviewed", "NotReproduced", "ComparisonNotSigned"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"submission": None}, "CommitNotSigned"),
        ({"submission": CONTAINER["submission"] | {"signers": [""]}}, "CommitNotSigned"),  # type: ignore[operator]  # a dict
        ({"runtime": CONTAINER["runtime"] | {"sandbox": SANDBOX | {"outer_uid": 0, "fresh": True}}}, "NotIsolated"),  # type: ignore[operator]  # a dict
        ({"runtime": CONTAINER["runtime"] | {"sandbox": SANDBOX | {"outer_uid": 100000}}}, "ImageNotFresh"),  # type: ignore[operator]  # a dict
    ],
)
def test_what_l3_asks_for_is_asked_of_the_record(changes: dict[str, Any], reason: str) -> None:
    values = {key: value for key, value in changes.items() if value is not None}
    files = run(**values) if values else run(submission={"commits": ["c" * 40], "signers": [""], "keys": [""]})
    judged = judged_now(files, root())
    assert judged.level == "L2"
    assert reason in {cap.reason for cap in judged.binding}


def test_two_reviewers_and_a_signed_reproduction_elsewhere_give_l4() -> None:
    files = run(ALICE, BOB, rerun={})
    checks = verify_run(files, root())
    assert verified(checks)
    assert judged_now(files, root()).level == "L4"
    (level,) = [check for check in checks if check.name == "level"]
    assert level.message == "recomputes to L3; the re-run since gives L4"


def test_the_renewed_verdict_verifies_and_needs_its_evidence() -> None:
    files = run(ALICE, BOB, rerun={})
    verdict = verdict_statement(
        files["run_manifest.json"], files["attestation.dsse.json"], judged_now(files, root()), AT
    )
    files["verdict.dsse.json"] = LAB.sign(PAYLOAD_TYPE, verdict)
    assert failures(files) == []
    for name in ("approvals/1.dsse.json", COMPARISON):
        without = {key: data for key, data in files.items() if key != name}
        assert [check.reason for check in failures(without)] == ["LevelMismatch"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (run(ALICE, rerun={}), "NotReviewed"),
        (run(ALICE, ALICE, rerun={}), "NotReviewed"),
        (run(ALICE, BOB), "NotReproduced"),
        (run(ALICE, BOB, rerun={"store": "store-1"}), "NotReproduced"),
        (run(ALICE, BOB, rerun={"node": {"machine_id": "m"}}), "NotReproduced"),
        (run(ALICE, BOB, rerun={"outputs": []}), "NotReproduced"),
        (run(ALICE, BOB, rerun={}, by=LAB), "ComparisonNotSigned"),
        (run(ALICE, BOB, rerun={}, trust_ceiling={"level": "L3", "caps": [
            {"level": "L3", "reason": "NetworkAllowed", "message": "full"}]}), "NetworkAllowed"),
    ],
)  # fmt: skip
def test_each_thing_that_l4_asks_for_alone_holds_it_at_l3(files: dict[str, bytes], reason: str) -> None:
    assert failures(files) == []
    judged = judged_now(files, root())
    assert judged.level == "L3"
    assert reason in {cap.reason for cap in judged.binding}


PLAN = manifest_of(content()).plan_sha256
GOOD = run(ALICE, BOB, rerun={})


def altered(name: str, **predicate: Any) -> dict[str, bytes]:
    """GOOD, with one payload changed and signed again by its own signer."""
    import base64

    signer = {COMPARISON: OTHER_LAB, RERUN_ATTESTATION: LAB}[name]
    statement = json.loads(base64.b64decode(json.loads(GOOD[name])["payload"]))
    statement["predicate"] |= predicate
    return {name: signer.sign(PAYLOAD_TYPE, canonical_bytes(statement))}


@pytest.mark.parametrize(
    ("change", "name", "reason"),
    [
        ({"approvals/0.dsse.json": approval(EVE, PLAN)}, "approval", "KeyUnknown"),
        ({"approvals/0.dsse.json": approval(LAB, PLAN)}, "approval", "KeyUnknown"),
        ({"approvals/0.dsse.json": approval(ALICE, "sha256:" + "0" * 64)}, "approval", "ApprovalInvalid"),
        ({"approvals/0.dsse.json": approval(ALICE, PLAN, "default/other")}, "approval", "ApprovalInvalid"),
        ({"approvals/0.dsse.json": ALICE.sign(PAYLOAD_TYPE, b"{}")}, "approval", "ApprovalInvalid"),
        ({"approvals/0.dsse.json": GOOD[COMPARISON]}, "approval", "KeyUnknown"),
        ({"approvals/0.dsse.json": b"x"}, "approval", "EnvelopeInvalid"),
        ({COMPARISON: EVE.sign(PAYLOAD_TYPE, b"{}")}, "reproduction", "KeyUnknown"),
        ({COMPARISON: ALICE.sign(PAYLOAD_TYPE, b"{}")}, "reproduction", "KeyUnknown"),
        (altered(COMPARISON, reproduced=True, note="x"), "reproduction", "ComparisonInvalid"),
        (altered(RERUN_ATTESTATION, note="x"), "reproduction", "ComparisonInvalid"),
        ({RERUN_ATTESTATION: GOOD["attestation.dsse.json"]}, "reproduction", "ComparisonInvalid"),
        ({RERUN_MANIFEST: GOOD["run_manifest.json"]}, "reproduction", "ComparisonInvalid"),
        ({RERUN_MANIFEST: b"{}"}, "reproduction", "ComparisonInvalid"),
    ],
)
def test_evidence_that_does_not_verify_fails(change: dict[str, bytes], name: str, reason: str) -> None:
    found = failures(GOOD | change)
    assert [(check.name, check.reason) for check in found] == [(name, reason)]
    assert found[0].file in change or name == "reproduction"


def test_missing_evidence_of_a_comparison_fails() -> None:
    for name in (RERUN_MANIFEST, RERUN_ATTESTATION):
        found = failures({key: data for key, data in GOOD.items() if key != name})
        assert [(check.reason, check.file) for check in found] == [("FileMissing", name)]


def test_a_reviewer_whose_key_was_revoked_counts_no_longer() -> None:
    found = failures(GOOD, root(revoked=frozenset({ALICE.key_id})))
    assert [check.reason for check in found] == ["KeyRevoked"]


def test_a_key_without_an_owner_is_no_reviewer() -> None:
    approvals = (Approval(PLAN, "default/digits", ALICE.key_id, "", AT), Approval(PLAN, "x", "k", "bob", AT))
    assert reviewers(approvals, PLAN) == ("bob",)


def test_a_run_that_does_not_verify_is_not_judged() -> None:
    with pytest.raises(ValueError, match="does not verify"):
        judged_now(GOOD | {"run.log": b"other"}, root())


# Policies


def held(level: str = "L3", approvals: tuple[Approval, ...] = (), **rule: Any) -> list[str]:
    """Reasons of what a rule finds wrong with the run."""
    manifest = manifest_of(content(), **CONTAINER)
    rules = (TrustRule.model_validate({"minTrustLevel": "L0", **rule}),)
    return [check.reason for check in policy_checks(rules, manifest, level, approvals) if not check.ok]


BY_BOB = Approval(PLAN, "default/digits", BOB.key_id, "bob", AT)
BY_ALICE = Approval(PLAN, "default/digits", ALICE.key_id, "alice", AT)


@pytest.mark.parametrize(
    ("rule", "approvals", "wrong"),
    [
        ({"minTrustLevel": "L3"}, (), []),
        ({"minTrustLevel": "L4"}, (), ["TrustLevelTooLow"]),
        ({"minTrustLevel": "L4", "namespaces": ["prod"]}, (), []),
        ({"requireSignedCommits": True}, (), []),
        ({"submitters": [{"user": "alice"}]}, (), []),
        ({"submitters": [{"keyId": "SHA256:a"}]}, (), []),
        ({"submitters": [{"user": "bob"}]}, (), ["SubmitterNotAllowed"]),
        ({"submitters": []}, (), ["SubmitterNotAllowed"]),
        ({"submitters": [{}]}, (), ["SubmitterNotAllowed"]),
        ({"requireApproval": True}, (), ["ApprovalMissing"]),
        ({"requireApproval": True}, (BY_BOB,), []),
        ({"requireApproval": True}, (BY_ALICE,), ["ApprovalMissing"]),
        ({"approvers": [{"user": "bob"}]}, (BY_BOB,), []),
        ({"approvers": [{"user": "carol"}]}, (BY_BOB,), ["ApprovalMissing"]),
        ({"approvers": []}, (BY_BOB,), ["ApprovalMissing"]),
    ],
)
def test_a_policy_against_a_finished_run(
    rule: dict[str, Any], approvals: tuple[Approval, ...], wrong: list[str]
) -> None:
    assert held(approvals=approvals, **rule) == wrong


def test_a_run_without_a_recorded_signer_has_none() -> None:
    rules = (TrustRule.model_validate({"minTrustLevel": "L0", "requireSignedCommits": True}),)
    found = policy_checks(rules, manifest_of(content()), "L1", ())
    assert [check.reason for check in found if not check.ok] == ["CommitNotSigned"]


def test_the_digest_of_the_plan_is_what_was_approved() -> None:
    assert digest_bytes(content()["plan.json"]) == PLAN
