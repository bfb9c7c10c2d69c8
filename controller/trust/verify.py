"""Verify a finished run from its files and a trust root: what `ml verify` does.

Promises: every file that the statement names is hashed again, everything that can be derived is derived again
(statement, plan digest, spec digest, trust level) and compared; a change of any byte of attestation, verdict, manifest,
plan, log, metrics or an output fails a check that names the file. All checks are returned, failed ones included.
Does not: open paths (the caller passes bytes or openers), use the network, or trust a stored level.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from controller.api.canonical import canonical_bytes, digest_bytes
from controller.api.documents import load
from controller.api.experiment import Experiment
from controller.api.manifest import InvalidManifestError, RunManifest, lifecycle_problems, parse_manifest
from controller.trust.levels import Judgement, Later, judge_run
from controller.trust.records import Check, Files, Opener, chunks, failed, opened, record
from controller.trust.root import TrustRoot
from controller.trust.since import About, later_of
from controller.trust.statement import (
    BUILD_TYPE,
    MANIFEST,
    PLAN,
    PROVENANCE_TYPE,
    RESULTS,
    STATEMENT_TYPE,
    builder_id,
    provenance_statement,
    subject_path,
    subjects_of,
)
from controller.trust.verdict import read_verdict

ATTESTATION, VERDICT, SPEC = "attestation.dsse.json", "verdict.dsse.json", "spec.yaml"


@dataclass(frozen=True, slots=True)
class _Run:
    """The records of a run as far as they could be read; None where that failed (a check says why)."""

    attestation: bytes | None
    key_id: str
    """Who signed it; empty when nobody who counts."""
    payload: bytes | None
    statement: dict[str, Any] | None
    data: bytes | None
    manifest: RunManifest | None
    plan: bytes | None


def verify_run(files: Files, root: TrustRoot, *, rehash: bool = True) -> tuple[Check, ...]:
    """Every check on a run; it is verified when all are ok.

    Without `rehash` log and results are not read again, and a check says so.
    """
    checks: list[Check] = []
    run = _read(files, root, checks)
    checks += _subject_checks(files, run, rehash=rehash)
    checks += _statement_checks(run)
    checks += _plan_checks(run)
    _judged(files, root, run, _spec_tolerances(files, run, checks), checks)
    checks += _unattested(files, run)
    return tuple(checks)


def _read(files: Files, root: TrustRoot, checks: list[Check]) -> _Run:
    attestation = record(files, ATTESTATION, "envelope", checks)
    envelope = opened(attestation, ATTESTATION, root, checks)
    payload = envelope.payload if envelope else None
    data = record(files, MANIFEST, "manifest", checks)
    plan = record(files, PLAN, "plan", checks)
    statement = _statement(payload, ATTESTATION, checks)
    return _Run(
        attestation, envelope.key_id if envelope else "", payload, statement, data, _manifest(data, checks), plan
    )


def judged_now(files: Files, root: TrustRoot) -> Judgement:
    """The level that the evidence beside a run gives now, whatever its verdict says.

    Raises:
        ValueError: the run does not verify, so there is nothing to judge.
    """
    checks = list(verify_run(files, root))
    run = _read(files, root, [])
    if not verified(tuple(checks)) or run.manifest is None or run.plan is None:
        raise ValueError("the run does not verify; ml verify says why")
    later = _later(files, root, run, _spec_tolerances(files, run, []), [])
    return judge_run(run.manifest, plan_sha256=digest_bytes(run.plan), signed=run.payload is not None, later=later)


def verified(checks: tuple[Check, ...]) -> bool:
    """True when nothing failed."""
    return all(check.ok for check in checks)


def _statement(payload: bytes | None, name: str, checks: list[Check]) -> dict[str, Any] | None:
    if payload is None:
        return None
    try:
        statement = json.loads(payload)
    except (ValueError, RecursionError):
        statement = None
    if isinstance(statement, dict) and statement.get("_type") == STATEMENT_TYPE:
        return statement
    message = f"the payload is not an in-toto statement of type {STATEMENT_TYPE}"
    checks.append(failed("statement", "StatementMismatch", message, name))
    return None


def _manifest(data: bytes | None, checks: list[Check]) -> RunManifest | None:
    if data is None:
        return None
    try:
        manifest = parse_manifest(data)
    except InvalidManifestError as error:
        checks += [failed("manifest", "ManifestInvalid", problem, MANIFEST) for problem in error.problems]
        return None
    problems = lifecycle_problems(manifest)  # no tampering: they cap the level, which is computed again below
    message = f"valid, but {'; '.join(problems)}" if problems else f"valid; the run is {manifest.state}"
    checks.append(Check("manifest", ok=True, message=message, file=MANIFEST))
    return manifest


def _subject_checks(files: Files, run: _Run, *, rehash: bool) -> Iterator[Check]:
    """Hash every subject of the signed statement again."""
    subjects = run.statement.get("subject") if run.statement else []
    skipped = []
    for subject in subjects if isinstance(subjects, list) else []:
        name, digest = _named_digest(subject)
        path = subject_path(name)
        if not digest:
            yield failed("subject", "SubjectMismatch", "a subject has no name or sha256 digest", ATTESTATION)
        elif path not in files:
            yield failed("subject", "FileMissing", f"{path} is missing", path)
        elif rehash or path in (MANIFEST, PLAN):
            yield _hashed(files[path], path, digest)
        else:
            skipped.append(path)
    if skipped:
        message = f"log, metrics and results are there, but {len(skipped)} of them were not hashed again"
        yield Check("subject", ok=True, message=message)


def _named_digest(subject: Any) -> tuple[str, str]:
    if not isinstance(subject, dict) or not isinstance(subject.get("digest"), dict):
        return "", ""
    name, digest = subject.get("name"), subject["digest"].get("sha256")
    return (name, digest) if isinstance(name, str) and isinstance(digest, str) else ("", "")


def _hashed(file: bytes | Opener, path: str, digest: str) -> Check:
    hasher = hashlib.sha256()
    try:
        for chunk in chunks(file):
            hasher.update(chunk)
    except OSError as error:
        return failed("subject", "FileUnreadable", f"{path} cannot be read: {error}", path)
    if hasher.hexdigest() != digest:
        return failed("subject", "SubjectMismatch", f"{path} is not the file that was signed: its sha256 differs", path)
    return Check("subject", ok=True, message=f"{path} has the signed digest", file=path)


def _statement_checks(run: _Run) -> Iterator[Check]:
    """The statement is what the manifest says, derived again; nothing when one is unreadable (another check failed)."""
    statement, manifest, data = run.statement, run.manifest, run.data
    if statement is None or manifest is None or data is None:
        return
    if not _about(statement, data):
        yield failed("subject", "AnotherRun", "the statement is about another run_manifest.json", ATTESTATION)
        return
    builder, expected = _path(statement, "predicate", "runDetails", "builder", "id"), builder_id(manifest)
    if builder != expected:
        yield failed("builder", "BuilderMismatch", f"the builder is {builder}, not {expected}", ATTESTATION)
    yield from _shape_checks(statement)
    if _subject_map(statement) != subjects_of(manifest, data):
        yield failed("subject", "SubjectMismatch", "the subjects are not the files in the manifest", ATTESTATION)
    if provenance_statement(data) == run.payload:
        yield Check("statement", ok=True, message="says what the manifest says", file=ATTESTATION)
    else:
        message = "the statement does not say what the manifest says"
        yield failed("statement", "StatementMismatch", message, ATTESTATION)


def _about(statement: dict[str, Any], data: bytes) -> bool:
    return _subject_map(statement).get(MANIFEST) == hashlib.sha256(data).hexdigest()


def _subject_map(statement: dict[str, Any]) -> dict[str, str]:
    subjects = statement.get("subject")
    return dict(_named_digest(subject) for subject in subjects) if isinstance(subjects, list) else {}


def _shape_checks(statement: dict[str, Any]) -> Iterator[Check]:
    kind = statement.get("predicateType")
    if kind != PROVENANCE_TYPE:
        message = f"predicateType is {kind}, not {PROVENANCE_TYPE}"
        yield failed("statement", "PredicateTypeMismatch", message, ATTESTATION)
    build_type = _path(statement, "predicate", "buildDefinition", "buildType")
    if build_type != BUILD_TYPE:
        yield failed("statement", "BuildTypeMismatch", f"buildType is {build_type}, not {BUILD_TYPE}", ATTESTATION)


def _path(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _plan_checks(run: _Run) -> Iterator[Check]:
    if run.plan is None:
        return
    try:
        canonical = canonical_bytes(json.loads(run.plan)) == run.plan
    except (ValueError, RecursionError):
        canonical = False
    if not canonical:
        yield failed("plan", "PlanMismatch", "plan.json is not in RFC 8785 form", PLAN)
    elif run.manifest and digest_bytes(run.plan) != run.manifest.plan_sha256:
        yield failed("plan", "PlanMismatch", "plan.json does not have the plan_sha256 of the manifest", PLAN)
    elif run.manifest:
        yield Check("plan", ok=True, message=f"recomputes to {run.manifest.plan_sha256}", file=PLAN)


def _spec_tolerances(files: Files, run: _Run, checks: list[Check]) -> Mapping[str, float]:
    """Some document of spec.yaml has the digest that the manifest states: its tolerances were declared in time."""
    text = record(files, SPEC, "spec", checks) if run.manifest else None
    if text is None or run.manifest is None:
        return {}
    models = (document.model for document in load(text, SPEC).documents)
    specs = {digest_bytes(model.canonical()): model.spec for model in models if isinstance(model, Experiment)}
    if run.manifest.spec_sha256 not in specs:
        message = "spec.yaml does not have the spec_sha256 of the manifest"
        checks.append(failed("spec", "SpecMismatch", message, SPEC))
        return {}
    checks.append(Check("spec", ok=True, message=f"has the digest {run.manifest.spec_sha256}", file=SPEC))
    return specs[run.manifest.spec_sha256].reproducibility.tolerances


def _judged(files: Files, root: TrustRoot, run: _Run, tolerances: Mapping[str, float], checks: list[Check]) -> None:
    """Approvals, reproduction and verdict, and the level that they come to."""
    later = _later(files, root, run, tolerances, checks)
    envelope = opened(record(files, VERDICT, "verdict", checks), VERDICT, root, checks, check="verdict")
    statement = _statement(envelope.payload if envelope else None, VERDICT, checks)
    if statement is not None:
        checks += _verdict_checks(run, statement, later)


def _later(files: Files, root: TrustRoot, run: _Run, tolerances: Mapping[str, float], checks: list[Check]) -> Later:
    if run.manifest is None or run.data is None or run.plan is None:
        return Later()
    name = f"{run.manifest.namespace}/{run.manifest.experiment}"
    about = About(name, digest_bytes(run.plan), run.data, run.key_id, tolerances)
    return later_of(files, root, about, checks)


def _verdict_checks(run: _Run, statement: dict[str, Any], later: Later) -> Iterator[Check]:
    if run.manifest is None or run.data is None or run.attestation is None or run.plan is None:
        return
    verdict = read_verdict(statement, run.manifest, subjects_of(run.manifest, run.data))
    for problem in verdict.problems:
        yield failed("verdict", "VerdictMismatch", problem, VERDICT)
    if verdict.attestation_sha256 != hashlib.sha256(run.attestation).hexdigest():
        yield failed("verdict", "VerdictMismatch", "the verdict is about another attestation", VERDICT)
    judge = partial(judge_run, run.manifest, plan_sha256=digest_bytes(run.plan), signed=run.payload is not None)
    now, before = judge(later=later), judge(later=Later(later.reviewers))  # one from before the re-run stays true
    if verdict.level in {now.level, before.level}:
        newer = f"; the re-run since gives {now.level}" if verdict.level != now.level else ""
        yield Check("level", ok=True, message=f"recomputes to {verdict.level}{newer}", file=VERDICT)
    else:
        message = f"the verdict says {verdict.level or 'nothing'}, but the evidence gives {now.level}"
        yield failed("level", "LevelMismatch", message, VERDICT)


def _unattested(files: Files, run: _Run) -> Iterator[Check]:
    """Result files beside the statement are no fault, but nobody vouches for them: say so."""
    signed = {subject_path(name) for name in _subject_map(run.statement)} if run.statement else set()
    extra = sorted(path for path in files if path.startswith(RESULTS) and path not in signed)
    if extra and run.statement:
        listed = ", ".join(extra[:5]) + (", ..." if len(extra) > 5 else "")
        yield Check(
            "unattested", ok=True, message=f"{len(extra)} result files are not covered by the statement: {listed}"
        )
