"""Any change of a run's records is found and its file named; who holds a key still cannot lie about a run."""

import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO

import pytest

from controller.api.canonical import canonical_bytes, digest_bytes
from controller.api.manifest import load_manifest
from controller.trust.envelope import PAYLOAD_TYPE
from controller.trust.levels import judge_run
from controller.trust.records import Check
from controller.trust.verdict import verdict_statement
from controller.trust.verify import ATTESTATION, VERDICT, verified, verify_run
from tests.fakes.signed_run import content, signed_run
from tests.fakes.signer import FakeSigner

SIGNER, OTHER = FakeSigner(1), FakeSigner(2)
ROOT = SIGNER.root
RUN = signed_run(SIGNER)
COVERED = [name for name in RUN if name != "spec.yaml"]
Envelope = dict[str, Any]


def failures(files: dict[str, Any], revoked: frozenset[str] = frozenset()) -> list[Check]:
    """The checks that fail."""
    return [check for check in verify_run(files, replace(ROOT, revoked=revoked)) if not check.ok]


def test_a_run_as_it_was_recorded_verifies() -> None:
    checks = verify_run(RUN, ROOT)
    assert verified(checks)
    names = {"signature", "manifest", "subject", "statement", "plan", "spec", "verdict", "level"}
    assert {check.name for check in checks} == names
    assert {check.file for check in checks if check.name == "subject"} == set(COVERED) - {ATTESTATION, VERDICT}


@pytest.mark.parametrize("name", COVERED)
def test_every_byte_of_every_file_counts(name: str) -> None:
    data = RUN[name]
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 + (position % 255)
        found = failures(RUN | {name: bytes(changed)})
        assert name in {check.file for check in found}, f"byte {position} of {name}"


@pytest.mark.parametrize("name", COVERED)
@pytest.mark.parametrize("change", [lambda d: d + b"\n", lambda d: d + b" ", lambda d: d[:-1], lambda d: b" " + d])
def test_a_byte_more_or_less_counts(name: str, change: Callable[[bytes], bytes]) -> None:
    assert name in {check.file for check in failures(RUN | {name: change(RUN[name])})}


@pytest.mark.parametrize("name", list(RUN))
def test_a_missing_file_is_named(name: str) -> None:
    files = {key: data for key, data in RUN.items() if key != name}
    assert any(check.file == name and "missing" in check.message for check in failures(files))


@pytest.mark.parametrize("name", list(RUN))
def test_a_file_that_cannot_be_read_is_named(name: str) -> None:
    def refuse() -> BinaryIO:
        raise PermissionError("no")

    assert any(check.file == name and "cannot be read" in check.message for check in failures(RUN | {name: refuse}))


def test_large_files_are_read_in_pieces() -> None:
    sizes: list[int] = []

    class Recorder(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            sizes.append(-1 if size is None else size)
            return super().read(size)

    files = {name: (lambda data=data: Recorder(data)) for name, data in RUN.items()}
    assert verified(verify_run(files, ROOT))
    assert sizes
    assert all(0 < size <= 2**20 for size in sizes)


def test_another_spec_is_noticed_and_another_layout_is_not() -> None:
    moved = RUN["spec.yaml"].replace(b"lr: 1e-3", b"lr: 1e-2")
    assert [(check.name, check.file) for check in failures(RUN | {"spec.yaml": moved})] == [("spec", "spec.yaml")]
    assert not failures(RUN | {"spec.yaml": b"# a comment\n" + RUN["spec.yaml"]})


# Twelve ways to tamper. `resigned` ones are by somebody who holds a trusted key.


def edited(change: Callable[[Envelope], Any]) -> bytes:
    """The attestation with a change to its envelope."""
    envelope = json.loads(RUN[ATTESTATION])
    change(envelope)
    return canonical_bytes(envelope)


def resigned(change: Callable[[dict[str, Any]], Any], payload_type: str = PAYLOAD_TYPE) -> bytes:
    """The attestation with a change to its statement, signed with the trusted key."""
    statement = json.loads(base64.b64decode(json.loads(RUN[ATTESTATION])["payload"]))
    change(statement)
    return SIGNER.sign(payload_type, canonical_bytes(statement))


def _subject_digest(statement: dict[str, Any]) -> None:
    statement["subject"][-1]["digest"]["sha256"] = "0" * 64


def _builder(statement: dict[str, Any]) -> None:
    statement["predicate"]["runDetails"]["builder"]["id"] = "https://example.com/other"


def _payload(envelope: Envelope) -> None:
    envelope["payload"] = base64.b64encode(b'{"_type":"other"}').decode()


TAMPERED = {
    "payload": (edited(_payload), "signature", "SignatureInvalid"),
    "type": (resigned(lambda s: None, "application/json"), "envelope", "PayloadTypeMismatch"),
    "predicate": (
        resigned(lambda s: s.update(predicateType="https://example.com/p")), "statement", "PredicateTypeMismatch"
    ),
    "keyid": (edited(lambda e: e["signatures"][0].update(keyid="0" * 64)), "signature", "KeyUnknown"),
    "unknown key": (
        OTHER.sign(PAYLOAD_TYPE, base64.b64decode(json.loads(RUN[ATTESTATION])["payload"])), "signature", "KeyUnknown"
    ),
    "duplicate signature": (
        edited(lambda e: e["signatures"].append(e["signatures"][0])), "envelope", "SignatureCount"
    ),
    "missing signature": (edited(lambda e: e.update(signatures=[])), "envelope", "SignatureCount"),
    "bad base64": (edited(lambda e: e.update(payload=e["payload"][:-1] + "*")), "envelope", "EncodingInvalid"),
    "wrong subject": (resigned(_subject_digest), "subject", "SubjectMismatch"),
    "another run": (signed_run(SIGNER, run_id="other-abcdefgh")[ATTESTATION], "subject", "AnotherRun"),
    "wrong builder": (resigned(_builder), "builder", "BuilderMismatch"),
}  # fmt: skip


@pytest.mark.parametrize("way", TAMPERED)
def test_tampering_is_rejected_with_its_reason(way: str) -> None:
    attestation, name, reason = TAMPERED[way]
    found = failures(RUN | {ATTESTATION: attestation})
    assert reason in {check.reason for check in found if check.name == name}
    assert found[0].name in (name, "subject")
    assert all(check.reason for check in found)


def test_the_twelfth_way_a_revoked_key() -> None:
    found = failures(RUN, revoked=frozenset({SIGNER.key_id}))
    assert [(check.name, check.file) for check in found] == [("signature", ATTESTATION), ("verdict", VERDICT)]
    assert {check.reason for check in found} == {"KeyRevoked"}


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        (lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"), "statement", "in-toto statement"),
        (lambda s: s["predicate"]["buildDefinition"].update(buildType="x"), "statement", "buildType is x"),
        (lambda s: s["predicate"]["buildDefinition"]["externalParameters"].update(seed=8), "statement", "does not say"),
        (lambda s: s["subject"].pop(), "subject", "not the files in the manifest"),
        (lambda s: s.update(subject=[]), "subject", "another run_manifest.json"),
        (lambda s: s.update(subject=None), "subject", "another run_manifest.json"),
        (lambda s: s["subject"].append({"name": 3}), "subject", "no name or sha256"),
        (lambda s: s["subject"].append("x"), "subject", "no name or sha256"),
        (lambda s: s.update(predicate=None), "builder", "the builder is None"),
    ],
)
def test_a_key_holder_cannot_state_something_else(change: Callable[[Any], Any], name: str, words: str) -> None:
    found = failures(RUN | {ATTESTATION: resigned(change)})
    assert any(check.name == name and words in check.message for check in found), found


def test_a_signed_payload_that_is_no_json_is_refused() -> None:
    found = failures(RUN | {ATTESTATION: SIGNER.sign(PAYLOAD_TYPE, b"not JSON")})
    assert found[0].name == "statement"


def _verdict(change: Callable[[dict[str, Any]], Any]) -> bytes:
    statement = json.loads(base64.b64decode(json.loads(RUN[VERDICT])["payload"]))
    change(statement)
    return SIGNER.sign(PAYLOAD_TYPE, canonical_bytes(statement))


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        (lambda s: s["predicate"].update(verifiedLevels=["FETCHML_L4"]), "level", "says L4, but the evidence gives L1"),
        (lambda s: s["predicate"].update(verifiedLevels=[]), "level", "says nothing"),
        (lambda s: s["predicate"].update(inputAttestations=[]), "verdict", "another attestation"),
        (lambda s: s["predicate"].update(resourceUri="https://fetchml.dev/runs/x/y"), "verdict", "resourceUri"),
        (lambda s: s["predicate"].update(verificationResult="FAILED"), "verdict", "verificationResult"),
        (lambda s: s["predicate"].update(verifier={"id": "https://example.com"}), "verdict", "verifier"),
        (lambda s: s["predicate"].update(policy=None), "verdict", "policy.uri"),
        (lambda s: s.update(predicateType="x"), "verdict", "predicateType"),
        (lambda s: s.update(subject=[]), "verdict", "subject"),
        (lambda s: s.update(predicate=[]), "verdict", "not a statement with a predicate"),
        (lambda s: s.update(_type="x"), "statement", "in-toto statement"),
    ],
)
def test_a_verdict_cannot_say_something_else(change: Callable[[Any], Any], name: str, words: str) -> None:
    found = failures(RUN | {VERDICT: _verdict(change)})
    assert all(check.file == VERDICT for check in found)
    assert any(check.name == name and words in check.message for check in found), found


def test_a_verdict_on_another_attestation_is_refused() -> None:
    manifest = load_manifest(RUN["run_manifest.json"])
    judged = judge_run(manifest, plan_sha256=manifest.plan_sha256, signed=True)
    verdict = verdict_statement(RUN["run_manifest.json"], b"other", judged, "2026-01-02T03:05:01Z")
    found = failures(RUN | {VERDICT: SIGNER.sign(PAYLOAD_TYPE, verdict)})
    assert [(check.name, check.message) for check in found] == [("verdict", "the verdict is about another attestation")]


@pytest.mark.parametrize(
    ("plan", "words"),
    [(b'{"b": 1}', "RFC 8785"), (b"not JSON", "RFC 8785"), (b'{"command":[]}', "plan_sha256 of the manifest")],
)
def test_a_plan_must_recompute(plan: bytes, words: str) -> None:
    found = [check for check in failures(RUN | {"plan.json": plan}) if check.name == "plan"]
    assert words in found[0].message


def test_a_plan_that_is_signed_but_not_canonical_is_refused() -> None:
    pretty = b'{ "command": [] }'
    files = signed_run(SIGNER, plan_sha256=digest_bytes(pretty)) | {"plan.json": pretty}
    assert any(check.name == "plan" and "RFC 8785" in check.message for check in failures(files))


def test_result_files_that_nobody_signed_are_mentioned() -> None:
    checks = verify_run(RUN | {"results/extra.txt": b"x", "params.json": b"{}"}, ROOT)
    assert verified(checks)
    assert [check.message for check in checks if check.name == "unattested"] == [
        "1 result files are not covered by the statement: results/extra.txt"
    ]


def test_a_run_whose_clock_jumped_is_signed_and_verifies_at_l0() -> None:
    checks = verify_run(signed_run(SIGNER, ended_at="2026-01-02T03:04:05Z"), ROOT)
    assert verified(checks)
    messages = {check.name: check.message for check in checks}
    assert messages["manifest"] == "valid, but ended_at is before started_at"
    assert messages["level"] == "recomputes to L0"


def test_a_manifest_with_a_wrong_field_is_refused_with_every_problem() -> None:
    broken = canonical_bytes(json.loads(RUN["run_manifest.json"]) | {"exit_code": "1", "note": 1})
    found = [check.message for check in failures(RUN | {"run_manifest.json": broken}) if check.name == "manifest"]
    assert [message.split(":")[0] for message in found] == ["exit_code", "note"]


def test_a_run_that_wrote_no_metrics_or_outputs_verifies() -> None:
    files = signed_run(SIGNER, metrics=None, outputs=[])
    for name in [name for name in content() if name.startswith("results/")]:
        del files[name]
    assert verified(verify_run(files, ROOT))
