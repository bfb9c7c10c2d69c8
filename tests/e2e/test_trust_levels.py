"""The levels that a real run reaches: L3 in a container under the operator's trust root, and what each gap leaves."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.cli import ML, Repo
from tests.testbed import engines

pytestmark = pytest.mark.needs("git", "ssh-keygen", "docker")

SPEC = """\
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata:
  name: isolated
spec:
  source:
    git: {{path: code}}
  environment: {{image: "{image}"}}
  command: [sh, train.sh, $(results)]
  outputs: [{{name: model, path: model.txt}}]
  resources: {{cpu: "1", memory: 64Mi, disk: 16Mi}}
  reproducibility: {{minTrustLevel: L3}}
"""


class Lab:
    """A bare repository to which Alice pushes signed commits, and a reconciler with an operator's trust root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f", str(folder / "alice")]
        subprocess.run(words, check=True, capture_output=True)
        self.bare = folder / "central.git"
        self.work = Repo(folder / "work")
        self.host = Repo(folder / "host", self.settings())
        self.work.root.mkdir()
        self.host.root.mkdir()
        self.work.git("init", "-q", "-b", "main")
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(self.bare)], check=True)

    def settings(self) -> dict[str, str]:
        """Of the operator."""
        return {
            "XDG_DATA_HOME": str(self.folder / "keys"),
            "FETCHML_TRUST_ROOT": str(self.folder / "operator"),
            "FETCHML_RUNTIME": "docker",
            "FETCHML_ENGINE": engines.host("docker"),
        }

    def trust(self) -> None:
        """The operator's key, and Alice as one who may sign commits."""
        self.host.ml("key", "new", "--owner", "lab@example.org")
        public = " ".join((self.folder / "alice.pub").read_text().split()[:2])
        (self.folder / "operator" / "allowed_signers").write_text(f"alice@example.org {public}\n")

    def push(self, *, signed: bool, spec: str = SPEC) -> None:
        """Alice's spec and code."""
        self.work.write("specs/isolated.yaml", spec.format(image=engines.image("BUSYBOX")))
        self.work.write("code/train.sh", 'echo trained > "$1/model.txt"\n')
        self.work.git("add", "-A")
        options = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={self.folder / 'alice'}"] if signed else []
        self.work.git(*options, "commit", "-q", *(["-S"] if signed else []), "-m", "first")
        self.work.git("push", "-q", str(self.bare), "main")

    def reconcile(self) -> dict[str, object]:
        """Once; the status afterwards."""
        self.host.ml("reconcile", str(self.bare), "--branch", "main", "--path", "specs", "--once")
        status: dict[str, object] = self.host.ml("status", "isolated", "-o", "json").json["items"][0]["status"]
        return status


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_a_signed_commit_in_a_container_reaches_l3(lab: Lab) -> None:
    lab.trust()
    lab.push(signed=True)
    status = lab.reconcile()
    assert (status["phase"], status["trustLevel"]) == ("Succeeded", "L3"), json.dumps(status, indent=1)
    assert {cap["reason"] for cap in status["trustCaps"]} == {"NotReviewed", "NotReproduced", "ComparisonNotSigned"}  # type: ignore[attr-defined]  # a list of caps
    run = lab.host.run_id("isolated")
    verdict = lab.host.ml("verify", run, "-o", "json").json
    assert "recomputes to L3" in {check["message"] for check in verdict["checks"]}
    manifest = json.loads((lab.host.folder(run) / "run_manifest.json").read_bytes())
    assert manifest["submission"]["signers"] == ["alice@example.org"] * len(manifest["submission"]["commits"])
    assert manifest["runtime"]["reconciler_uid"] == os.getuid()


def test_without_a_signature_it_does_not_start_where_l3_is_required(lab: Lab) -> None:
    lab.trust()
    lab.push(signed=False)
    status = lab.reconcile()
    assert status["phase"] == "Blocked"
    assert "CommitNotSigned" in json.dumps(status)


BARE = """\
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata:
  name: isolated
spec:
  environment: {{image: "{image}"}}
  command: [sh, -c, 'echo trained > "$1/model.txt"', train, $(results)]
  outputs: [{{name: model, path: model.txt}}]
  resources: {{cpu: "1", memory: 64Mi, disk: 16Mi}}
  reproducibility: {{minTrustLevel: L3}}
"""


@pytest.mark.needs("root", "unshare")
def test_two_reviewers_and_a_signed_reproduction_elsewhere_reach_l4(lab: Lab) -> None:
    """The other machine is simulated: another machine id in a mount namespace, another store; the reviewers are not."""
    lab.trust()
    lab.push(signed=True, spec=BARE)
    for name in ("bob", "carol"):
        mine = {**lab.settings(), "XDG_DATA_HOME": str(lab.folder / name)}
        lab.work.ml("key", "new", "--owner", f"{name}@example.org", "--use", "approvals", **mine)
        lab.work.ml("approve", "specs/isolated.yaml", **mine)
    lab.work.git("add", "-A")
    lab.work.git("commit", "-qm", "approve")
    lab.work.git("push", "-q", str(lab.bare), "main")
    status = lab.reconcile()
    assert status["trustLevel"] == "L3", json.dumps(status, indent=1)
    assert {cap["reason"] for cap in status["trustCaps"]} == {"NotReproduced", "ComparisonNotSigned"}  # type: ignore[attr-defined]  # a list of caps
    lab.host.ml("key", "new", "--owner", "other-lab@example.org", "--use", "comparisons")
    run = lab.host.run_id("isolated")
    machine = lab.folder / "machine-id"
    machine.write_text("0123456789abcdef0123456789abcdef\n")
    script = f"mount --bind {machine} /etc/machine-id && exec {ML} reproduce {run} --in {lab.folder / 'there'} -o json"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], cwd=lab.host.root, env={**os.environ, **lab.settings()},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lab.host.ml("verify", run, "--renew")
    checks = lab.host.ml("verify", run, "-o", "json").json["checks"]
    assert "recomputes to L4" in {check["message"] for check in checks}
