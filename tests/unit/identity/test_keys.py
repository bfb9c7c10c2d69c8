"""Keys are private where they must be, published where they may be, and refused when somebody else could use them."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from controller.identity.keys import (
    FileSigner,
    KeyInfo,
    KeyRefusedError,
    default_key,
    keys_folder,
    list_keys,
    new_key,
    publish,
    revoked_keys,
    rotate,
    trust_root,
)
from controller.identity.revocations import Revocation, revocations, revoke
from controller.ports import durable
from controller.trust.envelope import PAYLOAD_TYPE, open_envelope
from tests.fakes.signer import FakeSigner

AT = "2026-01-02T03:04:05Z"


@pytest.fixture
def data_home(tmp_path: Path) -> Path:
    """Where private keys go."""
    return tmp_path / "data"


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    """The trust folder of a repository."""
    return tmp_path / "repo" / "trust"


def private_of(info: KeyInfo) -> Path:
    """The private file, which must be there."""
    assert info.private is not None
    return info.private


def older(info: KeyInfo) -> None:
    """Make a key look as if it was made an hour ago."""
    made = private_of(info).stat().st_mtime_ns - 3600 * 10**9
    os.utime(private_of(info), ns=(made, made))


@pytest.mark.parametrize("umask", [0, 0o077])
def test_a_new_key_lies_where_the_contract_says_with_the_right_modes(data_home: Path, trust: Path, umask: int) -> None:
    old_umask = os.umask(umask)
    try:
        key = new_key(data_home, trust)
    finally:
        os.umask(old_umask)
    private = data_home / "fetchml" / "keys" / f"{key.key_id}.pem"
    public = trust / f"{key.key_id}.pub.pem"
    assert (key.private, key.public) == (private, public)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    assert b"PRIVATE" not in public.read_bytes()
    assert list(private.parent.iterdir()) == [private]
    assert list(trust.iterdir()) == [public]


def test_what_a_key_signs_verifies_with_the_published_half(data_home: Path, trust: Path) -> None:
    key = new_key(data_home, trust)
    signer = FileSigner(private_of(key))
    opened = open_envelope(signer.sign(PAYLOAD_TYPE, b"payload"), trust_root(trust))
    assert (opened.payload, opened.key_id) == (b"payload", key.key_id)


def test_a_key_may_stay_unpublished_and_be_published_later(data_home: Path, trust: Path) -> None:
    key = new_key(data_home)
    assert key.public is None
    assert not key.usable
    assert default_key(data_home, trust) is None
    pem = FakeSigner().public_pem
    assert publish(pem, trust) == publish(pem, trust)
    assert list(trust_root(trust)) == [FakeSigner().key_id]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_may_read_is_refused_with_advice(data_home: Path, mode: int) -> None:
    path = private_of(new_key(data_home))
    signer = FileSigner(path)
    path.chmod(mode)
    with pytest.raises(PermissionError, match=f"chmod 600 {path}"):
        FileSigner(path)
    with pytest.raises(PermissionError, match="others may read"):
        signer.sign(PAYLOAD_TYPE, b"x")


def test_a_folder_that_others_may_write_is_refused_with_advice(data_home: Path) -> None:
    path = private_of(new_key(data_home))
    path.parent.chmod(0o770)
    with pytest.raises(KeyRefusedError, match="chmod 700"):
        FileSigner(path)
    with pytest.raises(KeyRefusedError, match="chmod 700"):
        new_key(data_home)


def test_a_key_of_another_user_is_refused(data_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = private_of(new_key(data_home))
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PermissionError, match="belongs to user id"):
        FileSigner(path)


@pytest.mark.needs("root")
def test_a_key_that_was_given_to_another_user_is_refused(data_home: Path) -> None:
    path = private_of(new_key(data_home))
    os.chown(path, 65534, 65534)
    with pytest.raises(PermissionError, match="belongs to user id 65534"):
        FileSigner(path)


def test_a_linked_key_or_folder_is_refused(data_home: Path, tmp_path: Path) -> None:
    path = private_of(new_key(data_home))
    link = path.parent / ("0" * 64 + ".pem")
    link.symlink_to(path)
    with pytest.raises(ValueError, match="symbolic link"):
        FileSigner(link)
    (tmp_path / "elsewhere").symlink_to(path.parent)
    with pytest.raises(KeyRefusedError, match="not a link"):
        FileSigner(tmp_path / "elsewhere" / path.name)


def test_a_key_under_the_name_of_another_is_refused(data_home: Path) -> None:
    first, second = private_of(new_key(data_home)), private_of(new_key(data_home))
    first.replace(second)
    with pytest.raises(KeyRefusedError, match="not the one it is named after"):
        FileSigner(second)


def test_other_kinds_of_keys_are_refused(data_home: Path) -> None:
    path = private_of(new_key(data_home))
    ec = generate_private_key(SECP256R1())
    path.write_bytes(ec.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(KeyRefusedError, match="not an Ed25519 key"):
        FileSigner(path)
    path.write_bytes(ec.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(KeyRefusedError, match="not an unencrypted private key"):
        FileSigner(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(KeyRefusedError, match="not an unencrypted private key"):
        FileSigner(path)


def test_the_key_itself_is_in_no_message(data_home: Path) -> None:
    path = private_of(new_key(data_home))
    secret = path.read_text().splitlines()[1]
    path.write_text(path.read_text().replace("-----BEGIN", "----BEGIN"))
    with pytest.raises(KeyRefusedError) as caught:
        FileSigner(path)
    assert secret not in str(caught.value)


def test_the_newest_usable_key_signs(data_home: Path, trust: Path) -> None:
    first = new_key(data_home, trust)
    older(first)
    second = new_key(data_home, trust)
    unpublished = new_key(data_home)
    assert default_key(data_home, trust) == second
    assert {key.key_id for key in list_keys(data_home, trust)} == {first.key_id, second.key_id, unpublished.key_id}
    revoke(trust, second.key_id, "laptop lost", AT)
    assert default_key(data_home, trust) == first


def test_keys_of_colleagues_are_listed_and_cannot_sign(data_home: Path, trust: Path) -> None:
    publish(FakeSigner().public_pem, trust)
    listed = list_keys(data_home, trust)
    assert [(key.key_id, key.private, key.usable) for key in listed] == [(FakeSigner().key_id, None, False)]
    assert default_key(data_home, trust) is None


def test_rotation_makes_a_new_key_and_keeps_old_signatures_valid(data_home: Path, trust: Path) -> None:
    first = new_key(data_home, trust)
    older(first)
    envelope = FileSigner(private_of(first)).sign(PAYLOAD_TYPE, b"before")
    second, replaced = rotate(data_home, trust)
    assert replaced == first
    assert default_key(data_home, trust) == second
    assert open_envelope(envelope, trust_root(trust), revoked_keys(trust)).payload == b"before"


def test_rotation_without_an_older_key_makes_the_first(data_home: Path, trust: Path) -> None:
    assert rotate(data_home, trust)[1] is None


def test_no_folders_means_no_keys(data_home: Path, trust: Path) -> None:
    assert list_keys(data_home) == list_keys(data_home, trust) == ()
    assert trust_root(trust) == {}
    assert revoked_keys(trust) == frozenset()


# The trust root


def test_a_public_key_under_another_name_is_refused(trust: Path) -> None:
    publish(FakeSigner(1).public_pem, trust).rename(trust / f"{FakeSigner(2).key_id}.pub.pem")
    with pytest.raises(ValueError, match="must be named after its own id"):
        trust_root(trust)


def test_a_link_among_the_public_keys_is_refused(trust: Path) -> None:
    path = publish(FakeSigner(1).public_pem, trust)
    path.rename(trust / "elsewhere")
    path.symlink_to("elsewhere")
    with pytest.raises(ValueError, match="symbolic link"):
        trust_root(trust)


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_public_key_is_refused(trust: Path, content: bytes) -> None:
    trust.mkdir(parents=True)
    (trust / f"{'0' * 64}.pub.pem").write_bytes(content)
    with pytest.raises(ValueError, match="0000"):
        trust_root(trust)


def test_a_folder_in_place_of_a_key_is_refused(trust: Path) -> None:
    (trust / f"{'0' * 64}.pub.pem").mkdir(parents=True)
    with pytest.raises(ValueError, match="not a regular file"):
        trust_root(trust)


# Revocations


def test_a_revocation_is_recorded_once_with_time_and_reason(data_home: Path, trust: Path) -> None:
    key = new_key(data_home, trust)
    assert revoke(trust, key.key_id, " laptop lost ", AT) == Revocation(key.key_id, AT, "laptop lost")
    assert revoke(trust, key.key_id, "again", "2027-01-01T00:00:00Z").reason == "laptop lost"
    assert (trust / "revoked").read_text() == f"{key.key_id} {AT} laptop lost\n"
    assert revoked_keys(trust) == {key.key_id}
    assert list_keys(data_home, trust)[0].revoked == Revocation(key.key_id, AT, "laptop lost")
    with pytest.raises(ValueError, match="revoked"):
        open_envelope(FileSigner(private_of(key)).sign(PAYLOAD_TYPE, b"x"), trust_root(trust), revoked_keys(trust))


def test_comments_and_a_missing_final_newline_survive_a_revocation(trust: Path) -> None:
    first, second = FakeSigner(1), FakeSigner(2)
    publish(first.public_pem, trust)
    publish(second.public_pem, trust)
    (trust / "revoked").write_text(f"# by hand\n{first.key_id} {AT} old")
    revoke(trust, second.key_id, "new", AT)
    assert (trust / "revoked").read_text() == f"# by hand\n{first.key_id} {AT} old\n{second.key_id} {AT} new\n"
    assert list(revocations(trust)) == [first.key_id, second.key_id]


@pytest.mark.parametrize(
    "line",
    ["nonsense", f"{'0' * 64} {AT}", f"{'0' * 63} {AT} why", f"{'0' * 64} yesterday why", f"{'A' * 64} {AT} why"],
)
def test_a_damaged_list_of_revocations_is_an_error_not_an_empty_list(trust: Path, line: str) -> None:
    trust.mkdir(parents=True)
    (trust / "revoked").write_text(f"# keys\n{line}\n")
    with pytest.raises(ValueError, match="revoked:2: not a revocation"):
        revoked_keys(trust)


def test_a_linked_list_of_revocations_is_refused(trust: Path) -> None:
    trust.mkdir(parents=True)
    (trust / "revoked").symlink_to("/dev/null")
    with pytest.raises(ValueError, match="symbolic link"):
        revoked_keys(trust)


def test_a_key_that_is_not_here_cannot_be_revoked(trust: Path) -> None:
    with pytest.raises(LookupError, match="no key"):
        revoke(trust, "0" * 64, "why", AT)


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines"])
def test_a_revocation_needs_a_reason_on_one_line(trust: Path, reason: str) -> None:
    publish(FakeSigner().public_pem, trust)
    with pytest.raises(ValueError, match="not a revocation"):
        revoke(trust, FakeSigner().key_id, reason, AT)
    assert not (trust / "revoked").exists()


# Crashes


class CrashError(Exception):
    """Stands for a kill; the fault harness uses a real one."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ["identity.write_key", "identity.publish_key", "identity.revoke_key"])
def test_a_crash_at_any_durable_step_leaves_whole_files(data_home: Path, trust: Path, name: str, when: str) -> None:
    def hook(now: str, step: str) -> None:
        if (now, step) == (when, name):
            raise CrashError

    def work() -> None:
        key = new_key(data_home, trust)
        revoke(trust, key.key_id, "why", AT)

    durable.install_hook(hook)
    try:
        with pytest.raises(CrashError):
            work()
    finally:
        durable.install_hook(None)
    for key in list_keys(data_home, trust):
        if key.private:
            FileSigner(key.private)
    work()
    assert len(revoked_keys(trust)) in {1, 2}


def test_an_existing_key_is_never_overwritten(data_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = private_of(new_key(data_home))
    before = path.read_bytes()
    monkeypatch.setattr("controller.identity.keys.key_id_of", lambda _pem: path.stem)
    with pytest.raises(FileExistsError):
        new_key(data_home)
    assert path.read_bytes() == before
    assert list(keys_folder(data_home).iterdir()) == [path]
