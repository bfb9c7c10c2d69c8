"""The trust level as a signed statement of its own: a SLSA verification summary (VSA).

Promises: says which attestation was judged (by digest), by which policy, and the level as ``FETCHML_L0`` to
``FETCHML_L4``, with every cap. Source: slsa.dev/spec/v1.1/verification_summary (custom levels must not start with
SLSA_).
Does not: judge (`levels` does) or sign.
"""

from dataclasses import asdict, dataclass
from typing import Any

from controller.api.canonical import digest_bytes, digest_value, hex_of
from controller.api.manifest import RunManifest, parse_manifest
from controller.trust.levels import CRITERIA, Judgement
from controller.trust.statement import statement_bytes, subjects_of

VERDICT_TYPE = "https://slsa.dev/verification_summary/v1"
VERIFIER_ID = "https://fetchml.dev/verifiers/reconciler/v1"
POLICY_URI = "https://fetchml.dev/policies/trust-levels/v1"
CAPS_FIELD = "https://fetchml.dev/verdict/caps/v1"
LEVEL_PREFIX = "FETCHML_"
SLSA_VERSION = "1.1"


def resource_uri(manifest: RunManifest) -> str:
    """What the verdict is about."""
    return f"https://fetchml.dev/runs/{manifest.uid}/{manifest.run_id}"


def policy_digest() -> str:
    """sha256 hex of the criteria in force: level, reason and message of each."""
    return hex_of(digest_value([[c.level, c.reason, c.message] for c in CRITERIA]))


def verdict_statement(data: bytes, attestation: bytes, judgement: Judgement, at: str) -> bytes:
    """The verdict (RFC 8785 bytes, a DSSE payload) on the run with this manifest and this signed attestation.

    `at` is RFC 3339 UTC.

    Raises:
        InvalidManifestError: `data` is not a valid manifest.
    """
    manifest = parse_manifest(data)
    return statement_bytes(subjects_of(manifest, data), VERDICT_TYPE, _predicate(manifest, attestation, judgement, at))


def _predicate(manifest: RunManifest, attestation: bytes, judgement: Judgement, at: str) -> dict[str, Any]:
    digest = {"sha256": hex_of(digest_bytes(attestation))}
    return {
        "verifier": {"id": VERIFIER_ID},
        "timeVerified": at,
        "resourceUri": resource_uri(manifest),
        "policy": {"uri": POLICY_URI, "digest": {"sha256": policy_digest()}},
        "inputAttestations": [{"uri": f"{resource_uri(manifest)}/attestation.dsse.json", "digest": digest}],
        "verificationResult": "PASSED",
        "verifiedLevels": [LEVEL_PREFIX + judgement.level],
        "slsaVersion": SLSA_VERSION,
        CAPS_FIELD: [asdict(cap) for cap in judgement.caps],
    }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verdict says, read back."""

    level: str
    attestation_sha256: str
    """Hex."""
    problems: tuple[str, ...] = ()
    """What in it is not as this module writes it."""


def read_verdict(statement: Any, manifest: RunManifest, subjects: dict[str, str]) -> Verdict:
    """Read a parsed verdict statement about the run of `manifest`; never raises, problems say what is wrong."""
    predicate = statement.get("predicate") if isinstance(statement, dict) else None
    if not isinstance(statement, dict) or not isinstance(predicate, dict):
        return Verdict("", "", ("it is not a statement with a predicate",))
    inputs, levels = predicate.get("inputAttestations"), predicate.get("verifiedLevels")
    listed = [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects.items()]
    expected = {
        "predicateType": (statement.get("predicateType"), VERDICT_TYPE),
        "subject": (statement.get("subject"), listed),
        "verifier": (predicate.get("verifier"), {"id": VERIFIER_ID}),
        "resourceUri": (predicate.get("resourceUri"), resource_uri(manifest)),
        "policy.uri": (_at(predicate.get("policy"), "uri"), POLICY_URI),
        "verificationResult": (predicate.get("verificationResult"), "PASSED"),
    }
    problems = [
        f"{name} is not what a verdict on this run says" for name, (is_, want) in expected.items() if is_ != want
    ]
    level = levels[0] if isinstance(levels, list) and len(levels) == 1 and isinstance(levels[0], str) else ""
    digest = _at(_at(inputs[0], "digest"), "sha256") if isinstance(inputs, list) and len(inputs) == 1 else None
    return Verdict(level.removeprefix(LEVEL_PREFIX), str(digest or ""), tuple(problems))


def _at(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None
