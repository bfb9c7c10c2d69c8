"""A trust level is what the evidence shows: every single gap caps it, and says why."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api.experiment import Experiment
from controller.api.manifest import RunManifest, manifest_bytes
from controller.facts.facts import (
    DatasetFacts,
    Facts,
    GitFacts,
    HostFacts,
    InterpreterFacts,
    LockFacts,
    PolicyFacts,
    SandboxFacts,
    SnapshotFacts,
)
from controller.trust.levels import (
    CRITERIA,
    LEVELS,
    Cap,
    Evidence,
    Judgement,
    at_least,
    judge,
    judge_run,
    judgement_of,
    launch_ceiling,
)
from tests.fakes.signed_run import SANDBOX, content, manifest_of

FIELDS = [field.name for field in dataclasses.fields(Evidence) if field.name != "details"]
ALL_FIELDS: dict[str, Any] = dict.fromkeys(FIELDS, True)
ALL_MET = Evidence(**ALL_FIELDS)
DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
COMMIT = "c" * 40


def evidence(**changes: Any) -> Evidence:
    """Everything shown, with changes."""
    return dataclasses.replace(ALL_MET, **changes)


# The table


def test_every_field_of_evidence_is_one_criterion() -> None:
    assert len(CRITERIA) == len(FIELDS) == len({criterion.reason for criterion in CRITERIA})


def test_with_all_evidence_the_level_is_l4() -> None:
    assert judge(ALL_MET) == Judgement("L4", ())


def test_without_any_evidence_the_level_is_l0_with_every_cap() -> None:
    judged = judge(Evidence())
    assert judged.level == "L0"
    assert len(judged.caps) == len(CRITERIA)
    assert judge(Evidence(), unknown="hope") == Judgement("L4", ())


EXPECTED = {
    "L0": "commit_exists commit_reachable tree_clean pushed snapshot_verified image_pinned lock_pinned "
    "interpreter_recorded datasets_verified manifest_complete plan_recomputes key_out_of_reach inputs_unchanged "
    "inputs_untouched",
    "L1": "inputs_rehashed signing_key signature_verifies spec_equals_blob submitter_is_other run_uid_is_other",
    "L2": "beyond_process sandbox_observed commit_signed isolated image_fresh",
    "L3": "reviewed no_network reproduced comparison_signed",
}


@pytest.mark.parametrize(("level", "field"), [(lv, field) for lv, names in EXPECTED.items() for field in names.split()])
def test_each_missing_piece_alone_caps_the_level(level: str, field: str) -> None:
    for value in (False, None):
        judged = judge(evidence(**{field: value}))
        assert (judged.level, len(judged.caps)) == (level, 1)
        assert judged.caps[0].message
    assert judge(evidence(**{field: False}), unknown="hope").level == level


def test_the_expectations_cover_the_whole_table() -> None:
    assert sorted(" ".join(EXPECTED.values()).split()) == sorted(FIELDS)


def test_levels_are_cumulative_lowest_cap_first() -> None:
    judged = judge(dataclasses.replace(ALL_MET, reviewed=False, signing_key=False, isolated=False))
    assert [cap.level for cap in judged.caps] == ["L1", "L2", "L3"]
    assert [cap.reason for cap in judged.binding] == ["NoSigningKey"]


def test_of_two_caps_with_one_reason_the_lower_stays() -> None:
    judged = judgement_of([Cap("L2", "X", "a"), Cap("L1", "X", "b"), Cap("L3", "X", "c")])
    assert judged == Judgement("L1", (Cap("L1", "X", "b"),))


def test_levels_compare_in_order() -> None:
    assert [at_least(level, "L2") for level in LEVELS] == [False, False, True, True, True]


KNOWN = st.sampled_from([True, False, None])


@given(st.fixed_dictionaries(dict.fromkeys(FIELDS, KNOWN)), st.sampled_from(FIELDS))
def test_more_evidence_never_lowers_a_level_and_hope_is_never_below_it(known: dict[str, Any], shown: str) -> None:
    before, after = judge(evidence(**known)), judge(evidence(**known | {shown: True}))
    assert at_least(after.level, before.level)
    assert at_least(judge(evidence(**known), unknown="hope").level, before.level)
    assert all(at_least(cap.level, before.level) for cap in before.caps)


# Before a launch


def experiment(**spec: Any) -> Experiment:
    """An experiment that needs no code, with parts of its spec replaced."""
    return Experiment.model_validate(
        {
            "apiVersion": "fetchml.dev/v1alpha1",
            "kind": "Experiment",
            "metadata": {"name": "x"},
            "spec": {"command": ["true"], **spec},
        }
    )


GIT = GitFacts(
    found=True, repo=".", commit=COMMIT, exists=True, reachable=True, path_exists=True, has_remote=True, pushed=True
)
SANDBOXED = SandboxFacts("bwrap", mount_namespace=True, network_namespace=True, seccomp=True)
NO_SANDBOX = SandboxFacts(
    "none", mount_namespace=False, network_namespace=False, seccomp=False, why="no user namespaces"
)


def host(sandbox: SandboxFacts = SANDBOXED) -> HostFacts:
    """A machine."""
    return HostFacts("h", "m", "b", "6.1", "Linux", "x86_64", "cpu", 2, 2**33, 2**33, sandbox=sandbox)


def facts(**changes: Any) -> Facts:
    """A committed spec on a workstation with a sandbox."""
    base = Facts(host(), git=GIT, interpreter=InterpreterFacts("3.11", found=True, version="3.11.2"))
    return dataclasses.replace(base, **changes)


def reasons(spec: dict[str, Any], known: Facts, runtime: str = "process") -> dict[str, str]:
    """Reason to level of the launch ceiling's caps."""
    return {cap.reason: cap.level for cap in launch_ceiling(experiment(**spec), known, runtime).caps}


WORKSTATION = {
    "SubmitterIsReconciler": "L1",
    "RunSharesKeyOwner": "L1",
    "ProcessRuntime": "L2",
    "CommitNotSigned": "L2",
    "NotReviewed": "L3",
}


def test_a_workstation_reaches_l1_and_says_every_reason() -> None:
    assert reasons({}, facts()) == WORKSTATION
    assert launch_ceiling(experiment(), facts(), "process").level == "L1"


GIT_SOURCE = {"source": {"git": {"repo": "."}}, "environment": {"python": "3.11"}}
LOCK = {"manifest": "requirements.lock", "sha256": DIGEST}
DATA = {"name": "d", "uri": "file:d", "sha256": DIGEST}


@pytest.mark.parametrize(
    ("spec", "known", "extra"),
    [
        (GIT_SOURCE, facts(), {}),
        (GIT_SOURCE, facts(git=None), {"CommitNotFound": "L0", "SpecNotCommitted": "L1"}),
        (
            GIT_SOURCE,
            facts(git=dataclasses.replace(GIT, exists=False)),
            {"CommitNotFound": "L0", "SpecNotCommitted": "L1"},
        ),
        (GIT_SOURCE, facts(git=dataclasses.replace(GIT, reachable=False)), {"CommitNotReachable": "L0"}),
        (
            GIT_SOURCE,
            facts(git=dataclasses.replace(GIT, dirty=("a.py",))),
            {"DirtyTree": "L0", "SpecNotCommitted": "L1"},
        ),
        (GIT_SOURCE, facts(git=dataclasses.replace(GIT, pushed=False)), {"NotPushed": "L0"}),
        (GIT_SOURCE, facts(git=dataclasses.replace(GIT, pushed=False, has_remote=False)), {}),
        ({"source": {"git": {"repo": "."}}}, facts(), {"LockMissing": "L0"}),
        ({}, facts(git=None), {"SpecNotCommitted": "L1"}),
        ({}, facts(git=dataclasses.replace(GIT, repo="https://example.com/r")), {"SpecNotCommitted": "L1"}),
        (
            {"source": {"snapshot": DIGEST}, "environment": {"python": "3.11"}},
            facts(snapshot=SnapshotFacts(DIGEST, found=True, verified=True)),
            {},
        ),
        (
            {"source": {"snapshot": DIGEST}, "environment": {"python": "3.11"}},
            facts(snapshot=SnapshotFacts(DIGEST, found=True)),
            {"SnapshotNotVerified": "L0"},
        ),
        ({"environment": {"dependencies": LOCK}}, facts(), {"LockMissing": "L0"}),
        ({"environment": {"dependencies": LOCK}}, facts(lock=LockFacts("l", found=True, sha256=DIGEST)), {}),
        (
            {"environment": {"dependencies": LOCK}},
            facts(lock=LockFacts("l", found=True, sha256=OTHER)),
            {"LockMissing": "L0"},
        ),
        (
            {"environment": {"dependencies": LOCK}},
            facts(lock=LockFacts("l", found=True, sha256=DIGEST, unpinned=("numpy",))),
            {"LockMissing": "L0"},
        ),
        ({}, facts(interpreter=None), {"InterpreterNotRecorded": "L0"}),
        ({"datasets": [DATA]}, facts(), {"DatasetNotVerified": "L0"}),
        ({"datasets": [DATA]}, facts(datasets=(DatasetFacts("d", found=True, sha256=DIGEST),)), {}),
        (
            {"datasets": [DATA]},
            facts(datasets=(DatasetFacts("d", found=True, sha256=OTHER),)),
            {"DatasetNotVerified": "L0"},
        ),
        (
            {"datasets": [{"name": "d", "uri": "file:d"}]},
            facts(datasets=(DatasetFacts("d", found=True, sha256=DIGEST),)),
            {"DatasetNotVerified": "L0"},
        ),
        (
            {"datasets": [{"name": "d", "uri": "dataset:d"}]},
            facts(datasets=(DatasetFacts("d", found=True, sha256=DIGEST, pinned=DIGEST),)),
            {},
        ),
        (
            {"datasets": [{"name": "d", "uri": "dataset:d"}]},
            facts(datasets=(DatasetFacts("d", found=True, sha256=DIGEST, pinned=OTHER),)),
            {"DatasetNotVerified": "L0"},
        ),
        ({}, facts(host=host(NO_SANDBOX)), {"RunCanForge": "L0"}),
        ({}, facts(policy=PolicyFacts(signing_key=False)), {"NoSigningKey": "L1"}),
        ({"sandbox": {"network": "full"}}, facts(), {"NetworkAllowed": "L3"}),
    ],
)
def test_what_is_known_before_the_launch_caps_it(spec: dict[str, Any], known: Facts, extra: dict[str, str]) -> None:
    assert reasons(spec, known) == WORKSTATION | extra


def test_the_reason_why_there_is_no_sandbox_is_passed_on() -> None:
    caps = launch_ceiling(experiment(), facts(host=host(NO_SANDBOX)), "process").caps
    assert caps[0].reason == "RunCanForge"
    assert caps[0].message.endswith("no user namespaces")


def test_another_submitter_than_the_reconciler_lifts_that_cap() -> None:
    assert "SubmitterIsReconciler" not in reasons({}, facts(policy=PolicyFacts(submitter_is_reconciler=False)))


def test_a_container_by_digest_may_reach_l2_and_one_by_tag_stays_at_l0() -> None:
    known = facts(policy=PolicyFacts(submitter_is_reconciler=False), interpreter=None)
    pinned = {"environment": {"image": f"busybox@{DIGEST}"}}
    assert launch_ceiling(experiment(**pinned), known, "docker").level == "L2"
    assert reasons({"environment": {"image": "busybox:1"}}, known, "docker")["ImageNotPinned"] == "L0"


# After a run


def run(**changes: Any) -> RunManifest:
    """A finished run, with fields replaced and no check of its life cycle."""
    values = json.loads(manifest_bytes(manifest_of(content()))) | changes
    return RunManifest.model_validate_json(
        json.dumps({key: value for key, value in values.items() if value is not None})
    )


def run_reasons(manifest: RunManifest, *, signed: bool = True, plan_sha256: str | None = None) -> dict[str, str]:
    """Reason to level of what the run reached."""
    judged = judge_run(manifest, plan_sha256=plan_sha256 or manifest.plan_sha256, signed=signed)
    assert judged.level == min(cap.level for cap in judged.caps)
    return {cap.reason: cap.level for cap in judged.caps}


GOOD = run_reasons(run())
RUNTIME = json.loads(manifest_bytes(run()))["runtime"]
DATASET = {"name": "digits", "uri": "file:d", "sha256": DIGEST, "sha256_after": DIGEST}


def test_a_good_run_on_a_workstation_has_l1_and_its_reasons() -> None:
    assert judge_run(run(), plan_sha256=run().plan_sha256, signed=True).level == "L1"
    assert GOOD == {
        "SubmitterIsReconciler": "L1",
        "RunSharesKeyOwner": "L1",
        "ProcessRuntime": "L2",
        "CommitNotSigned": "L2",
        "NotIsolated": "L2",
        "NotReviewed": "L3",
        "NotReproduced": "L3",
        "ComparisonNotSigned": "L3",
    }


@pytest.mark.parametrize(
    ("changes", "extra"),
    [
        ({"commit_id": None}, {"CommitNotFound": "L0", "ManifestIncomplete": "L0"}),
        ({"deps_manifest": {"manifest": "l"}}, {"LockMissing": "L0", "ManifestIncomplete": "L0"}),
        ({"datasets": [DATASET | {"sha256_after": OTHER}]}, {"InputsChangedDuringRun": "L0"}),
        ({"datasets": [DATASET | {"touched": True}]}, {"InputsTouchedDuringRun": "L0"}),
        ({"datasets": [DATASET | {"touched": False}]}, {}),
        ({"datasets": [{**DATASET, "sha256_after": None}]}, {"RehashMissing": "L1"}),
        (
            {"datasets": [DATASET | {"sha256": None, "sha256_after": None}]},
            {"DatasetNotVerified": "L0", "ManifestIncomplete": "L0", "RehashMissing": "L1"},
        ),
        ({"node": {}}, {"ManifestIncomplete": "L0"}),
        ({"exit_code": 1}, {"ManifestIncomplete": "L0"}),
        ({"runtime": RUNTIME | {"interpreter": None}}, {"InterpreterNotRecorded": "L0", "ManifestIncomplete": "L0"}),
        ({"runtime": RUNTIME | {"sandbox": {}}}, {"RunCanForge": "L0", "NoSandboxFacts": "L2"}),
        ({"runtime": RUNTIME | {"sandbox": SANDBOX | {"launcher": "none"}}}, {"RunCanForge": "L0"}),
        ({"runtime": RUNTIME | {"sandbox": SANDBOX | {"root_read_only": False}}}, {"RunCanForge": "L0"}),
    ],
)
def test_what_the_run_showed_caps_it(changes: dict[str, Any], extra: dict[str, str]) -> None:
    assert run_reasons(run(**changes)) == GOOD | extra


def test_the_message_names_the_input_that_changed() -> None:
    manifest = run(datasets=[DATASET | {"sha256_after": OTHER}])
    judged = judge_run(manifest, plan_sha256=manifest.plan_sha256, signed=True)
    assert [(cap.reason, cap.message[-8:]) for cap in judged.binding] == [("InputsChangedDuringRun", ": digits")]


def test_an_unsigned_run_and_another_plan_are_capped() -> None:
    assert run_reasons(run(), signed=False) == GOOD | {"SignatureMissing": "L1"}
    assert run_reasons(run(), plan_sha256=OTHER) == GOOD | {"PlanHashMismatch": "L0"}


def test_caps_known_at_launch_stay_in_force_after_the_run() -> None:
    ceiling = {"level": "L0", "caps": [{"level": "L0", "reason": "DirtyTree", "message": "a.py"}]}
    assert run_reasons(run(trust_ceiling=ceiling))["DirtyTree"] == "L0"


ISOLATED = SANDBOX | {"outer_uid": 5000, "fresh": True}
CONTAINER = {"runtime": {"name": "docker", "reconciler_uid": 1000, "sandbox": ISOLATED}, "image": f"busybox@{DIGEST}"}
NO_CEILING = {"trust_ceiling": {"level": "L4", "caps": []}}


def test_an_isolated_container_is_held_only_by_signature_of_the_commit_and_review() -> None:
    assert run_reasons(run(**CONTAINER, **NO_CEILING)) == {
        "CommitNotSigned": "L2",
        "NotReviewed": "L3",
        "NotReproduced": "L3",
        "ComparisonNotSigned": "L3",
    }


def test_kubernetes_without_sandbox_facts_is_at_most_l2() -> None:
    bare = {"runtime": {"name": "kubernetes", "reconciler_uid": 1000}, "image": f"busybox@{DIGEST}"}
    found = run_reasons(run(**bare, **NO_CEILING))
    assert found["NoSandboxFacts"] == "L2"
    assert found["RunSharesKeyOwner"] == "L1"


def test_a_container_by_tag_is_l0() -> None:
    assert run_reasons(run(**CONTAINER | {"image": "busybox"}, **NO_CEILING))["ImageNotPinned"] == "L0"
