"""Prepare the folder of one attempt and say what the runtime shall start.

Promises: repeatable: a crash in the middle leaves something that the next call replaces. Code comes from the commit,
never from the working tree; what the plan pinned is compared again with what was staged. Results and log of an
earlier attempt are kept beside it.
Does not: start anything.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from controller.api.base import byte_count, cores
from controller.api.canonical import canonical_bytes, digest_bytes
from controller.facts.facts import DatasetFacts
from controller.plan.identity import attempt_name
from controller.ports import folders
from controller.ports.inputs import SourceUnreadableError
from controller.ports.runtime import AttemptSpec, Limits, Mount, RuntimeRefusedError
from controller.ports.store import AttemptRow, RunRow
from controller.reconcile.context import Ports
from controller.reconcile.files import RunFiles, run_files, write_together
from controller.reconcile.launch import LaunchRecord

PARAMS_NAME = "fetchml-params"
"""Mount name of the parameters file."""


def stage(ports: Ports, run: RunRow, attempt: AttemptRow) -> dict[str, str]:
    """Fill the run folder for an attempt that the runtime does not know yet.

    Returns the stamps of the datasets that were copied from the commit, by name.

    Raises:
        RuntimeRefusedError: an input is no longer what the plan pinned.
        SourceUnreadableError: a pinned input cannot be read now.
        EnvironmentBuildError: the environment cannot be built.
        OSError: disk full and the like; try again.
    """
    files = run_files(ports.base, run.run_id)
    record = LaunchRecord(run.launch)
    files.attempt(attempt.number).mkdir(parents=True, exist_ok=True)
    ports.runtime.expect(attempt_name(run.run_id, attempt.number), files.folder, ports.store.store_id)
    _keep_earlier(files, attempt.number)
    files.results.mkdir(exist_ok=True)
    if record.spec.checkpoint:
        files.checkpoints.mkdir(exist_ok=True)
    params = canonical_bytes(json.loads(run.plan).get("parameters", {}))
    write_together({files.spec: str(run.launch["spec_text"]).encode(), files.plan: run.plan, files.params: params})
    _export(ports, files, record, attempt.number)
    _environment(ports, record)
    image = _image(run)
    if ports.images and image:
        ports.images.fetch(image, ports.progress)
    tracked = (facts for facts, _ in record.datasets if facts.tracked)
    return {facts.name: _dataset(ports, record, facts, files.dataset(attempt.number, facts.name)) for facts in tracked}


def describe(ports: Ports, run: RunRow, attempt: AttemptRow) -> AttemptSpec:
    """What the runtime shall start, for an attempt that is staged. Changes nothing: it may be running already."""
    files = run_files(ports.base, run.run_id)
    record = LaunchRecord(run.launch)
    plan = json.loads(run.plan)
    mounts, names = _mounts(files, record, attempt.number)
    interpreter = record.interpreter
    return AttemptSpec(
        name=attempt_name(run.run_id, attempt.number),
        run_id=run.run_id,
        number=attempt.number,
        store_id=ports.store.store_id,
        plan_sha256=run.plan_sha256,
        run_dir=files.folder,
        argv=tuple(plan["command"]),
        env=_env(plan, run, attempt, checkpoints=record.spec.checkpoint is not None),
        workspace=files.workspace(attempt.number) if record.spec.source else None,
        results=files.results,
        checkpoints=files.checkpoints if record.spec.checkpoint else None,
        log=files.log,
        environment=_environment(ports, record),
        interpreter_prefix=Path(interpreter.prefix) if interpreter and interpreter.prefix else None,
        mounts=mounts,
        limits=_limits(ports, record),
        network=record.spec.sandbox.network == "full",
        secrets={secret.env: ports.inputs.secret_value(secret.name) for secret in record.spec.secrets},
        mount_names=names,
        image=_image(run),
        gpus=tuple(run.launch.get("gpus", ())),
    )


def _image(run: RunRow) -> str:
    """The image of the plan, by digest; empty without one."""
    return str(json.loads(run.plan).get("environment", {}).get("image", ""))


def _keep_earlier(files: RunFiles, number: int) -> None:
    """Move what the attempt before left into its own folder, once."""
    earlier = files.attempt(number - 1)
    if number < 2 or (earlier / "results").exists():
        return
    earlier.mkdir(parents=True, exist_ok=True)
    if files.log.exists():
        files.log.rename(earlier / "run.log")
    if files.results.exists():
        files.results.rename(earlier / "results")


def _export(ports: Ports, files: RunFiles, record: LaunchRecord, number: int) -> None:
    source = record.spec.source
    if source is None:
        return
    destination = files.workspace(number)
    folders.remove(destination)
    destination.mkdir(parents=True)
    if source.snapshot:
        ports.inputs.export_snapshot(source.snapshot, destination)
    elif source.git and record.git and record.git.commit:
        ports.inputs.export_source(record.document_file, source.git, record.git.commit, destination)


def _dataset(ports: Ports, record: LaunchRecord, facts: DatasetFacts, destination: Path) -> str:
    """Copy a dataset from the commit and look whether the copy is what was verified; its stamp."""
    place = ports.inputs.stage_dataset(record.document_file, record.git, facts, destination)
    copy = ports.inputs.rehash(replace(facts, tracked=False, path=str(place)), record.document_file)
    if copy.sha256 != facts.sha256:
        raise RuntimeRefusedError(
            "DatasetChecksumMismatch", f"the copy of dataset {facts.name} is not what was verified: {copy.sha256}"
        )
    return copy.stamp


def _environment(ports: Ports, record: LaunchRecord) -> Path | None:
    interpreter = record.interpreter
    if interpreter is None or not interpreter.found:
        return None
    return ports.inputs.build_environment(_lock(ports, record), interpreter, ports.progress)


def _lock(ports: Ports, record: LaunchRecord) -> bytes | None:
    dependencies = record.spec.environment.dependencies
    if dependencies is None:
        return None
    commit = record.git.commit if record.git else None
    try:
        lock = ports.inputs.read_lock(record.document_file, record.spec.source, commit, dependencies.manifest)
    except LookupError as error:
        raise SourceUnreadableError(f"{dependencies.manifest} was there at preflight: {error.args[0]}") from error
    if dependencies.sha256 and digest_bytes(lock) != dependencies.sha256:
        raise RuntimeRefusedError(
            "DependencyChecksumMismatch", f"{dependencies.manifest} changed after preflight: {digest_bytes(lock)}"
        )
    return lock


def _mounts(files: RunFiles, record: LaunchRecord, number: int) -> tuple[tuple[Mount, ...], dict[str, str]]:
    mounts = [Mount(files.params, "/fetchml/params.json")]
    names = {PARAMS_NAME: "/fetchml/params.json"}
    for facts, target in record.datasets:
        mounts.append(Mount(files.dataset(number, facts.name) if facts.tracked else Path(facts.path), target))
        names[facts.name] = target
    return tuple(mounts), names


def _env(plan: dict[str, Any], run: RunRow, attempt: AttemptRow, *, checkpoints: bool) -> dict[str, str]:
    env = {
        **plan.get("env", {}),
        "FETCHML_RUN_ID": run.run_id,
        "FETCHML_ATTEMPT": str(attempt.number),
        "FETCHML_PARAMS": f"$(data.{PARAMS_NAME})",
        "FETCHML_RESULTS": "$(results)",
    }
    if plan.get("seed") is not None:
        env["FETCHML_SEED"] = str(plan["seed"])
    if checkpoints:
        env["FETCHML_CHECKPOINTS"] = "$(checkpoints)"
    return env


def _limits(ports: Ports, record: LaunchRecord) -> Limits:
    resources = record.spec.resources
    return Limits(
        cpu=cores(resources.cpu),
        memory=byte_count(resources.memory),
        disk=byte_count(resources.disk),
        deadline=record.deadline,
        grace=record.grace,
        log_bytes=ports.policy.log_bytes,
    )
