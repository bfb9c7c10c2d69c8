"""Who may run what, by the command line on real git: signed commits, signed approvals, levels, policies, bundles."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.cli import QUICK, Repo, spec

pytestmark = pytest.mark.needs("git", "ssh-keygen")

POLICY = """\
apiVersion: fetchml.dev/v1alpha1
kind: TrustPolicy
metadata:
  name: people
spec:
  rules:
    - minTrustLevel: L0
      paths: ["specs/prod/*"]
      requireSignedCommits: true
      submitters: [{user: alice@example.org}]
      approvers: [{user: bob@example.org}]
"""


def ssh_key(folder: Path, name: str) -> Path:
    """A new SSH key pair; its private half."""
    path = folder / name
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
    subprocess.run(words, check=True, capture_output=True)
    return path


@pytest.fixture
def team(project: Repo, tmp_path: Path) -> Repo:
    """A repository whose policy lets Alice submit to specs/prod, and Bob approve it."""
    for name in ("alice", "mallory"):
        ssh_key(tmp_path, name)
    public = " ".join((tmp_path / "alice.pub").read_text().split()[:2])
    project.write("trust/allowed_signers", f"alice@example.org {public}\n")
    project.write("specs/prod/policy.yaml", POLICY)
    project.write("specs/prod/model.yaml", spec("model", QUICK))
    project.git("add", "-A")
    sign(project, tmp_path / "alice", "the model")
    return project


def sign(repo: Repo, key: Path, message: str) -> None:
    """Commit what is staged, signed."""
    repo.git("-c", "gpg.format=ssh", "-c", f"user.signingKey={key}", "commit", "-q", "-S", "-m", message)


def rules(repo: Repo, name: str = "model") -> dict[str, tuple[str, str]]:
    """Rule to verdict and reason."""
    found = repo.ml("explain", f"specs/prod/{name}.yaml", "-o", "json", code=None).json["preflight"]["rules"]
    return {rule["rule"]: (rule["verdict"], rule["reason"]) for rule in found}


def test_a_signed_spec_runs_once_a_second_person_has_signed_its_plan(team: Repo, tmp_path: Path) -> None:
    assert rules(team)["submitter"] == ("Pass", "Passed")
    assert rules(team)["approval"] == ("Wait", "ApprovalMissing")
    bob = {"XDG_DATA_HOME": str(tmp_path / "bob")}
    assert "not signed" in team.ml("approve", "specs/prod/model.yaml", **bob).err
    assert rules(team)["approval"] == ("Wait", "ApprovalMissing"), "a note in the store is no signature"
    team.ml("key", "new", "--owner", "bob@example.org", "--use", "approvals", **bob)
    done = team.ml("approve", "specs/prod/model.yaml", "--comment", "looks right", **bob)
    (approval,) = (team.root / "approvals" / "default" / "model").iterdir()
    assert str(approval) in done.out
    assert rules(team)["approval"] == ("Pass", "Passed")
    team.ml("run", "specs/prod/model.yaml")
    checks = team.ml("verify", "model", "--policy", "specs/prod", "-o", "json").json["checks"]
    said = [check["message"] for check in checks if check["name"] in ("approval", "policy")]
    assert "the plan was approved by bob@example.org" in said
    assert "its spec was signed by alice@example.org" in said
    assert "its plan was approved by bob@example.org" in said


def test_whoever_changes_a_spec_must_be_allowed_to(team: Repo, tmp_path: Path) -> None:
    path = team.root / "specs" / "prod" / "model.yaml"
    path.write_text(path.read_text().replace("done", "evil"))
    assert rules(team)["submitter"] == ("Refuse", "CommitNotSigned"), "not committed"
    team.git("add", "-A")
    team.git("commit", "-qm", "unsigned")
    assert rules(team)["submitter"] == ("Refuse", "CommitNotSigned")
    team.git("commit", "-q", "--amend", "--no-edit", "-m", "again")
    team.git("-c", "gpg.format=ssh", "-c", f"user.signingKey={tmp_path / 'mallory'}", "commit", "-q", "-S", "--amend",
             "-m", "by mallory")  # fmt: skip
    refused = team.ml("run", "specs/prod/model.yaml", code=4)
    assert "SignerNotAllowed" in refused.out + refused.err
    team.git("checkout", "--", ".")  # the status that the refusal left
    team.git("revert", "--no-edit", "HEAD")
    assert rules(team)["submitter"] == ("Refuse", "CommitNotSigned"), "the revert is not signed either"
    team.git("-c", "gpg.format=ssh", "-c", f"user.signingKey={tmp_path / 'alice'}", "commit", "-q", "-S", "--amend",
             "--no-edit")  # fmt: skip
    assert rules(team)["submitter"] == ("Pass", "Passed")


def test_the_operators_policy_and_trust_root_outweigh_the_repository(team: Repo, tmp_path: Path) -> None:
    """Whoever may write to the repository can drop its policy and trust their own key; the operator's stay."""
    operators = tmp_path / "operator"
    (operators / "trust").mkdir(parents=True)
    (operators / "policy.yaml").write_text(POLICY.replace("approvers", "# approvers"))
    mine = " ".join((tmp_path / "mallory.pub").read_text().split()[:2])
    team.write("trust/allowed_signers", f"alice@example.org {mine}\n")
    (team.root / "specs" / "prod" / "policy.yaml").unlink()
    path = team.root / "specs" / "prod" / "model.yaml"
    path.write_text(path.read_text().replace("done", "evil"))
    team.git("add", "-A")
    sign(team, tmp_path / "mallory", "takeover")
    assert rules(team)["submitter"] == ("Pass", "Passed"), "the repository's own word"
    alice = " ".join((tmp_path / "alice.pub").read_text().split()[:2])
    (operators / "trust" / "allowed_signers").write_text(f"alice@example.org {alice}\n")
    settings = {
        "FETCHML_TRUST_ROOT": str(operators / "trust"),
        "FETCHML_TRUST_POLICIES": str(operators / "policy.yaml"),
    }
    found = team.ml("explain", "specs/prod/model.yaml", "-o", "json", code=4, **settings).json["preflight"]["rules"]
    assert [rule["reason"] for rule in found if rule["rule"] == "submitter"] == ["CommitNotSigned"]


def test_a_settings_file_that_names_a_wrong_policy_is_said(team: Repo) -> None:
    for file, words in (("absent.yaml", "absent.yaml"), ("specs/prod/model.yaml", "only TrustPolicy")):
        done = team.ml("explain", "specs/prod/model.yaml", code=2, FETCHML_TRUST_POLICIES=file)
        assert words in done.err


def test_caps_of_a_workstation_are_said_with_their_reason(team: Repo) -> None:
    trust = team.ml("explain", "specs/first.yaml", "-o", "json").json["trust"]
    reasons = {cap["reason"]: cap for cap in trust["caps"]}
    assert trust["level"] == "L1"
    assert {"SubmitterIsReconciler", "RunSharesKeyOwner", "ProcessRuntime", "NotReviewed"} <= reasons.keys()
    assert "it is not signed" in reasons["CommitNotSigned"]["message"]
    prod = team.ml("explain", "specs/prod/model.yaml", "-o", "json", code=None).json["trust"]
    assert "CommitNotSigned" not in {cap["reason"] for cap in prod["caps"]}


def test_keys_are_listed_with_owner_uses_and_revocation(project: Repo) -> None:
    project.ml("key", "new", "--use", "approvals", code=2)
    project.ml("key", "new", "--owner", "bob@example.org", "--use", "approvals", "--use", "comparisons")
    keys = {each["owner"]: each for each in project.ml("key", "list", "-o", "json").json["items"]}
    assert keys["bob@example.org"]["uses"] == ["approvals", "comparisons"]
    assert keys["bob@example.org"]["since"].endswith("Z")
    project.ml("key", "rotate", "--use", "approvals")
    both = [each for each in project.ml("key", "list", "-o", "json").json["items"] if each["owner"]]
    assert [each["uses"] for each in both] == [["approvals", "comparisons"]] * 2
    project.ml("key", "revoke", both[1]["keyId"], "--reason", "rotated")
    (gone,) = [each for each in project.ml("key", "list", "-o", "json").json["items"] if each["revoked"]]
    assert (gone["uses"], gone["revokedAt"][-1]) == ([], "Z")
    assert "bob@example.org" in project.ml("key", "list", "-o", "wide").out


def test_a_bundle_verifies_anywhere_and_says_what_its_keys_prove(ran: Repo, tmp_path: Path) -> None:
    away = Repo(tmp_path)
    archive = tmp_path / "hello.tar"
    ran.ml("export", "hello", "--to", str(archive))
    assert "--bundled-keys" in away.ml("verify", str(archive), code=5).err
    done = away.ml("verify", str(archive), "--bundled-keys")
    assert "compare their ids" in done.err
    away.ml("verify", str(archive), "--trust", str(ran.root / "trust"))
    subprocess.run(["tar", "-xf", str(archive)], cwd=tmp_path, check=True)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    away.ml("verify", str(folder), "--trust", str(ran.root / "trust"))
    away.ml("verify", str(folder / "attestation.dsse.json"), "--trust", str(ran.root / "trust"))
    (folder / "run.log").write_text("other")
    failed = away.ml("verify", str(folder), "--bundled-keys", "-o", "json", code=4).json
    assert [check["reason"] for check in failed["checks"] if not check["ok"]] == ["SubjectMismatch"]
    quick = away.ml("verify", str(folder), "--bundled-keys", "--no-rehash", "-o", "json").json
    assert any("not hashed again" in check["message"] for check in quick["checks"])


def test_a_verdict_is_renewed_only_where_the_evidence_gives_more(ran: Repo, tmp_path: Path) -> None:
    assert "gives no more" in ran.ml("verify", "hello", "--renew").err
    archive = tmp_path / "hello.tar"
    ran.ml("export", "hello", "--to", str(archive))
    ran.ml("verify", str(archive), "--renew", code=2)


def test_a_policy_file_without_a_policy_is_an_error(ran: Repo) -> None:
    assert "no TrustPolicy" in ran.ml("verify", "hello", "--policy", "specs/hello.yaml", code=5).err
    too_low = ran.root / "strict.yaml"
    too_low.write_text(POLICY.replace("L0", "L3"))
    found = ran.ml("verify", "hello", "--policy", str(too_low), "-o", "json", code=4).json
    assert {check["reason"] for check in found["checks"] if not check["ok"]} == {
        *("TrustLevelTooLow", "CommitNotSigned", "ApprovalMissing")
    }
    assert json.dumps(found).count('"policy"') == 3
