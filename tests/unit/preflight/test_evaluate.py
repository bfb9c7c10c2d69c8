"""All rules together: the verdict, relaxed, and trust as the trust room really computes it."""

import importlib
import pkgutil

import pytest

from controller import preflight
from controller.plan.plan import build_plan
from controller.preflight import RELAXED, RULES, Verdict, evaluate
from controller.preflight.trust import JUDGED_ELSEWHERE
from controller.trust.levels import launch_ceiling
from tests.builders import dataset, experiment, facts, full_experiment, git, interpreter, sha


def run(spec, seen=None, runtime="process"):
    seen = seen or facts(spec)
    return evaluate(spec, build_plan(spec, seen, runtime), seen, launch_ceiling(spec, seen, runtime))


def objections(result):
    return [(str(finding.verdict), finding.reason) for finding in result.objections]


def test_every_rule_module_is_asked_and_prints_in_order():
    modules = {m.name for m in pkgutil.iter_modules(preflight.__path__)} - {"model"}
    asked = [check.__module__.rpartition(".")[2] for check in RULES]
    assert sorted(asked) == sorted(modules)
    assert [finding.rule for finding in run(full_experiment()).findings] == asked


def test_every_rule_documents_its_reasons():
    for check in RULES:
        assert "Reasons" in (importlib.import_module(check.__module__).__doc__ or "")


def test_a_good_spec_passes():
    result = run(full_experiment())
    assert (result.verdict, result.objections, result.caps) == (Verdict.PASS, (), ())


def test_wait_alone_waits():
    spec = full_experiment()
    assert objections(run(spec, facts(spec, git=git(pushed=False)))) == [("Wait", "NotPushed")]


def test_refuse_beats_wait_and_comes_first():
    spec = full_experiment()
    seen = facts(spec, git=git(pushed=False), datasets=(dataset(sha256=sha("0")),))
    result = run(spec, seen)
    assert result.verdict is Verdict.REFUSE
    assert objections(result) == [("Refuse", "DatasetChecksumMismatch"), ("Wait", "NotPushed")]


@pytest.mark.parametrize(
    ("spec", "change", "runtime", "reason"),
    [
        (full_experiment(), {"git": git(dirty=("a",))}, "process", "DirtyTree"),
        (full_experiment(), {"git": git(pushed=False)}, "process", "NotPushed"),
        (full_experiment(environment={}), {}, "process", "LockMissing"),
        (full_experiment(environment={"image": "python:3.11"}), {}, "docker", "ImageNotPinned"),
    ],
)
def test_relaxed_turns_exactly_these_into_caps(spec, change, runtime, reason):
    strict = run(spec, facts(spec, **change), runtime)
    assert [finding.reason for finding in strict.objections] == [reason]
    data = spec.model_dump(by_alias=True, exclude_none=True)
    data["spec"]["reproducibility"] = {"policy": "relaxed"}
    relaxed = type(spec).model_validate(data)
    result = run(relaxed, facts(relaxed, **change), runtime)
    assert (result.verdict, objections(result)) == (Verdict.PASS, [])
    assert [(cap.level, cap.reason) for cap in result.caps] == [("L0", reason)]
    data["spec"]["reproducibility"] = {"policy": "relaxed", "minTrustLevel": "L1"}
    demanding = type(spec).model_validate(data)
    assert objections(run(demanding, facts(demanding, **change), runtime)) == [("Refuse", "TrustLevelUnreachable")]


def test_the_contract_names_four():
    assert sorted(RELAXED) == ["DirtyTree", "ImageNotPinned", "LockMissing", "NotPushed"]


def test_relaxed_never_forgives_digests_or_safety():
    spec = full_experiment(reproducibility={"policy": "relaxed"}, sandbox={"network": "full"}, secrets=[])
    seen = facts(spec, datasets=(dataset(sha256=sha("0")),))
    assert objections(run(spec, seen)) == [("Refuse", "DatasetChecksumMismatch"), ("Refuse", "NetworkNotAllowed")]


@pytest.mark.parametrize(
    "change",
    [
        {"git": git(exists=False)},
        {"git": git(exists=False, has_remote=False)},
        {"git": git(found=False)},
        {"git": git(reachable=False)},
        {"git": git(dirty=("a",))},
        {"git": git(pushed=False)},
        {"interpreter": interpreter(found=False)},
        {"datasets": ()},
        {"datasets": (dataset(sha256=sha("0")),)},
        {"lock": None},
    ],
)
def test_a_cap_that_trust_leaves_to_others_is_objected_to_by_another_rule(change):
    spec = full_experiment()
    seen = facts(spec, **change)
    ceiling = launch_ceiling(spec, seen, "process")
    assert {cap.reason for cap in ceiling.caps} & JUDGED_ELSEWHERE, "the case is about such a cap"
    result = run(spec, seen)
    assert result.verdict is not Verdict.PASS
    assert "trust" not in {finding.rule for finding in result.objections}


def test_snapshot_and_image_caps_too():
    snapshot = experiment(source={"snapshot": sha()}, environment={"python": "3.11"})
    assert objections(run(snapshot, facts(snapshot, snapshot=None))) == [("Wait", "SnapshotNotFound")]
    image = experiment(environment={"image": "a"})
    assert objections(run(image, runtime="docker")) == [("Refuse", "ImageNotPinned")]
