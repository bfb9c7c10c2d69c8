"""The signed statement about a run: in-toto Statement v1 with SLSA provenance v1.

Promises: the statement is a pure function of the manifest's bytes, so a verifier derives it again and compares; the
build type names this derivation and changes when it does. Subjects are named by their path in the run folder, except
``metrics.jsonl``, which lies in ``results/``. Sources: in-toto attestation spec v1, slsa.dev/spec/v1.1/provenance.
Does not: sign, read files, or carry a secret or an environment value.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from controller.api.canonical import canonical_bytes, hex_of
from controller.api.manifest import RunManifest, parse_manifest
from controller.trust.sandbox import hides_keys

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PROVENANCE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://fetchml.dev/buildtypes/experiment/v1"

MANIFEST, PLAN, LOG, METRICS, RESULTS = "run_manifest.json", "plan.json", "run.log", "metrics.jsonl", "results/"


def builder_id(manifest: RunManifest) -> str:
    """Who ran it: one URI per runtime, and another for the process runtime without its sandbox (SLSA: one per mode)."""
    name = manifest.runtime.name
    mode = "-unsandboxed" if name == "process" and not hides_keys(manifest.runtime.sandbox) else ""
    return f"https://fetchml.dev/builders/{name}{mode}/v1"


def subject_path(name: str) -> str:
    """Where a subject lies, relative to the run folder."""
    return RESULTS + METRICS if name == METRICS else name


def subjects_of(manifest: RunManifest, data: bytes) -> dict[str, str]:
    """Subject name to sha256 hex; `data` are the manifest's own bytes."""
    subjects = {MANIFEST: hashlib.sha256(data).hexdigest(), PLAN: hex_of(manifest.plan_sha256)}
    if manifest.logs:
        subjects[LOG] = hex_of(manifest.logs.sha256)
    if manifest.metrics:
        subjects[METRICS] = hex_of(manifest.metrics.sha256)
    return subjects | {RESULTS + output.path: hex_of(output.sha256) for output in manifest.outputs}


def provenance_statement(data: bytes) -> bytes:
    """The statement (RFC 8785 bytes, the DSSE payload) about a run, from the bytes of its manifest.

    Raises:
        InvalidManifestError: the bytes are not a valid manifest.
    """
    manifest = parse_manifest(data)
    predicate = {"buildDefinition": _build_definition(manifest), "runDetails": _run_details(manifest)}
    return statement_bytes(subjects_of(manifest, data), PROVENANCE_TYPE, predicate)


def statement_bytes(subjects: Mapping[str, str], predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """An in-toto Statement v1; `subjects` maps names to sha256 hex."""
    listed = [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects.items()]
    return canonical_bytes(
        {"_type": STATEMENT_TYPE, "subject": listed, "predicateType": predicate_type, "predicate": predicate}
    )


def _build_definition(manifest: RunManifest) -> dict[str, Any]:
    external = {
        "experiment": manifest.experiment,
        "namespace": manifest.namespace,
        "uid": manifest.uid,
        "specSha256": manifest.spec_sha256,
        "planSha256": manifest.plan_sha256,
        "reproPolicy": manifest.repro_policy,
        "command": list(manifest.command),
        "parameters": manifest.parameters,
        "seed": manifest.seed,
        "envNames": list(manifest.env),
        "resources": manifest.resources.requested,
    }
    return {
        "buildType": BUILD_TYPE,
        "externalParameters": {key: value for key, value in external.items() if value is not None},
        "internalParameters": {
            "runtime": manifest.runtime.name,
            "attempt": manifest.attempt,
            "machineId": manifest.node.machine_id,
            "granted": manifest.resources.granted,
        },
        "resolvedDependencies": list(_dependencies(manifest)),
    }


def _dependencies(manifest: RunManifest) -> Iterator[dict[str, Any]]:
    """Resource descriptors; the digest of a folder is over its coreutils listing (design contract, "Digests")."""
    source = manifest.source
    commit = {"gitCommit": manifest.commit_id} if manifest.commit_id else {}
    own = commit if source is None or source.repo == "." else {}
    yield {"name": "spec", "digest": {"sha256": hex_of(manifest.spec_sha256)} | own}
    if source and commit:
        yield {"name": "source", "uri": f"git+{source.repo}#subdirectory={source.path}", "digest": commit}
    if manifest.image and "@sha256:" in manifest.image:
        name, _, digest = manifest.image.rpartition("@sha256:")
        yield {"name": "image", "uri": f"docker://{name}", "digest": {"sha256": digest}}
    if manifest.deps_manifest and manifest.deps_manifest.sha256:
        lock = manifest.deps_manifest
        yield {"name": "dependencies", "uri": lock.manifest, "digest": {"sha256": hex_of(lock.sha256 or "")}}
    if manifest.snapshot:
        yield {"name": "snapshot", "digest": {"sha256": hex_of(manifest.snapshot)}}
    for dataset in manifest.datasets:
        digest_set = {"sha256": hex_of(dataset.sha256)} if dataset.sha256 else {}
        yield {"name": f"dataset/{dataset.name}", "uri": dataset.uri, "digest": digest_set}


def _run_details(manifest: RunManifest) -> dict[str, Any]:
    times = {"startedOn": manifest.started_at, "finishedOn": manifest.ended_at}
    version = manifest.runtime.controller_version
    return {
        "builder": {"id": builder_id(manifest)} | ({"version": {"fetchml": version}} if version else {}),
        "metadata": {"invocationId": manifest.run_id} | {key: value for key, value in times.items() if value},
    }
