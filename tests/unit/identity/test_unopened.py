"""The signer known by name: the same choice as the one that opens keys."""

import os
from pathlib import Path

import pytest

from controller.identity.keys import default_key, new_key
from controller.identity.revocations import revoke
from controller.identity.unopened import unopened_signer
from controller.trust.envelope import PAYLOAD_TYPE


def test_the_choice_is_the_default_key(tmp_path: Path) -> None:
    home, trust = tmp_path / "data", tmp_path / "trust"
    assert unopened_signer(home, trust) is None
    new_key(home)  # not trusted here
    assert unopened_signer(home, trust) is None
    keys = [new_key(home, trust) for _ in range(3)]
    for age, key in enumerate(keys):
        assert key.private is not None
        os.utime(key.private, ns=(age, age))
    for newest in reversed(keys):
        signer, default = unopened_signer(home, trust), default_key(home, trust)
        assert signer is not None
        assert default is not None
        assert signer.key_id == default.key_id == newest.key_id
        revoke(trust, newest.key_id, "gone", "2026-01-01T00:00:00Z")
    assert unopened_signer(home, trust) is None


def test_signing_checks_the_key(tmp_path: Path) -> None:
    key = new_key(tmp_path / "data", tmp_path / "trust")
    signer = unopened_signer(tmp_path / "data", tmp_path / "trust")
    assert signer is not None
    assert key.private is not None
    key.private.chmod(0o644)
    with pytest.raises(PermissionError):
        signer.sign(PAYLOAD_TYPE, b"{}")
