"""A trust folder is read whole or not at all; what the command line does by name agrees with it."""

import io
from pathlib import Path
from typing import BinaryIO

import pytest

from controller.entrypoints.cli.key import USES
from controller.identity.keys import default_key, new_key, publish, rotate
from controller.identity.revocations import revoke
from controller.identity.safe_files import key_facts
from controller.identity.trust_folder import bundled_trust, read_trust, record_key
from controller.identity.unopened import unopened_signer
from controller.ports.signer import KeyFacts
from controller.trust import root as trust_root
from controller.trust.root import Entry, TrustRoot
from tests.fakes.signer import FakeSigner

AT = "2026-01-02T03:04:05Z"


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    return tmp_path / "trust"


def test_everything_is_read(trust: Path) -> None:
    first, second = FakeSigner(1), FakeSigner(2)
    for signer in (first, second):
        publish(signer.public_pem, trust)
    record_key(trust, Entry(second.key_id, AT, ("approvals",), "bob"))
    revoke(trust, first.key_id, "lost", AT)
    entry = Entry(second.key_id, AT, ("approvals",), "bob")
    wanted = TrustRoot(first.trust_root | second.trust_root, {second.key_id: entry}, frozenset({first.key_id}))
    assert read_trust(trust) == wanted
    assert read_trust(trust / "absent") == TrustRoot()


def test_a_line_is_replaced_and_comments_stay(trust: Path) -> None:
    key = FakeSigner(1).key_id
    trust.mkdir()
    (trust / "root").write_text("# by hand\n")
    record_key(trust, Entry(key, AT, ("runs",), "lab"))
    record_key(trust, Entry(key, AT, ("runs", "comparisons"), "lab"))
    assert (trust / "root").read_text() == f"# by hand\n{key} {AT} runs,comparisons lab\n"


@pytest.mark.parametrize("owner", ["two\nlines", ""])
def test_what_would_not_be_one_line_is_not_written(trust: Path, owner: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        record_key(trust, Entry(FakeSigner(1).key_id, AT, ("runs",), owner))
    assert not (trust / "root").exists()


@pytest.mark.parametrize("name", ["root", "revoked"])
def test_a_link_is_refused(trust: Path, name: str) -> None:
    trust.mkdir()
    (trust / name).symlink_to("/dev/null")
    with pytest.raises(ValueError, match="symbolic link"):
        read_trust(trust)


def test_the_keys_of_a_bundle_are_read_from_its_files(trust: Path) -> None:
    signer = FakeSigner(1)
    publish(signer.public_pem, trust)
    record_key(trust, Entry(signer.key_id, AT, ("runs",), "lab"))
    revoke(trust, signer.key_id, "lost", AT)

    def opener(path: Path) -> BinaryIO:
        return io.BytesIO(path.read_bytes())

    files = {f"trust/{path.name}": (lambda path=path: opener(path)) for path in trust.iterdir()}
    assert bundled_trust(files | {"run.log": lambda: io.BytesIO(b"x")}) == read_trust(trust)


def test_the_key_that_signs_is_the_one_for_its_use(trust: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    runs = new_key(data, trust)
    approvals = new_key(data, trust, owner="bob", uses=("approvals",), since=AT)
    found = {use: default_key(data, trust, use) for use in ("runs", "approvals", "comparisons")}
    assert {use: key.key_id if key else None for use, key in found.items()} == {
        "runs": runs.key_id,
        "approvals": approvals.key_id,
        "comparisons": None,
    }
    signer = unopened_signer(data, trust)
    assert signer is not None
    assert signer.key_id == runs.key_id, "by name alone it is the same"
    again, old = rotate(data, trust, "approvals", AT)
    assert old is not None
    assert (old.key_id, again.owner, again.uses) == (approvals.key_id, "bob", ("approvals",))


@pytest.mark.parametrize(
    ("file", "folder", "private"), [(0o600, 0o700, True), (0o640, 0o700, False), (0o600, 0o750, False)]
)
def test_who_can_read_a_key(tmp_path: Path, file: int, folder: int, private: bool) -> None:
    key = new_key(tmp_path / "data").private
    assert key is not None
    key.chmod(file)
    key.parent.chmod(folder)
    assert key_facts(key) == KeyFacts(key.stat().st_uid, private)
    assert key_facts(tmp_path / "absent") is None


def test_a_link_to_a_key_is_not_private(tmp_path: Path) -> None:
    key = new_key(tmp_path / "data").private
    assert key is not None
    link = key.with_name("link.pem")
    link.symlink_to(key)
    facts = key_facts(link)
    assert facts is not None
    assert not facts.private


def test_the_words_of_the_command_line() -> None:
    assert trust_root.USES == USES
