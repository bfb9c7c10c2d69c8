"""The levels that a real run reaches: L3 in a container under the operator's trust root, and what each gap leaves."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.cli import Repo
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

    def push(self, *, signed: bool) -> None:
        """Alice's spec and code."""
        self.work.write("specs/isolated.yaml", SPEC.format(image=engines.image("BUSYBOX")))
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
