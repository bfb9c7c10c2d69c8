"""The files of a finished, signed run, made by the program's own functions; small, so that every byte can be tried."""

from typing import Any

from controller.api.canonical import canonical_bytes, digest_bytes
from controller.api.experiment import Experiment
from controller.api.manifest import RunManifest, manifest_bytes, parse_manifest
from controller.ports.signer import Signer
from controller.trust.envelope import PAYLOAD_TYPE
from controller.trust.levels import judge_run
from controller.trust.statement import provenance_statement
from controller.trust.verdict import verdict_statement

SPEC = b"""\
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata:
  name: digits
spec:
  command: [python, train.py, --lr, $(params.lr)]
  parameters: {lr: 1e-3}
"""
EXPERIMENT = Experiment.model_validate(
    {
        "apiVersion": "fetchml.dev/v1alpha1",
        "kind": "Experiment",
        "metadata": {"name": "digits"},
        "spec": {"command": ["python", "train.py", "--lr", "$(params.lr)"], "parameters": {"lr": 0.001}},
    }
)
SANDBOX: dict[str, Any] = {
    "launcher": "bwrap",
    "cap_eff": "0000000000000000",
    "cap_prm": "0000000000000000",
    "no_new_privs": True,
    "seccomp": True,
    "uid_map": [["1000", "1000", "1"]],
    "outer_uid": 1000,
    "interfaces": ["lo"],
    "root_read_only": True,
    "limits": {
        "memory": {"value": 2**30, "enforcer": "cgroup"},
        "cpu": {"value": 1, "enforcer": "cgroup"},
        "pids": {"value": 64, "enforcer": "cgroup"},
    },
}
DATA = "sha256:" + "d" * 64


def content() -> dict[str, bytes]:
    """Plan, log and results of the run, by path in the run folder."""
    return {
        "spec.yaml": SPEC,
        "plan.json": canonical_bytes({"command": ["python", "train.py", "--lr", "0.001"], "seed": 7}),
        "run.log": b"epoch 1\nepoch 2\n",
        "results/metrics.jsonl": b'{"step": 1, "loss": 0.5}\n',
        "results/model.npz": b"\x00\x01\xfe\xff weights",
        "results/plots/loss.svg": b"<svg/>\n",
    }


def manifest_of(files: dict[str, bytes], **changes: Any) -> RunManifest:
    """A complete manifest about these files, with fields replaced."""
    log, metrics = files["run.log"], files["results/metrics.jsonl"]
    values: dict[str, Any] = {
        "run_id": "digits-abcdefgh",
        "experiment": "digits",
        "uid": "0b6f4a52",
        "spec_sha256": digest_bytes(EXPERIMENT.canonical()),
        "plan_sha256": digest_bytes(files["plan.json"]),
        "repro_policy": "strict",
        "trust_ceiling": {
            "level": "L1",
            "caps": [{"level": "L1", "reason": "SubmitterIsReconciler", "message": "a workstation"}],
        },
        "state": "completed",
        "attempt": 1,
        "attempts": [
            {
                "number": 1,
                "created_at": "2026-01-02T03:04:05Z",
                "started_at": "2026-01-02T03:04:06.5Z",
                "ended_at": "2026-01-02T03:05:00Z",
                "exit_code": 0,
                "runtime": "process",
            }
        ],
        "created_at": "2026-01-02T03:04:05Z",
        "started_at": "2026-01-02T03:04:06.5Z",
        "ended_at": "2026-01-02T03:05:00Z",
        "exit_code": 0,
        "source": {"repo": ".", "path": "examples/digits"},
        "commit_id": "c" * 40,
        "deps_manifest": {"manifest": "requirements.lock", "sha256": "sha256:" + "e" * 64},
        "datasets": [{"name": "digits", "uri": "file:data/d.csv", "sha256": DATA, "sha256_after": DATA, "size": 9}],
        "resources": {"requested": {"cpu": "1"}, "granted": {"cpu": 1}},
        "node": {"hostname": "host", "machine_id": "m", "boot_id": "b", "kernel": "6.1"},
        "runtime": {
            "name": "process",
            "controller_version": "0.1.0",
            "reconciler_uid": 1000,
            "interpreter": {"version": "3.11.2", "platform": "linux-x86_64"},
            "sandbox": SANDBOX,
        },
        "command": ["python", "train.py", "--lr", "0.001"],
        "parameters": {"lr": 0.001},
        "seed": 7,
        "env": ["OMP_NUM_THREADS"],
        "outputs": [
            {"name": "model", "path": "model.npz", "sha256": digest_bytes(files["results/model.npz"]), "size": 12},
            {"path": "plots/loss.svg", "sha256": digest_bytes(files["results/plots/loss.svg"]), "size": 7},
        ],
        "metrics": {"sha256": digest_bytes(metrics), "size": len(metrics), "lines": 1, "last": {"loss": 0.5}},
        "logs": {"sha256": digest_bytes(log), "size": len(log)},
    }
    return parse_manifest(canonical_bytes(values | changes))


def signed_run(signer: Signer, **changes: Any) -> dict[str, bytes]:
    """Every file of the run folder by relative path; `changes` replace fields of the manifest."""
    files = content()
    manifest = manifest_of(files, **changes)
    files["run_manifest.json"] = data = manifest_bytes(manifest)
    files["attestation.dsse.json"] = signer.sign(PAYLOAD_TYPE, provenance_statement(data))
    judged = judge_run(manifest, plan_sha256=digest_bytes(files["plan.json"]), signed=True)
    verdict = verdict_statement(data, files["attestation.dsse.json"], judged, "2026-01-02T03:05:01Z")
    files["verdict.dsse.json"] = signer.sign(PAYLOAD_TYPE, verdict)
    return files
