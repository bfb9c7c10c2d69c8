"""One suite for every Signer: the fake, the key file, and the key that is opened late."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from controller.identity.keys import FileSigner, new_key, trust_root
from controller.identity.unopened import unopened_signer
from controller.ports.signer import Signer
from controller.trust.envelope import PAYLOAD_TYPE, open_envelope
from tests.fakes.signer import FakeSigner

Made = tuple[Signer, dict[str, bytes]]


def _fake(_folder: Path) -> Made:
    signer = FakeSigner()
    return signer, signer.trust_root


def _file(folder: Path) -> Made:
    key = new_key(folder / "data", folder / "trust")
    assert key.private is not None
    return FileSigner(key.private), trust_root(folder / "trust")


def _unopened(folder: Path) -> Made:
    new_key(folder / "data", folder / "trust")
    signer = unopened_signer(folder / "data", folder / "trust")
    assert signer is not None
    return signer, trust_root(folder / "trust")


@pytest.fixture(params=[_fake, _file, _unopened], ids=["fake", "file", "unopened"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    """A signer and a trust root that holds its key."""
    make: Callable[[Path], Made] = request.param
    return make(tmp_path)


def test_the_key_id_is_the_digest_of_the_public_key(made: Made) -> None:
    signer, root = made
    der = load_pem_public_key(root[signer.key_id]).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert hashlib.sha256(der).hexdigest() == signer.key_id


@pytest.mark.parametrize("payload", [b"", b"{}", bytes(range(256)), b"\xff" * 100_000])
def test_the_payload_comes_back_verbatim(made: Made, payload: bytes) -> None:
    signer, root = made
    opened = open_envelope(signer.sign(PAYLOAD_TYPE, payload), root)
    assert (opened.payload, opened.key_id) == (payload, signer.key_id)


def test_the_envelope_is_dsse_with_one_signature(made: Made) -> None:
    signer, _ = made
    envelope = json.loads(signer.sign(PAYLOAD_TYPE, b"payload"))
    assert set(envelope) == {"payload", "payloadType", "signatures"}
    assert [signature["keyid"] for signature in envelope["signatures"]] == [signer.key_id]


def test_signing_twice_gives_the_same_bytes(made: Made) -> None:
    signer, _ = made
    assert signer.sign(PAYLOAD_TYPE, b"payload") == signer.sign(PAYLOAD_TYPE, b"payload")


def test_the_payload_type_is_signed_too(made: Made) -> None:
    signer, root = made
    other = json.loads(signer.sign("text/plain", b"payload"))
    mine = json.loads(signer.sign(PAYLOAD_TYPE, b"payload"))
    assert other["signatures"] != mine["signatures"]
    with pytest.raises(ValueError, match="does not verify"):
        open_envelope(json.dumps(other | {"payloadType": PAYLOAD_TYPE}, separators=(",", ":")).encode(), root)
