"""A signed answer to "did it come out the same elsewhere?": an in-toto statement about two runs of one plan.

Promises: the statement is a pure function of the two manifests' bytes, of the tolerances that the original's spec
declared before it ran, and of a time; so whoever reads it derives it again and compares whole. Field by field: equal,
within (its declared tolerance), drifted, or unverifiable (one side does not say). Outputs that the spec names decide;
where it names none, every output does.
Does not: sign, open files, or decide how the parties may be trusted (verify.py does).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from controller.api.canonical import digest_bytes, hex_of
from controller.api.manifest import RunManifest, parse_manifest
from controller.trust.statement import MANIFEST, statement_bytes

COMPARISON_TYPE = "https://fetchml.dev/comparison/v1"
FOLDER = "reproduction/"
"""Where a run folder keeps the evidence of its reproduction."""
COMPARISON = FOLDER + "comparison.dsse.json"
RERUN_MANIFEST = FOLDER + MANIFEST
RERUN_ATTESTATION = FOLDER + "attestation.dsse.json"

Outcome = Literal["equal", "within", "drifted", "unverifiable"]


@dataclass(frozen=True, slots=True)
class FieldResult:
    """One field of both runs."""

    field: str
    """planSha256, outputs/<path> or metrics/<name>."""
    outcome: Outcome
    original: Any
    rerun: Any
    tolerance: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs, field by field."""

    fields: tuple[FieldResult, ...]
    elsewhere: bool
    """The re-run was on another machine and remembered by another store."""
    reproduced: bool
    """The same plan gave identical outputs, or every declared metric within its tolerance."""


class ComparisonError(ValueError):
    """A payload that is not the comparison of these two runs; the text says why."""


def compare(original: RunManifest, rerun: RunManifest, tolerances: Mapping[str, float]) -> Comparison:
    """Compare two finished runs; `tolerances` are those of the original's spec (metric to absolute difference)."""
    plan = _field("planSha256", original.plan_sha256, rerun.plan_sha256)
    outputs, metrics = tuple(_outputs(original, rerun)), tuple(_metrics(original, rerun, tolerances))
    completed = original.state == rerun.state == "completed"
    same = all(field.outcome == "equal" for field in outputs) and bool(outputs)
    near = all(field.outcome in {"equal", "within"} for field in metrics) and bool(metrics)
    return Comparison(
        fields=(plan, *outputs, *metrics),
        elsewhere=_differ(original.node.machine_id, rerun.node.machine_id) and _differ(original.store, rerun.store),
        reproduced=completed and plan.outcome == "equal" and (same or near),
    )


def _differ(one: str | None, other: str | None) -> bool:
    """Both are known, and they differ."""
    return bool(one and other) and one != other


def _field(name: str, original: Any, rerun: Any) -> FieldResult:
    if original is None or rerun is None:
        return FieldResult(name, "unverifiable", original, rerun)
    return FieldResult(name, "equal" if original == rerun else "drifted", original, rerun)


def _outputs(original: RunManifest, rerun: RunManifest) -> Iterator[FieldResult]:
    named = [output for output in original.outputs if output.name] or list(original.outputs)
    theirs = {output.path: output.sha256 for output in rerun.outputs}
    for output in named:
        yield _field(f"outputs/{output.path}", output.sha256, theirs.get(output.path))


def _metrics(original: RunManifest, rerun: RunManifest, tolerances: Mapping[str, float]) -> Iterator[FieldResult]:
    mine = original.metrics.last if original.metrics else {}
    theirs = rerun.metrics.last if rerun.metrics else {}
    for name, tolerance in sorted(tolerances.items()):
        one, other = _number(mine.get(name)), _number(theirs.get(name))
        found = _field(f"metrics/{name}", one, other)
        near = one is not None and other is not None and abs(one - other) <= tolerance
        outcome: Outcome = "within" if found.outcome == "drifted" and near else found.outcome
        yield FieldResult(found.field, outcome, one, other, tolerance)


def _number(value: Any) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def comparison_statement(original: bytes, rerun: bytes, tolerances: Mapping[str, float], at: str) -> bytes:
    """The statement (RFC 8785 bytes, a DSSE payload) about two manifests; `at` is RFC 3339 UTC.

    Raises:
        InvalidManifestError: one of them is not a valid manifest.
    """
    first, second = parse_manifest(original), parse_manifest(rerun)
    found = compare(first, second, tolerances)
    subjects = {MANIFEST: hex_of(digest_bytes(original)), RERUN_MANIFEST: hex_of(digest_bytes(rerun))}
    predicate = {
        "original": _side(first),
        "rerun": _side(second),
        "tolerances": dict(tolerances),
        "fields": [_shown(field) for field in found.fields],
        "elsewhere": found.elsewhere,
        "reproduced": found.reproduced,
        "comparedAt": at,
    }
    return statement_bytes(subjects, COMPARISON_TYPE, predicate)


def _side(manifest: RunManifest) -> dict[str, Any]:
    node = {"machineId": manifest.node.machine_id, "store": manifest.store or ""}
    return {"run": manifest.run_id, "uid": manifest.uid, "planSha256": manifest.plan_sha256, **node}


def _shown(field: FieldResult) -> dict[str, Any]:
    return {key: value for key, value in asdict(field).items() if value is not None}


def read_comparison(payload: bytes, original: bytes, rerun: bytes, tolerances: Mapping[str, float]) -> Comparison:
    """The comparison that a signed payload states, after it was derived again from both manifests.

    Raises:
        ComparisonError: it says something else than the manifests and tolerances do.
        InvalidManifestError: as `comparison_statement`.
    """
    try:
        at = json.loads(payload)["predicate"]["comparedAt"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ComparisonError("it is not a comparison statement") from error
    if not isinstance(at, str) or comparison_statement(original, rerun, tolerances, at) != payload:
        raise ComparisonError("it does not say what the two manifests and the declared tolerances say")
    return compare(parse_manifest(original), parse_manifest(rerun), tolerances)
