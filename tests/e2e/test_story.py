"""The whole story on real git, from a signed push to a proof on a machine without our code.

A run on a server, its status as a commit, a second person's approval, a review before the merge, a comparison, a
reproduction elsewhere, an export.

Alice writes experiments, the server runs them, Bob approves, Carol reproduces on another machine (simulated: the same
kernel with another machine id, its own user data and its own store). Everybody has keys of their own.
"""

import json
import os
import shlex
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli import ML, Repo
from tests.e2e.test_verify_independent import PYTHON, bare_python
from tests.e2e.test_workflows import readme_script

__all__ = ["bare_python"]
pytestmark = pytest.mark.needs("git", "ssh-keygen", "userns", "root", "tmpfs", "openssl", "index")


@dataclass
class Lab:
    """A bare repository, a trust root that only the operator writes, and everybody's place."""

    folder: Path

    @property
    def trust(self) -> Path:
        """The operator's trust root."""
        return self.folder / "trust-root"

    @property
    def origin(self) -> str:
        """The bare repository."""
        return str(self.folder / "origin.git")

    def person(self, name: str, **more: str) -> Repo:
        """A folder of their own with keys of their own; commits are signed with a key of their own."""
        home, key = self.folder / f"{name}-data", self.folder / f"{name}-ssh"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        config = self.folder / f"{name}-gitconfig"
        config.write_text(
            f"[user]\n\tname = {name}\n\temail = {name}@lab\n\tsigningKey = {key}\n"
            "[gpg]\n\tformat = ssh\n[commit]\n\tgpgSign = true\n[init]\n\tdefaultBranch = main\n"
        )
        signers = self.trust / "allowed_signers"
        public = " ".join(key.with_name(f"{key.name}.pub").read_text().split()[:2])
        before = signers.read_text() if signers.exists() else ""
        signers.write_text(f'{before}{name}@lab namespaces="git" {public}\n')
        own = {"XDG_DATA_HOME": str(home), "GIT_CONFIG_GLOBAL": str(config), "FETCHML_TRUST_ROOT": str(self.trust)}
        return Repo(self.folder / name, {**own, **more})


def git(repo: Repo, *words: str) -> str:
    """git, as this person."""
    environment = {**os.environ, **repo.environment}
    done = subprocess.run(["git", *words], cwd=repo.root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def clone(lab: Lab, repo: Repo) -> Repo:
    """Their clone of the repository."""
    git(Repo(lab.folder, repo.environment), "clone", "-q", lab.origin, str(repo.root))
    return repo


def commit(repo: Repo, message: str) -> None:
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", message)


def push(repo: Repo) -> None:
    git(repo, "pull", "-q", "--rebase", "origin", "main")
    git(repo, "push", "-q", "origin", "HEAD:main")


def status(repo: Repo) -> Mapping[str, Any]:
    """What the server committed into the spec, after a pull."""
    import yaml

    git(repo, "pull", "-q", "--rebase", "origin", "main")
    found: Mapping[str, Any] = yaml.safe_load((repo.root / "specs" / "first.yaml").read_text())["status"]
    return found


def caps(found: Mapping[str, Any]) -> set[str]:
    return {cap["reason"] for cap in found.get("trustCaps", ())}


def elsewhere(repo: Repo, machine_id: Path, *words: str) -> Any:
    """`ml` in a mount namespace where this host has another machine id; its JSON."""
    command = shlex.join([ML, *words, "-o", "json"])
    script = f"mount --bind {shlex.quote(str(machine_id))} /etc/machine-id && exec {command}"
    environment = {**os.environ, **repo.environment}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], cwd=repo.root, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    found = Lab(tmp_path)
    found.trust.mkdir()
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", found.origin], check=True)
    return found


def begun(lab: Lab) -> Repo:
    """Alice's first push."""
    alice = lab.person("alice")
    alice.root.mkdir()
    alice.ml("init")
    git(alice, "remote", "add", "origin", lab.origin)
    commit(alice, "First experiment")
    git(alice, "push", "-q", "origin", "HEAD:main")
    return alice


def test_the_whole_story(lab: Lab, tmp_path: Path, bare_python: Path) -> None:
    server = lab.person("server", FETCHML_REQUIRE_APPROVAL="true")
    server.root.mkdir()
    server.ml("key", "new", "--owner", "server@lab", "--use", "runs")
    alice = begun(lab)

    # pushed, but nobody approved: it waits, and says so in a commit
    work = ("reconcile", lab.origin, "--once")
    server.ml(*work)
    waiting = status(alice)
    assert (waiting["phase"], "ApprovalMissing" in json.dumps(waiting)) == ("Waiting", True)

    # a second person's signed approval of this very plan
    bob = lab.person("bob")
    clone(lab, bob).ml("key", "new", "--owner", "bob@lab", "--use", "approvals")
    assert waiting["planSha256"] in bob.ml("approve", "specs/first.yaml", "--plan", waiting["planSha256"]).out
    commit(bob, "Approve the first plan")
    push(bob)

    # it runs; the status commit comes back; nothing but the shared user of this host holds the level down
    server.ml(*work)
    done = status(alice)
    assert (done["phase"], done["trustLevel"]) == ("Succeeded", "L1")
    assert not caps(done) & {"SubmitterIsReconciler", "CommitNotSigned", "NoSigningKey", "RunCanForge"}
    first = str(done["run"]["id"])
    assert "approved by bob@lab" in server.ml("verify", first).out
    assert "[skip ci]" in git(alice, "log", "-1", "--format=%s")

    # a branch is reviewed before it is merged
    git(alice, "checkout", "-qb", "faster")
    spec = alice.root / "specs" / "first.yaml"
    spec.write_text(spec.read_text().replace("lr: 1e-1", "lr: 2e-1"))
    commit(alice, "Learn faster")
    review = alice.ml("explain", "specs", "--against", "origin/main", "-o", "json", code=None).json
    (item,) = review["items"]
    assert {"parameters.lr"} <= {change["field"] for change in item["changes"]}
    assert (item["change"], item["planBefore"]) == ("changed", done["planSha256"])
    assert "refused: PlanChangedSinceApproval" in item["meaning"], "what Bob approved is another plan"
    push(alice)
    git(alice, "checkout", "-q", "main")
    git(bob, "pull", "-q", "origin", "main")
    bob.ml("approve", "specs/first.yaml", "--plan", item["planSha256"])
    commit(bob, "Approve the faster plan")
    push(bob)
    server.ml(*work)
    second = str(status(alice)["run"]["id"])

    # compared: the plan first, then what came of it
    compared = server.ml("compare", first, second, "-o", "json").json
    rows = {row["field"]: row for row in compared["sections"]["parameters"]}
    assert (compared["samePlan"], rows["parameters.lr"]["b"]) == (False, 0.2)
    assert compared["a"]["verified"] is compared["b"]["verified"] is True

    # reproduced by somebody else, on another machine, from the archive alone
    server.ml("export", first, "--to", "first.tar")
    carol = lab.person("carol")
    clone(lab, carol).ml("key", "new", "--owner", "carol@lab", "--use", "runs")
    carol.ml("key", "new", "--owner", "carol@lab", "--use", "comparisons")
    machine = tmp_path / "machine-id"
    machine.write_text("0123456789abcdef0123456789abcdef\n")
    archive = str(server.root / "first.tar")
    answer = elsewhere(carol, machine, "reproduce", archive, "--in", str(tmp_path / "again"))
    assert (answer["reproduced"], answer["elsewhere"]) == (True, True)
    assert {each["outcome"] for each in answer["fields"]} == {"equal"}

    # the evidence joins the run, and everything is handed over in one file
    evidence = Path(answer["comparison"]).parent
    subprocess.run(["cp", "-r", str(evidence), str(server.folder(first))], check=True)
    verified = server.ml("verify", first).out
    assert "a re-run elsewhere gave the same" in verified
    server.ml("export", first, "--to", "proved.tar")
    assert server.ml("verify", "proved.tar").out.endswith(": verified\n")
    _prove_without_us(server.root / "proved.tar", tmp_path / "nobody", bare_python)


def _prove_without_us(archive: Path, place: Path, python: Path) -> None:
    """With OpenSSL as the archive's own README says, and with securesystemslib in an environment without our code."""
    with tarfile.open(archive) as content:
        content.extractall(place, filter="data")
    (run,) = place.iterdir()
    bare = {"PATH": "/usr/bin:/bin", "RUN": str(run), "TRUST": str(run / "trust")}
    shell = ["sh", "-c", readme_script(run)]
    done = subprocess.run(shell, cwd=run, env=bare, capture_output=True, text=True, check=False)
    assert "Signature Verified Successfully" in done.stdout, done.stderr
    assert "results/model.json: OK" in done.stdout
    library = [str(python), "-I", "-c", PYTHON]
    done = subprocess.run(library, env=bare, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("trust level FETCHML_L1\n"), done.stderr
    with (run / "results" / "model.json").open("a") as file:
        file.write(" ")
    for command in (shell, library):
        assert subprocess.run(command, cwd=run, env=bare, capture_output=True, check=False).returncode != 0
