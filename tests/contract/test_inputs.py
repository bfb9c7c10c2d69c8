"""What every Inputs promises: the fake for reconciler tests and the one that looks at this host."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from controller.api.canonical import digest_bytes
from controller.api.experiment import DatasetRef, Dependencies, GitSource, Source
from controller.facts.facts import DatasetFacts, GitFacts
from controller.inputs.local import InputSettings
from controller.inputs.secrets import SecretDeclaration
from controller.ports.inputs import Inputs
from tests.fakes.inputs import FakeInputs
from tests.fakes.repo import Repo, ready_repo

pytestmark = pytest.mark.needs("git")

LOCK = b"numpy==1.26.4 --hash=sha256:" + b"a" * 64 + b"\n"
DATA = b"x"
SOURCE = GitSource(path="code")


@dataclass(frozen=True)
class Bench:
    """Some Inputs, and a spec whose code holds train.py and a lock, beside a data file of one byte."""

    inputs: Inputs
    repo: Repo

    @property
    def git(self) -> GitFacts:
        """Facts of the repository."""
        facts = self.inputs.git_facts(self.repo.document(), SOURCE)
        assert facts is not None
        return facts

    def dataset(self, uri: str = "file:ignored.bin") -> DatasetFacts:
        """Facts of the data file."""
        reference = DatasetRef(name="d", uri=uri, sha256=digest_bytes(DATA))
        return self.inputs.dataset_facts(self.repo.document(), self.git, reference)


def local(repo: Repo, folder: Path) -> Inputs:
    """The adapter."""
    (folder / "secret").write_text("value\n")
    mine = SecretDeclaration("mine", file=folder / "secret", subjects=("default/*",))
    theirs = SecretDeclaration("theirs", file=folder / "secret", subjects=("other/*",))
    return repo.inputs(InputSettings(secrets=(mine, theirs)))


def fake(repo: Repo, folder: Path) -> Inputs:
    """The fake, set to the same world."""
    commit = repo.git("rev-parse", "HEAD")
    return FakeInputs(
        folder,
        git=GitFacts(True, repo=".", commit=commit, exists=True, reachable=True, path_exists=True),
        files={"train.py": b"print('hello')\n", "requirements.lock": LOCK},
        locks={"requirements.lock": LOCK},
        secrets={"mine": "value", "theirs": "value"},
        denied=frozenset({"theirs"}),
    )


@pytest.fixture(params=[local, fake], ids=["local", "fake"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """Each adapter in turn, in the same world."""
    repo = ready_repo(tmp_path / "repo")
    repo.write("code/requirements.lock", LOCK)
    repo.commit()
    repo.write("ignored.bin", DATA)
    return Bench(request.param(repo, tmp_path), repo)


def test_a_clean_committed_spec(bench: Bench) -> None:
    git = bench.git
    assert (git.found, git.exists, git.reachable, git.path_exists, git.dirty) == (True, True, True, True, ())
    assert git.commit == bench.repo.git("rev-parse", "HEAD")


def test_the_exported_source(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    bench.inputs.export_source(bench.repo.spec, SOURCE, bench.git.commit or "", tmp_path / "workspace")
    found = {place.name: place.read_bytes() for place in (tmp_path / "workspace").iterdir()}
    assert found == {"train.py": b"print('hello')\n", "requirements.lock": LOCK}


def test_the_lock(bench: Bench) -> None:
    there = Dependencies(manifest="requirements.lock")
    facts = bench.inputs.lock_facts(bench.git, Source(git=SOURCE), there, bench.repo.spec)
    assert (facts.found, facts.sha256, facts.packages, facts.unpinned) == (True, digest_bytes(LOCK), 1, ())
    assert bench.inputs.read_lock(bench.repo.spec, Source(git=SOURCE), bench.git.commit, "requirements.lock") == LOCK
    absent = bench.inputs.lock_facts(bench.git, Source(git=SOURCE), Dependencies(manifest="none.lock"), bench.repo.spec)
    assert not absent.found
    with pytest.raises(LookupError):
        bench.inputs.read_lock(bench.repo.spec, Source(git=SOURCE), bench.git.commit, "none.lock")


def test_a_dataset_before_and_after_the_run(bench: Bench, tmp_path: Path) -> None:
    facts = bench.dataset()
    assert (facts.found, facts.sha256, facts.size, facts.files, facts.tracked) == (
        True,
        digest_bytes(DATA),
        1,
        1,
        False,
    )
    assert bench.inputs.stage_dataset(bench.repo.spec, bench.git, facts, tmp_path / "unused").read_bytes() == DATA
    assert not (tmp_path / "unused").exists()
    assert bench.inputs.rehash(facts, bench.repo.spec) == facts


def test_a_tracked_dataset_is_staged_as_often_as_asked(bench: Bench, tmp_path: Path) -> None:
    bench.repo.commit(**{"data.bin": "x", "code/new": "1"})
    facts = replace(bench.dataset("file:data.bin"), tracked=True)
    for _ in range(2):
        git = bench.inputs.git_facts(bench.repo.document(), SOURCE)
        staged = bench.inputs.stage_dataset(bench.repo.spec, git, facts, tmp_path / "deep/data")
        assert (staged, staged.read_bytes()) == (tmp_path / "deep/data", DATA)


def test_secrets(bench: Bench) -> None:
    look = bench.inputs.secret_facts
    assert [
        (look(n, "default", "a").declared, look(n, "default", "a").allowed) for n in ("mine", "theirs", "none")
    ] == [
        (True, True),
        (True, False),
        (False, False),
    ]
    assert bench.inputs.secret_value("mine") == "value"
    with pytest.raises(LookupError):
        bench.inputs.secret_value("none")


def test_a_snapshot_that_is_not_there(bench: Bench) -> None:
    facts = bench.inputs.snapshot_facts("sha256:" + "a" * 64)
    assert (facts.found, facts.verified) == (False, False)


def test_an_environment_is_built_once(bench: Bench) -> None:
    interpreter = bench.inputs.interpreter_facts(None)
    assert interpreter.found
    assert not bench.inputs.environment_ready(None, interpreter)
    place = bench.inputs.build_environment(None, interpreter)
    assert place.is_dir()
    assert bench.inputs.environment_ready(None, interpreter)
    assert bench.inputs.build_environment(None, interpreter) == place
