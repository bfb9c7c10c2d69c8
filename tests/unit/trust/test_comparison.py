"""A comparison says of two runs what their manifests say, and nothing else."""

import json
from typing import Any

import pytest

from controller.api.canonical import canonical_bytes, digest_bytes
from controller.api.manifest import InvalidManifestError, RunManifest, manifest_bytes
from controller.trust.comparison import (
    COMPARISON_TYPE,
    RERUN_MANIFEST,
    ComparisonError,
    compare,
    comparison_statement,
    read_comparison,
)
from tests.fakes.signed_run import content, manifest_of

AT = "2026-01-03T00:00:00Z"
TOLERANCES = {"loss": 0.01}
HERE: dict[str, Any] = {"store": "store-1"}
ELSEWHERE: dict[str, Any] = {
    "run_id": "digits-again",
    "uid": "other",
    "store": "store-2",
    "node": {"hostname": "host2", "machine_id": "m2", "boot_id": "b2", "kernel": "6.1"},
}


def run(changed: dict[str, bytes] | None = None, **fields: Any) -> RunManifest:
    """A finished run whose files may differ."""
    return manifest_of(content() | (changed or {}), **fields)


ORIGINAL = run(**HERE)
METRICS = {"sha256": "sha256:" + "f" * 64, "lines": 1}


def outcomes(rerun: RunManifest, tolerances: dict[str, float] | None = None) -> dict[str, str]:
    """Field to outcome."""
    return {field.field: field.outcome for field in compare(ORIGINAL, rerun, tolerances or {}).fields}


def test_the_same_outputs_on_another_machine_and_store_reproduce() -> None:
    found = compare(ORIGINAL, run(**ELSEWHERE), {})
    assert (found.reproduced, found.elsewhere) == (True, True)
    assert outcomes(run(**ELSEWHERE)) == {"planSha256": "equal", "outputs/model.npz": "equal"}


@pytest.mark.parametrize(
    "missing",
    [{"store": "store-1"}, {"store": None}, {"node": {"machine_id": "m"}}, {"node": {"hostname": "host2"}}],
)
def test_elsewhere_means_another_machine_and_another_store(missing: dict[str, Any]) -> None:
    assert not compare(ORIGINAL, run(**ELSEWHERE | missing), {}).elsewhere


def test_another_output_drifted_and_a_missing_one_is_unverifiable() -> None:
    changed = run({"results/model.npz": b"other"}, **ELSEWHERE)
    assert outcomes(changed)["outputs/model.npz"] == "drifted"
    assert not compare(ORIGINAL, changed, {}).reproduced
    assert outcomes(run(**ELSEWHERE, outputs=[]))["outputs/model.npz"] == "unverifiable"
    assert not compare(ORIGINAL, run(**ELSEWHERE, outputs=[]), {}).reproduced


def test_outputs_that_no_spec_names_decide_only_where_none_is_named() -> None:
    other_plot = run({"results/plots/loss.svg": b"later"}, **ELSEWHERE)
    assert compare(ORIGINAL, other_plot, {}).reproduced
    unnamed = [{"path": "plots/loss.svg", "sha256": digest_bytes(content()["results/plots/loss.svg"])}]
    assert not compare(run(**HERE, outputs=unnamed), other_plot, {}).reproduced


@pytest.mark.parametrize(
    ("loss", "outcome", "reproduced"),
    [(0.5, "equal", True), (0.505, "within", True), (0.52, "drifted", False), ("0.5", "unverifiable", False),
     (True, "unverifiable", False), (None, "unverifiable", False)],
)  # fmt: skip
def test_metrics_count_within_the_tolerance_that_was_declared(loss: Any, outcome: str, reproduced: bool) -> None:
    last = {} if loss is None else {"loss": loss}
    rerun = run({"results/model.npz": b"other"}, **ELSEWHERE, metrics=METRICS | {"last": last})
    found = compare(ORIGINAL, rerun, TOLERANCES)
    assert outcomes(rerun, TOLERANCES)["metrics/loss"] == outcome
    assert found.reproduced is reproduced


def test_a_metric_without_a_declared_tolerance_never_excuses_an_output() -> None:
    assert not compare(ORIGINAL, run({"results/model.npz": b"other"}, **ELSEWHERE), {}).reproduced


def test_another_plan_or_a_failed_run_reproduces_nothing() -> None:
    assert not compare(ORIGINAL, run({"plan.json": canonical_bytes({"seed": 8})}, **ELSEWHERE), {}).reproduced
    assert not compare(ORIGINAL, run(**ELSEWHERE, state="failed", exit_code=None, failure_reason="X"), {}).reproduced


MINE, THEIRS = manifest_bytes(ORIGINAL), manifest_bytes(run(**ELSEWHERE))
STATEMENT = comparison_statement(MINE, THEIRS, TOLERANCES, AT)


def test_the_statement_names_both_manifests_by_digest() -> None:
    statement = json.loads(STATEMENT)
    assert statement["predicateType"] == COMPARISON_TYPE
    assert {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]} == {
        "run_manifest.json": digest_bytes(MINE).removeprefix("sha256:"),
        RERUN_MANIFEST: digest_bytes(THEIRS).removeprefix("sha256:"),
    }
    assert statement["predicate"]["rerun"]["machineId"] == "m2"


def test_what_is_read_back_was_derived_again() -> None:
    assert read_comparison(STATEMENT, MINE, THEIRS, TOLERANCES) == compare(ORIGINAL, run(**ELSEWHERE), TOLERANCES)


@pytest.mark.parametrize("change", [{"reproduced": False}, {"elsewhere": False}, {"tolerances": {}}, {"note": 1}])
def test_a_key_holder_cannot_state_another_outcome(change: dict[str, Any]) -> None:
    statement = json.loads(STATEMENT)
    statement["predicate"] |= change
    with pytest.raises(ComparisonError, match="does not say"):
        read_comparison(canonical_bytes(statement), MINE, THEIRS, TOLERANCES)


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"predicate":{}}', b"[" * 100_000])
def test_what_is_no_comparison_is_refused(payload: bytes) -> None:
    with pytest.raises(ComparisonError, match="not a comparison"):
        read_comparison(payload, MINE, THEIRS, TOLERANCES)


def test_tolerances_that_were_not_declared_are_noticed() -> None:
    with pytest.raises(ComparisonError):
        read_comparison(STATEMENT, MINE, THEIRS, {"loss": 1.0})


def test_other_manifests_are_noticed() -> None:
    with pytest.raises(ComparisonError):
        read_comparison(STATEMENT, THEIRS, MINE, TOLERANCES)
    with pytest.raises(InvalidManifestError):
        read_comparison(STATEMENT, MINE, b"{}", TOLERANCES)
