"""run_manifest.json from what the store, the host and the runtime know.

Promises: `running_manifest` at the start of an attempt, `final_manifest` once a run ended; both obey the life-cycle
laws of controller/api/manifest.py. Does not: sign.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from controller import __version__
from controller.api.manifest import RunManifest, manifest_bytes
from controller.facts.facts import HostFacts
from controller.ports.store import AttemptRow, RunRow
from controller.reconcile.context import Ports
from controller.reconcile.launch import LaunchRecord

_STATES = {"succeeded": "completed", "failed": "failed", "cancelled": "cancelled"}


def running_manifest(ports: Ports, run: RunRow, attempt: AttemptRow) -> bytes:
    """The manifest while an attempt runs."""
    attempts = [row for row in ports.store.attempts(run.run_id) if row.number != attempt.number] + [attempt]
    fields = _common(ports, run, attempts) | {"state": "running", "started_at": attempts[0].started_at}
    return manifest_bytes(RunManifest.model_validate(fields))


def final_manifest(ports: Ports, run: RunRow, attempts: Sequence[AttemptRow], outcome: str, reason: str) -> RunManifest:
    """The manifest of a finished run (succeeded, failed or cancelled)."""
    last = attempts[-1]
    collected = last.data.get("collected", {})
    fields = _common(ports, run, attempts) | {
        "state": _STATES[outcome],
        "started_at": next((row.started_at for row in attempts if row.started_at), None),
        "ended_at": last.ended_at,
        "exit_code": last.exit_code,
        "failure_reason": (reason or None) if outcome != "succeeded" else None,
        "datasets": _datasets(run, collected),
        "outputs": [_output(entry) for entry in collected.get("outputs", ()) if entry.get("present")],
        "metrics": _metrics(collected),
        "logs": _log(collected),
    }
    return RunManifest.model_validate(fields)


def _common(ports: Ports, run: RunRow, attempts: Sequence[AttemptRow]) -> dict[str, Any]:
    record = LaunchRecord(run.launch)
    plan = json.loads(run.plan)
    git, last = record.git, attempts[-1]
    source = record.git_source
    lock = record.spec.environment.dependencies
    return {
        "run_id": run.run_id,
        "experiment": run.key.name,
        "namespace": run.key.namespace,
        "uid": run.uid,
        "store": ports.store.store_id,
        "spec_sha256": run.launch["spec_sha256"],
        "plan_sha256": run.plan_sha256,
        "repro_policy": record.spec.reproducibility.policy,
        "trust_ceiling": run.launch["trust_ceiling"],
        "attempt": last.number,
        "attempts": [_attempt(row) for row in attempts],
        "created_at": run.created_at,
        "source": {"repo": source.repo, "path": source.path} if source else None,
        "commit_id": git.commit if git and source else None,
        "submission": run.launch.get("submission"),
        "snapshot": record.spec.source.snapshot if record.spec.source else None,
        "deps_manifest": {"manifest": lock.manifest, "sha256": plan["environment"]["dependencies"]["sha256"]}
        if lock
        else None,
        "image": plan["environment"].get("image"),
        "datasets": _datasets(run, {}),
        "resources": {"requested": plan["resources"], "granted": _granted(last, plan)},
        "node": _node(ports.inventory.host()),
        "runtime": _runtime(record, last),
        "command": plan["command"],
        "parameters": plan.get("parameters", {}),
        "seed": plan.get("seed"),
        "env": sorted((*plan.get("env", {}), *(secret["env"] for secret in plan.get("secrets", ())))),
        "checkpoints": _checkpoints(record, attempts),
    }


def _attempt(row: AttemptRow) -> dict[str, Any]:
    names = ("number", "created_at", "started_at", "ended_at", "exit_code", "reason", "message", "runtime")
    return {name: getattr(row, name) for name in names}


def _granted(attempt: AttemptRow, plan: Mapping[str, Any]) -> dict[str, Any]:
    limits = attempt.data.get("sandbox", {}).get("limits", {})
    return {"limits": limits} if limits else {"nodes": plan["resources"]["nodes"]}


def _node(host: HostFacts) -> dict[str, Any]:
    names = ("hostname", "machine_id", "boot_id", "kernel", "os", "arch", "cpu_model", "cpus", "memory")
    return {name: getattr(host, name) for name in names}


def _runtime(record: LaunchRecord, attempt: AttemptRow) -> dict[str, Any]:
    found = record.interpreter
    return {
        "name": attempt.runtime,
        "controller_version": __version__,
        "reconciler_uid": os.getuid(),
        "interpreter": {"version": found.version, "implementation": found.implementation, "platform": found.platform}
        if found and found.found
        else None,
        "sandbox": attempt.data.get("sandbox", {}),
        "usage": attempt.data.get("usage", {}),
    }


def _datasets(run: RunRow, collected: Mapping[str, Any]) -> list[dict[str, Any]]:
    after, touched = collected.get("datasets_after", {}), collected.get("datasets_touched", {})
    record = LaunchRecord(run.launch)
    uris = {dataset.name: dataset.uri for dataset in record.spec.datasets}
    return [
        {
            "name": facts.name, "uri": uris[facts.name], "sha256": facts.sha256, "sha256_after": after.get(facts.name),
            "touched": touched.get(facts.name), "size": facts.size, "files": facts.files, "mount_path": mount,
        }
        for facts, mount in record.datasets
    ]  # fmt: skip


def _output(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("name", "path", "sha256", "size", "required")}


def _metrics(collected: Mapping[str, Any]) -> dict[str, Any] | None:
    found = collected.get("metrics_file")
    return {**found, "last": dict(collected.get("metrics", {}))} if found else None


def _log(collected: Mapping[str, Any]) -> dict[str, Any] | None:
    if not collected.get("log_sha256"):
        return None
    return {"sha256": collected["log_sha256"], "size": collected["log_size"]}


def _checkpoints(record: LaunchRecord, attempts: Sequence[AttemptRow]) -> list[dict[str, Any]]:
    """What each attempt left in the checkpoints folder, and whose files it found there."""
    if record.spec.checkpoint is None:
        return []
    left = [int(row.data.get("collected", {}).get("checkpoint_files", 0)) for row in attempts]
    return [
        {"attempt": row.number, "files": files, "resumed_from": earlier.number if earlier and found else None}
        for row, files, earlier, found in zip(attempts, left, [None, *attempts], [0, *left], strict=False)
    ]
