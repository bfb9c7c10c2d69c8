"""Verify a finished run from its files and a trust root: what `ml verify` does.

Promises: every file that the statement names is hashed again, everything that can be derived is derived again
(statement, plan digest, spec digest, trust level) and compared; a change of any byte of attestation, verdict, manifest,
plan, log, metrics or an output fails a check that names the file. All checks are returned, failed ones included.
Does not: open paths (the caller passes bytes or openers), use the network, or trust a stored level.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from controller.api.canonical import canonical_bytes, digest_bytes
from controller.api.documents import load
from controller.api.experiment import Experiment
from controller.api.manifest import InvalidManifestError, RunManifest, lifecycle_problems, parse_manifest
from controller.trust.envelope import EnvelopeError, open_envelope
from controller.trust.levels import judge_run
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
_MAX_RECORD = 64 * 2**20
_CHUNK = 2**20

Opener = Callable[[], BinaryIO]
Files = Mapping[str, bytes | Opener]
"""Path relative to the run folder, to bytes or to a function that opens the file for reading."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was verified."""

    name: str
    """envelope, signature, statement, builder, subject, manifest, plan, spec, verdict, level or unattested."""
    ok: bool
    message: str
    file: str = ""


@dataclass(frozen=True, slots=True)
class _Run:
    """The records of a run as far as they could be read; None where that failed (a check says why)."""

    attestation: bytes | None
    payload: bytes | None
    statement: dict[str, Any] | None
    data: bytes | None
    manifest: RunManifest | None
    plan: bytes | None


def verify_run(
    files: Files, trust_root: Mapping[str, bytes], revoked: frozenset[str] = frozenset()
) -> tuple[Check, ...]:
    """Every check on a run; it is verified when all are ok. `trust_root` maps key ids to public PEM."""
    checks: list[Check] = []
    attestation = _record(files, ATTESTATION, "envelope", checks)
    payload = _opened(attestation, ATTESTATION, trust_root, revoked, checks)
    data = _record(files, MANIFEST, "manifest", checks)
    plan = _record(files, PLAN, "plan", checks)
    run = _Run(attestation, payload, _statement(payload, ATTESTATION, checks), data, _manifest(data, checks), plan)
    checks += _subject_checks(files, run)
    checks += _statement_checks(run)
    checks += _plan_checks(run)
    checks += _spec_checks(files, run)
    checks += _verdict_checks(files, run, trust_root, revoked)
    checks += _unattested(files, run)
    return tuple(checks)


def verified(checks: tuple[Check, ...]) -> bool:
    """True when nothing failed."""
    return all(check.ok for check in checks)


def _record(files: Files, name: str, check: str, checks: list[Check]) -> bytes | None:
    """A small record, whole; a failed check when it is missing, unreadable or too large."""
    if name not in files:
        checks.append(Check(check, ok=False, message=f"{name} is missing", file=name))
        return None
    try:
        data = b"".join(_chunks(files[name], _MAX_RECORD))
    except (OSError, ValueError) as error:
        checks.append(Check(check, ok=False, message=f"{name} cannot be read: {error}", file=name))
        return None
    return data


def _chunks(file: bytes | Opener, limit: int | None = None) -> Iterator[bytes]:
    if isinstance(file, bytes):
        yield file
        return
    total = 0
    with file() as stream:
        while chunk := stream.read(_CHUNK):
            total += len(chunk)
            if limit is not None and total > limit:
                raise ValueError(f"more than {limit} bytes")
            yield chunk


def _opened(
    data: bytes | None, name: str, trust_root: Mapping[str, bytes], revoked: frozenset[str], checks: list[Check]
) -> bytes | None:
    """The verified payload of an envelope."""
    if data is None:
        return None
    prefix = "verdict" if name == VERDICT else ""
    try:
        opened = open_envelope(data, trust_root, revoked)
    except EnvelopeError as error:
        checks.append(Check(prefix or error.check, ok=False, message=str(error), file=name))
        return None
    checks.append(Check(prefix or "signature", ok=True, message=f"signed by the key {opened.key_id}", file=name))
    return opened.payload


def _statement(payload: bytes | None, name: str, checks: list[Check]) -> dict[str, Any] | None:
    if payload is None:
        return None
    try:
        statement = json.loads(payload)
    except (ValueError, RecursionError):
        statement = None
    if isinstance(statement, dict) and statement.get("_type") == STATEMENT_TYPE:
        return statement
    checks.append(
        Check(
            "statement",
            ok=False,
            message=f"the payload is not an in-toto statement of type {STATEMENT_TYPE}",
            file=name,
        )
    )
    return None


def _manifest(data: bytes | None, checks: list[Check]) -> RunManifest | None:
    if data is None:
        return None
    try:
        manifest = parse_manifest(data)
    except InvalidManifestError as error:
        checks += [Check("manifest", ok=False, message=problem, file=MANIFEST) for problem in error.problems]
        return None
    problems = lifecycle_problems(manifest)  # no tampering: they cap the level, which is computed again below
    message = f"valid, but {'; '.join(problems)}" if problems else f"valid; the run is {manifest.state}"
    checks.append(Check("manifest", ok=True, message=message, file=MANIFEST))
    return manifest


def _subject_checks(files: Files, run: _Run) -> Iterator[Check]:
    """Hash every subject of the signed statement again."""
    subjects = run.statement.get("subject") if run.statement else []
    if not isinstance(subjects, list):
        subjects = []
    for subject in subjects:
        name, digest = _named_digest(subject)
        path = subject_path(name)
        if not digest:
            yield Check("subject", ok=False, message="a subject has no name or sha256 digest", file=ATTESTATION)
        elif path not in files:
            yield Check("subject", ok=False, message=f"{path} is missing", file=path)
        else:
            yield _hashed(files[path], path, digest)


def _named_digest(subject: Any) -> tuple[str, str]:
    if not isinstance(subject, dict) or not isinstance(subject.get("digest"), dict):
        return "", ""
    name, digest = subject.get("name"), subject["digest"].get("sha256")
    return (name, digest) if isinstance(name, str) and isinstance(digest, str) else ("", "")


def _hashed(file: bytes | Opener, path: str, digest: str) -> Check:
    hasher = hashlib.sha256()
    try:
        for chunk in _chunks(file):
            hasher.update(chunk)
    except OSError as error:
        return Check("subject", ok=False, message=f"{path} cannot be read: {error}", file=path)
    if hasher.hexdigest() != digest:
        return Check(
            "subject", ok=False, message=f"{path} is not the file that was signed: its sha256 differs", file=path
        )
    return Check("subject", ok=True, message=f"{path} has the signed digest", file=path)


def _statement_checks(run: _Run) -> Iterator[Check]:
    """The statement is what the manifest says, derived again; nothing when one is unreadable (another check failed)."""
    statement, manifest, data = run.statement, run.manifest, run.data
    if statement is None or manifest is None or data is None:
        return
    if not _about(statement, data):
        yield Check("subject", ok=False, message="the statement is about another run_manifest.json", file=ATTESTATION)
        return
    builder, expected = _path(statement, "predicate", "runDetails", "builder", "id"), builder_id(manifest)
    if builder != expected:
        yield Check("builder", ok=False, message=f"the builder is {builder}, not {expected}", file=ATTESTATION)
    for message in _shape_problems(statement):
        yield Check("statement", ok=False, message=message, file=ATTESTATION)
    if _subject_map(statement) != subjects_of(manifest, data):
        yield Check("subject", ok=False, message="the subjects are not the files in the manifest", file=ATTESTATION)
    if provenance_statement(data) == run.payload:
        yield Check("statement", ok=True, message="says what the manifest says", file=ATTESTATION)
    else:
        yield Check(
            "statement", ok=False, message="the statement does not say what the manifest says", file=ATTESTATION
        )


def _about(statement: dict[str, Any], data: bytes) -> bool:
    return _subject_map(statement).get(MANIFEST) == hashlib.sha256(data).hexdigest()


def _subject_map(statement: dict[str, Any]) -> dict[str, str]:
    subjects = statement.get("subject")
    return dict(_named_digest(subject) for subject in subjects) if isinstance(subjects, list) else {}


def _shape_problems(statement: dict[str, Any]) -> Iterator[str]:
    if statement.get("predicateType") != PROVENANCE_TYPE:
        yield f"predicateType is {statement.get('predicateType')}, not {PROVENANCE_TYPE}"
    build_type = _path(statement, "predicate", "buildDefinition", "buildType")
    if build_type != BUILD_TYPE:
        yield f"buildType is {build_type}, not {BUILD_TYPE}"


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
        yield Check("plan", ok=False, message="plan.json is not in RFC 8785 form", file=PLAN)
    elif run.manifest and digest_bytes(run.plan) != run.manifest.plan_sha256:
        yield Check("plan", ok=False, message="plan.json does not have the plan_sha256 of the manifest", file=PLAN)
    elif run.manifest:
        yield Check("plan", ok=True, message=f"recomputes to {run.manifest.plan_sha256}", file=PLAN)


def _spec_checks(files: Files, run: _Run) -> Iterator[Check]:
    """Some document of spec.yaml has the digest that the manifest states."""
    if run.manifest is None:
        return
    checks: list[Check] = []
    text = _record(files, SPEC, "spec", checks)
    yield from checks
    if text is None:
        return
    models = (document.model for document in load(text, SPEC).documents)
    digests = {digest_bytes(model.canonical()) for model in models if isinstance(model, Experiment)}
    if run.manifest.spec_sha256 in digests:
        yield Check("spec", ok=True, message=f"has the digest {run.manifest.spec_sha256}", file=SPEC)
    else:
        yield Check("spec", ok=False, message="spec.yaml does not have the spec_sha256 of the manifest", file=SPEC)


def _verdict_checks(
    files: Files, run: _Run, trust_root: Mapping[str, bytes], revoked: frozenset[str]
) -> Iterator[Check]:
    checks: list[Check] = []
    payload = _opened(_record(files, VERDICT, "verdict", checks), VERDICT, trust_root, revoked, checks)
    statement = _statement(payload, VERDICT, checks)
    yield from checks
    if statement is None or run.manifest is None or run.data is None or run.attestation is None or run.plan is None:
        return
    verdict = read_verdict(statement, run.manifest, subjects_of(run.manifest, run.data))
    for problem in verdict.problems:
        yield Check("verdict", ok=False, message=problem, file=VERDICT)
    if verdict.attestation_sha256 != hashlib.sha256(run.attestation).hexdigest():
        yield Check("verdict", ok=False, message="the verdict is about another attestation", file=VERDICT)
    judged = judge_run(run.manifest, plan_sha256=digest_bytes(run.plan), signed=run.payload is not None)
    if verdict.level == judged.level:
        yield Check("level", ok=True, message=f"recomputes to {judged.level}", file=VERDICT)
    else:
        message = f"the verdict says {verdict.level or 'nothing'}, but the evidence gives {judged.level}"
        yield Check("level", ok=False, message=message, file=VERDICT)


def _unattested(files: Files, run: _Run) -> Iterator[Check]:
    """Result files beside the statement are no fault, but nobody vouches for them: say so."""
    signed = {subject_path(name) for name in _subject_map(run.statement)} if run.statement else set()
    extra = sorted(path for path in files if path.startswith(RESULTS) and path not in signed)
    if extra and run.statement:
        listed = ", ".join(extra[:5]) + (", ..." if len(extra) > 5 else "")
        yield Check(
            "unattested", ok=True, message=f"{len(extra)} result files are not covered by the statement: {listed}"
        )
