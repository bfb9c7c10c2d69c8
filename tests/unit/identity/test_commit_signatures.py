"""Who signed a commit, by the real ssh-keygen and gpg, on commits that the real git signed."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.identity.commit_signatures import FolderTrust
from controller.identity.commit_signing import commit_signer
from controller.identity.keys import new_key
from controller.identity.revocations import revoke
from controller.identity.trust_folder import record_key
from controller.trust.commits import CommitSigner
from controller.trust.keyid import ssh_blob, ssh_id_of
from controller.trust.root import Entry
from tests.fakes.repo import Repo, ready_repo

pytestmark = pytest.mark.needs("git", "ssh-keygen")
AT = "2026-01-02T03:04:05Z"


def ssh_key(folder: Path, name: str) -> Path:
    """A new SSH key pair; its private half."""
    path = folder / name
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
    subprocess.run(words, check=True, capture_output=True)
    return path


def public(key: Path) -> str:
    """Kind and base64 of a public key."""
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


def fingerprint(key: Path) -> str:
    """As OpenSSH shows it."""
    done = subprocess.run(["ssh-keygen", "-l", "-f", str(key)], check=True, capture_output=True, text=True)
    return done.stdout.split()[1]


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return ready_repo(tmp_path / "repo")


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    folder = tmp_path / "trust"
    folder.mkdir()
    return folder


def signed(repo: Repo, key: Path, message: str = "signed") -> bytes:
    """A commit signed with an SSH key, as its bytes."""
    repo.write("code/train.py", message)
    options = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={key}")
    repo.git("add", "-A")
    repo.git(*options, "commit", "-q", "-S", "-m", message)
    return raw(repo)


def raw(repo: Repo, commit: str = "HEAD") -> bytes:
    """The bytes of a commit object."""
    words = ["git", "-C", str(repo.root), "cat-file", "commit", commit]
    return subprocess.run(words, check=True, capture_output=True).stdout


def allow(trust: Path, *lines: str) -> FolderTrust:
    """A trust folder with these allowed signers."""
    (trust / "allowed_signers").write_text("".join(f"{line}\n" for line in lines))
    return FolderTrust(trust)


def test_an_allowed_signer_is_named(repo: Repo, trust: Path, tmp_path: Path) -> None:
    key = ssh_key(tmp_path, "alice")
    known = allow(trust, "# the team", f'alice@example.org namespaces="git" {public(key)}')
    assert known.names_signers()
    assert known.signer_of(signed(repo, key)) == CommitSigner("alice@example.org", fingerprint(key))


def test_git_agrees(repo: Repo, trust: Path, tmp_path: Path) -> None:
    """What we accept git accepts, and what we refuse it refuses: the peer decides, not our own verifier."""
    alice, bob = ssh_key(tmp_path, "alice"), ssh_key(tmp_path, "bob")
    known = allow(trust, f"alice@example.org {public(alice)}")
    for key, accepted in ((alice, True), (bob, False)):
        data = signed(repo, key, key.name)
        file = f"gpg.ssh.allowedSignersFile={trust / 'allowed_signers'}"
        done = subprocess.run(
            ["git", "-C", str(repo.root), "-c", file, "verify-commit", "HEAD"], check=False, capture_output=True
        )
        assert (done.returncode == 0, bool(known.signer_of(data).owner)) == (accepted, accepted)


def test_a_stranger_an_unsigned_and_a_changed_commit(repo: Repo, trust: Path, tmp_path: Path) -> None:
    alice, mallory = ssh_key(tmp_path, "alice"), ssh_key(tmp_path, "mallory")
    known = allow(trust, f"alice@example.org {public(alice)}")
    assert known.signer_of(raw(repo)).reason == "CommitNotSigned"
    assert known.signer_of(signed(repo, mallory)).reason == "SignerNotAllowed"
    data = signed(repo, alice, "good")
    assert known.signer_of(data).owner
    assert known.signer_of(data.replace(b"\n\ngood", b"\n\nevil")).reason == "CommitSignatureInvalid"
    laundered = signed(repo, mallory, "bad").partition(b"gpgsig")[0] + b"gpgsig" + data.partition(b"gpgsig")[2]
    assert known.signer_of(laundered).reason == "CommitSignatureInvalid", "alice's signature on another commit"


def test_a_signature_for_something_else_than_git_does_not_count(repo: Repo, trust: Path, tmp_path: Path) -> None:
    key = ssh_key(tmp_path, "alice")
    known = allow(trust, f"alice@example.org {public(key)}")
    repo.write("message", "x")
    data = raw(repo)
    (tmp_path / "payload").write_bytes(data)
    words = ["ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", str(key), str(tmp_path / "payload")]
    subprocess.run(words, check=True, capture_output=True)
    lines = (tmp_path / "payload.sig").read_bytes().rstrip(b"\n").replace(b"\n", b"\n ")
    head, _, message = data.partition(b"\n\n")
    assert known.signer_of(head + b"\ngpgsig " + lines + b"\n\n" + message).reason == "CommitSignatureInvalid"


def test_two_signatures_and_other_kinds_are_not_tried(repo: Repo, trust: Path, tmp_path: Path) -> None:
    key = ssh_key(tmp_path, "alice")
    known = allow(trust, f"alice@example.org {public(key)}")
    data = signed(repo, key)
    header = data[data.index(b"gpgsig ") : data.index(b"\n\n")]
    assert "2 signatures" in known.signer_of(data.replace(header, header + b"\n" + header, 1)).message
    assert known.signer_of(data.replace(b"\n\n", b"\ngpgsig-sha256 x\n\n", 1)).reason == "CommitNotSigned"
    assert known.signer_of(data.replace(b"BEGIN SSH SIGNATURE", b"BEGIN SIGNED MESSAGE")).reason == "CommitNotSigned"


@pytest.mark.parametrize("principal", ["*@example.org", "alice@example.org,bob@example.org"])
def test_a_key_that_stands_for_several_people_is_nobodys(
    repo: Repo, trust: Path, tmp_path: Path, principal: str
) -> None:
    key = ssh_key(tmp_path, "alice")
    answer = allow(trust, f"{principal} {public(key)}").signer_of(signed(repo, key))
    assert answer.owner in ("", "alice@example.org")
    assert "*" not in answer.owner
    assert "," not in answer.owner


def test_a_key_that_was_not_valid_at_the_committers_time(repo: Repo, trust: Path, tmp_path: Path) -> None:
    key = ssh_key(tmp_path, "alice")
    data = signed(repo, key)
    assert allow(trust, f'alice@example.org valid-before="20200101" {public(key)}').signer_of(data).owner == ""
    assert allow(trust, f'alice@example.org valid-after="20200101" {public(key)}').signer_of(data).owner


def test_a_revoked_key_counts_for_nothing(repo: Repo, trust: Path, tmp_path: Path) -> None:
    key = ssh_key(tmp_path, "alice")
    known = allow(trust, f"alice@example.org {public(key)}")
    data = signed(repo, key)
    assert known.signer_of(data).owner
    revoke(trust, fingerprint(key), "left", AT)
    assert known.signer_of(data).reason == "SignerRevoked", "although the answer was remembered"


def test_the_root_names_the_owner_and_may_bar_a_key(repo: Repo, trust: Path, tmp_path: Path) -> None:
    key = ssh_key(tmp_path, "alice")
    known = allow(trust, f"alice@example.org {public(key)}")
    data = signed(repo, key)
    record_key(trust, Entry(fingerprint(key), AT, ("commits",), "alice"))
    assert known.signer_of(data).owner == "alice"
    record_key(trust, Entry(fingerprint(key), AT, ("status",), "ci"))
    assert known.signer_of(data).reason == "ReconcilerSigned"


def test_the_reconcilers_own_key_never_counts_for_a_spec(repo: Repo, trust: Path, tmp_path: Path) -> None:
    """Its commits verify, so that branch rules accept them; but a spec that it brought nobody vouches for."""
    made = new_key(tmp_path / "data", trust)
    assert made.private is not None
    assert made.public is not None
    pem = made.public.read_bytes()
    import base64

    known = allow(trust, f"ci@example.org ssh-ed25519 {base64.b64encode(ssh_blob(pem)).decode()}")
    data = raw(repo)
    head, _, message = data.partition(b"\n\n")
    armored = commit_signer(made.private)(data).replace("\n", "\n ").encode()
    answer = known.signer_of(head + b"\ngpgsig " + armored + b"\n\n" + message)
    assert (answer.reason, answer.key) == ("ReconcilerSigned", ssh_id_of(pem))


def test_no_program_of_the_users_settings_runs(repo: Repo, trust: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    script = repo.write("evil.sh", f"#!/bin/sh\ntouch {canary}\n")
    script.chmod(0o755)
    for setting in ("gpg.program", "gpg.ssh.program", "gpg.openpgp.program", "gpg.ssh.defaultKeyCommand"):
        repo.git("config", setting, str(script))
    key = ssh_key(tmp_path, "alice")
    known = allow(trust, f"alice@example.org {public(key)}")
    repo.git("config", "--unset", "gpg.ssh.program")
    data = signed(repo, key)
    repo.git("config", "gpg.ssh.program", str(script))
    canary.unlink(missing_ok=True)
    assert known.signer_of(data).owner
    assert not canary.exists()


def test_a_link_in_place_of_the_allowed_signers_is_refused(repo: Repo, trust: Path, tmp_path: Path) -> None:
    key = ssh_key(tmp_path, "alice")
    (tmp_path / "elsewhere").write_text(f"alice@example.org {public(key)}\n")
    (trust / "allowed_signers").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="symbolic link"):
        FolderTrust(trust).signer_of(signed(repo, key))


def test_a_missing_program_is_said(repo: Repo, trust: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ssh_key(tmp_path, "alice")
    known = allow(trust, f"alice@example.org {public(key)}")
    data = signed(repo, key)
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = known.signer_of(data)
    assert (answer.owner, answer.reason) == ("", "SignatureNotChecked")


def test_nobody_is_named_where_there_is_no_folder(tmp_path: Path, repo: Repo) -> None:
    nowhere = FolderTrust(tmp_path / "absent")
    assert not nowhere.names_signers()
    assert nowhere.signer_of(raw(repo)).reason == "CommitNotSigned"


# OpenPGP


@pytest.fixture
def gpg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A GnuPG home with the key of carol, and the file of her public key."""
    home = tmp_path / "g"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    quick = ["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", "Carol <carol@example.org>"]
    subprocess.run([*quick, "ed25519", "sign", "never"], check=True, capture_output=True)
    words = ["gpg", "--armor", "--export", "carol@example.org"]
    (tmp_path / "carol.asc").write_bytes(subprocess.run(words, check=True, capture_output=True).stdout)
    yield tmp_path / "carol.asc"
    subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=False, capture_output=True)


@pytest.mark.needs("gpg")
def test_an_openpgp_signature_is_the_owners_whose_file_holds_the_key(
    repo: Repo, trust: Path, gpg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.write("code/train.py", "pgp")
    repo.git("add", "-A")
    repo.git("-c", "user.signingKey=carol@example.org", "commit", "-q", "-S", "-m", "signed")
    data = raw(repo)
    known = FolderTrust(trust)
    assert known.signer_of(data).reason == "SignerNotAllowed", "the user's own keyring takes no part"
    (trust / "carol@example.org.asc").write_bytes(gpg.read_bytes())
    answer = known.signer_of(data)
    assert (answer.owner, len(answer.key)) == ("carol@example.org", 40)
    assert known.names_signers()
    assert known.signer_of(data.replace(b"\n\nsigned", b"\n\nevil")).reason == "CommitSignatureInvalid"
    revoke(trust, answer.key, "left", AT)
    assert known.signer_of(data).reason == "SignerRevoked"
    assert "GNUPGHOME" in os.environ
