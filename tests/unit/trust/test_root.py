"""What a key may do: what the trust root says, and without a word the least."""

import pytest

from controller.trust.keyid import ssh_id_of
from controller.trust.root import USES, Entry, RootError, TrustRoot, parse_root
from tests.fakes.signer import FakeSigner

KEY, OTHER = FakeSigner(1), FakeSigner(2)
AT = "2026-01-02T03:04:05Z"
SSH, PGP = "SHA256:" + "a" * 43, "A" * 40


def line(key: str = KEY.key_id, at: str = AT, uses: str = "runs", owner: str = "alice") -> str:
    return f"{key} {at} {uses} {owner}"


def test_a_line_says_whose_and_what_for() -> None:
    text = f"# the team\n\n{line(uses='comparisons,approvals')}\n{line(SSH, uses='commits', owner='bob')}\n"
    assert parse_root(text) == {
        KEY.key_id: Entry(KEY.key_id, AT, ("approvals", "comparisons"), "alice"),
        SSH: Entry(SSH, AT, ("commits",), "bob"),
    }
    assert parse_root(line(PGP, uses="commits"))[PGP].line() == line(PGP, uses="commits")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "root:1: not a key"),
        (line(key="0" * 63), "not a key"),
        (line(key="a" * 40), "not a key"),
        (line(at="yesterday"), "not a key"),
        (f"{KEY.key_id} {AT} runs", "not a key"),
        (line(uses="everything"), "everything is no use of a key; write runs,approvals,comparisons,commits,status"),
        (line(uses="runs,"), "no use"),
        (f"{line()}\n{line(owner='bob')}", "root:2: the key .* stands twice"),
    ],
)
def test_what_cannot_be_understood_is_an_error_and_no_empty_root(text: str, words: str) -> None:
    with pytest.raises(RootError, match=words):
        parse_root(text)


def test_without_a_word_a_key_may_do_the_least() -> None:
    root = TrustRoot(KEY.trust_root)
    assert root.uses(KEY.key_id) == ("runs",)
    assert root.uses(OTHER.key_id) == ()
    assert root.uses(SSH) == root.uses(PGP) == ("commits",)
    assert root.uses(ssh_id_of(KEY.public_pem)) == ("status",), "who records runs brings no specs"
    assert root.owner(KEY.key_id) == ""


def test_a_word_decides_and_a_revocation_outweighs_it() -> None:
    ssh = ssh_id_of(KEY.public_pem)
    entries = parse_root(f"{line(uses=','.join(USES))}\n{line(ssh, uses='commits')}\n{line(OTHER.key_id)}\n")
    root = TrustRoot(KEY.trust_root | OTHER.trust_root, entries)
    assert root.uses(KEY.key_id) == USES
    assert root.uses(ssh) == ("commits",)
    assert root.keys_for("approvals") == KEY.trust_root
    assert root.keys_for("runs").keys() == {KEY.key_id, OTHER.key_id}
    gone = TrustRoot(root.keys, entries, frozenset({KEY.key_id, ssh}))
    assert gone.uses(KEY.key_id) == gone.uses(ssh) == ()
    assert gone.keys_for("approvals") == KEY.trust_root, "so that it is called revoked, not unknown"
