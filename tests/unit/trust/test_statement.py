"""The statement is exactly what in-toto and SLSA say, and exactly what the manifest says."""

import json
from typing import Any

import pytest

from controller.api.canonical import canonical_bytes, digest_bytes
from controller.api.manifest import InvalidManifestError, manifest_bytes
from controller.trust.levels import Judgement
from controller.trust.statement import builder_id, provenance_statement, subject_path
from controller.trust.verdict import CAPS_FIELD, policy_digest, verdict_statement
from tests.fakes.signed_run import DATA, EXPERIMENT, SANDBOX, content, manifest_of

IMAGE = "a" * 64


def statement(**changes: Any) -> Any:
    """The statement about a run, parsed."""
    return json.loads(provenance_statement(manifest_bytes(manifest_of(content(), **changes))))


def dependencies(**changes: Any) -> dict[str, Any]:
    """Resolved dependencies by name."""
    listed = statement(**changes)["predicate"]["buildDefinition"]["resolvedDependencies"]
    return {entry.pop("name"): entry for entry in listed}


def test_the_whole_statement() -> None:
    files = content()
    data = manifest_bytes(manifest_of(files))

    def subject(name: str, content_: bytes) -> dict[str, Any]:
        return {"name": name, "digest": {"sha256": digest_bytes(content_).removeprefix("sha256:")}}

    assert json.loads(provenance_statement(data)) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            subject("run_manifest.json", data),
            subject("plan.json", files["plan.json"]),
            subject("run.log", files["run.log"]),
            subject("metrics.jsonl", files["results/metrics.jsonl"]),
            subject("results/model.npz", files["results/model.npz"]),
            subject("results/plots/loss.svg", files["results/plots/loss.svg"]),
        ],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://fetchml.dev/buildtypes/experiment/v1",
                "externalParameters": {
                    "experiment": "digits",
                    "namespace": "default",
                    "uid": "0b6f4a52",
                    "specSha256": digest_bytes(EXPERIMENT.canonical()),
                    "planSha256": digest_bytes(files["plan.json"]),
                    "reproPolicy": "strict",
                    "command": ["python", "train.py", "--lr", "0.001"],
                    "parameters": {"lr": 0.001},
                    "seed": 7,
                    "envNames": ["OMP_NUM_THREADS"],
                    "resources": {"cpu": "1"},
                },
                "internalParameters": {"runtime": "process", "attempt": 1, "machineId": "m", "granted": {"cpu": 1}},
                "resolvedDependencies": [
                    {
                        "name": "spec",
                        "digest": {
                            "sha256": digest_bytes(EXPERIMENT.canonical()).removeprefix("sha256:"),
                            "gitCommit": "c" * 40,
                        },
                    },
                    {
                        "name": "source",
                        "uri": "git+.#subdirectory=examples/digits",
                        "digest": {"gitCommit": "c" * 40},
                    },
                    {"name": "dependencies", "uri": "requirements.lock", "digest": {"sha256": "e" * 64}},
                    {
                        "name": "dataset/digits",
                        "uri": "file:data/d.csv",
                        "digest": {"sha256": DATA.removeprefix("sha256:")},
                    },
                ],
            },
            "runDetails": {
                "builder": {"id": "https://fetchml.dev/builders/process/v1", "version": {"fetchml": "0.1.0"}},
                "metadata": {
                    "invocationId": "digits-abcdefgh",
                    "startedOn": "2026-01-02T03:04:06.5Z",
                    "finishedOn": "2026-01-02T03:05:00Z",
                },
            },
        },
    }


def test_the_payload_is_canonical() -> None:
    payload = provenance_statement(manifest_bytes(manifest_of(content())))
    assert canonical_bytes(json.loads(payload)) == payload


def test_every_kind_of_input_is_a_dependency_with_its_digest() -> None:
    found = dependencies(
        image=f"registry.example/ml@sha256:{IMAGE}", snapshot=DATA, source=None, commit_id=None, deps_manifest=None
    )
    assert found["image"] == {"uri": "docker://registry.example/ml", "digest": {"sha256": IMAGE}}
    assert found["snapshot"] == {"digest": {"sha256": DATA.removeprefix("sha256:")}}
    assert set(found) == {"spec", "image", "snapshot", "dataset/digits"}
    assert "gitCommit" not in found["spec"]["digest"]


def test_the_commit_of_another_repository_is_not_the_commit_of_the_spec() -> None:
    found = dependencies(source={"repo": "https://example.com/r.git", "path": "."})
    assert found["source"]["digest"] == {"gitCommit": "c" * 40}
    assert "gitCommit" not in found["spec"]["digest"]


def test_the_builder_differs_with_its_guarantees() -> None:
    runtime = {"name": "process", "interpreter": {"version": "3.11.2"}}
    bare = manifest_of(content(), runtime=runtime)
    boxed = manifest_of(content(), runtime=runtime | {"sandbox": SANDBOX})
    docker = manifest_of(content(), runtime={"name": "docker"})
    assert [builder_id(manifest).split("/")[-2] for manifest in (bare, boxed, docker)] == [
        "process-unsandboxed",
        "process",
        "docker",
    ]


def test_subjects_lie_where_their_names_say_but_for_the_metrics() -> None:
    assert subject_path("metrics.jsonl") == "results/metrics.jsonl"
    assert subject_path("results/model.npz") == "results/model.npz"
    assert subject_path("run.log") == "run.log"


def test_no_statement_about_an_invalid_manifest() -> None:
    with pytest.raises(InvalidManifestError):
        provenance_statement(b"{}")


def test_the_verdict_is_a_verification_summary() -> None:
    data = manifest_bytes(manifest_of(content()))
    verdict = json.loads(verdict_statement(data, b"envelope", Judgement("L1", ()), "2026-01-02T03:05:01Z"))
    assert verdict["predicateType"] == "https://slsa.dev/verification_summary/v1"
    assert verdict["subject"] == json.loads(provenance_statement(data))["subject"]
    assert verdict["predicate"] == {
        "verifier": {"id": "https://fetchml.dev/verifiers/reconciler/v1"},
        "timeVerified": "2026-01-02T03:05:01Z",
        "resourceUri": "https://fetchml.dev/runs/0b6f4a52/digits-abcdefgh",
        "policy": {"uri": "https://fetchml.dev/policies/trust-levels/v1", "digest": {"sha256": policy_digest()}},
        "inputAttestations": [
            {
                "uri": "https://fetchml.dev/runs/0b6f4a52/digits-abcdefgh/attestation.dsse.json",
                "digest": {"sha256": digest_bytes(b"envelope").removeprefix("sha256:")},
            }
        ],
        "verificationResult": "PASSED",
        "verifiedLevels": ["FETCHML_L1"],
        "slsaVersion": "1.1",
        CAPS_FIELD: [],
    }
