"""The end of a run: manifest, signed statement, signed verdict, and the commit that it is over.

Promises: repeatable until the last commit; the statement is verified from its files before the run is called
recorded. A run that never started has no manifest, and its status says so. Does not: decide the outcome.
"""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from controller.api.canonical import digest_bytes
from controller.api.manifest import RunManifest, manifest_bytes
from controller.plan.decide import Action
from controller.ports.signer import Signer
from controller.ports.store import AttemptRow, RunRow
from controller.reconcile.attempt import discard_scratch
from controller.reconcile.context import Ports
from controller.reconcile.files import RunFiles, run_files, write_atomic, write_together
from controller.reconcile.manifest import final_manifest
from controller.reconcile.times import timestamp
from controller.trust.approval import FOLDER, Approval, ApprovalError, approval_name, read_approval, reviewers
from controller.trust.envelope import PAYLOAD_TYPE
from controller.trust.levels import Judgement, Later, judge_run
from controller.trust.statement import provenance_statement
from controller.trust.verdict import verdict_statement


def finish(ports: Ports, run: RunRow, action: Action) -> None:
    """Record the run as `action.outcome`, sign what can be signed, and commit.

    Raises:
        OSError: a record cannot be written; nothing is committed, try again.
    """
    attempts = tuple(ports.store.attempts(run.run_id))
    for row in attempts:
        discard_scratch(run_files(ports.base, run.run_id), row.number)
    collected = attempts[-1].data.get("collected", {})
    reason = "" if action.outcome == "succeeded" else action.reason
    result: dict[str, Any] = {
        "reason": reason,
        "message": collected["message"] if reason and reason == collected.get("reason") else action.message,
        "outputs": [entry for entry in collected.get("outputs", ()) if entry.get("present")],
        "metrics": dict(collected.get("metrics", {})),
    }
    if any(row.started_at for row in attempts):
        result |= _prove(ports, run, final_manifest(ports, run, attempts, action.outcome, reason))
    else:
        result |= {
            "provenance_missing": "NeverStarted",
            "provenance_message": "no attempt started, so there is nothing to prove",
        }
    ports.store.finish_run(run.run_id, action.outcome, _ended(ports, attempts), result)
    ports.events.emit(
        str(run.key), "Normal" if action.outcome == "succeeded" else "Warning", action.reason, action.message
    )


def _ended(ports: Ports, attempts: tuple[AttemptRow, ...]) -> str:
    return attempts[-1].ended_at or timestamp(ports.clock.now())


def _prove(ports: Ports, run: RunRow, manifest: RunManifest) -> dict[str, Any]:
    files = run_files(ports.base, run.run_id)
    data = manifest_bytes(manifest)
    write_atomic(files.manifest, data)
    provenance: dict[str, Any] = {"manifest": _shown(ports, files.manifest), "manifest_sha256": digest_bytes(data)}
    later = Later(reviewers=_keep_approvals(ports, run, files))
    plan_sha256 = digest_bytes(files.plan.read_bytes())
    judgement = judge_run(manifest, plan_sha256=plan_sha256, signed=ports.signer is not None, later=later)
    result = {
        "trust": {"level": judgement.level, "caps": [asdict(cap) for cap in judgement.caps]},
        "provenance": provenance,
    }
    if ports.signer is None:
        return result | {"provenance_missing": "NoSigningKey", "provenance_message": "make a key with `ml key new`"}
    _sign(ports, ports.signer, files, data, judgement)
    provenance |= {
        "attestation": _shown(ports, files.attestation),
        "verdict": _shown(ports, files.verdict),
        "key_id": ports.signer.key_id,
    }
    return result


def _keep_approvals(ports: Ports, run: RunRow, files: RunFiles) -> tuple[str, ...]:
    """Put the approvals of this plan beside its run, so that they can be verified with it; who gave them."""
    kept: dict[Path, bytes] = {}
    valid: list[Approval] = []
    for envelope in ports.inputs.approvals(run.key.namespace, run.key.name):
        with suppress(ApprovalError, OSError, ValueError):  # a trust root that cannot be read: nobody approved
            approval = read_approval(envelope, ports.trust.root())
            if (approval.plan_sha256, approval.experiment) == (run.plan_sha256, str(run.key)):
                kept[files.folder / FOLDER / approval_name(approval.plan_sha256, approval.key_id)] = envelope
                valid.append(approval)
    for path in kept:
        path.parent.mkdir(exist_ok=True)
    write_together(kept)
    return reviewers(tuple(valid), run.plan_sha256)


def _sign(ports: Ports, signer: Signer, files: RunFiles, data: bytes, judgement: Judgement) -> None:
    """Both envelopes; the same bytes get the same Ed25519 signature, so a repetition changes nothing but the time."""
    attestation = signer.sign(PAYLOAD_TYPE, provenance_statement(data))
    write_atomic(files.attestation, attestation)
    verdict = verdict_statement(data, attestation, judgement, timestamp(ports.clock.now()))
    write_atomic(files.verdict, signer.sign(PAYLOAD_TYPE, verdict))


def _shown(ports: Ports, path: Path) -> str:
    """A path as the status shows it: relative to the folder that holds our records."""
    return path.relative_to(ports.base.parent).as_posix()
