"""The port Trust: whoever implements it, what is not shown names nobody."""

from collections.abc import Callable
from pathlib import Path

import pytest

from controller.identity.commit_signatures import FolderTrust
from controller.identity.keys import publish
from controller.identity.trust_folder import record_key
from controller.ports.trust import NoTrust, Trust
from controller.trust.root import Entry, TrustRoot
from tests.fakes.signer import FakeSigner
from tests.fakes.trust import FakeTrust

COMMIT = b"tree 0\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nmessage\n"
SIGNER = FakeSigner(1)
ENTRY = Entry(SIGNER.key_id, "2026-01-02T03:04:05Z", ("approvals",), "bob")


def _folder(folder: Path) -> Trust:
    publish(SIGNER.public_pem, folder)
    record_key(folder, ENTRY)
    return FolderTrust(folder)


FILLED: dict[str, Callable[[Path], Trust]] = {
    "folder": _folder,
    "fake": lambda _: FakeTrust(known=TrustRoot(SIGNER.trust_root, {ENTRY.key_id: ENTRY})),
}
EMPTY: dict[str, Callable[[Path], Trust]] = {
    "folder": FolderTrust,
    "fake": lambda _: FakeTrust(),
    "nobody": lambda _: NoTrust(),
}


@pytest.mark.parametrize("kind", FILLED)
def test_the_root_is_a_value(kind: str, tmp_path: Path) -> None:
    root = FILLED[kind](tmp_path).root()
    assert root == TrustRoot(SIGNER.trust_root, {ENTRY.key_id: ENTRY})
    assert (root.uses(SIGNER.key_id), root.owner(SIGNER.key_id)) == (("approvals",), "bob")


@pytest.mark.parametrize("kind", EMPTY)
def test_where_nobody_is_named_nobody_signed(kind: str, tmp_path: Path) -> None:
    trust = EMPTY[kind](tmp_path)
    assert trust.root() == TrustRoot()
    assert not trust.names_signers()
    assert not trust.of_operator
    answer = trust.signer_of(COMMIT)
    assert answer.owner == ""
    assert answer.reason
    assert answer.message


def test_a_root_that_cannot_be_understood_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("nonsense\n")
    for trust in (FolderTrust(tmp_path), FakeTrust(broken="root:1: nonsense")):
        with pytest.raises(ValueError, match="root:1"):
            trust.root()
