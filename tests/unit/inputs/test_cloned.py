"""What inputs say of specs that were read from a bare clone, and the objects of our commits."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from controller.api.documents import Document, load
from controller.api.experiment import Experiment, GitSource
from controller.facts.facts import GitFacts
from controller.inputs.cloned import CloneInputs
from controller.inputs.export import ExportError
from controller.inputs.local import InputSettings
from controller.inputs.packs import Conflict, NewObject, pack, rewritten
from controller.inventory.clock import SystemClock
from controller.ports.repository import RepositoryTroubleError
from controller.sources.git import Branches, BranchSource
from controller.stores.objects import FileObjects
from controller.trust.approval import FOLDER
from tests.fakes.source import spec
from tests.fakes.upstream import Upstream

pytestmark = pytest.mark.needs("git")


class Lab:
    """A repository, its clone, and inputs that read it."""

    def __init__(self, root: Path) -> None:
        self.upstream = Upstream.make(root / "up.git")
        self.spec = spec("a").replace("spec:\n", "spec:\n  source: {git: {path: code}}\n")
        self.first = self.upstream.put(
            {"specs/a.yaml": self.spec.encode(), "code/go.sh": b"echo 1\n", "data.csv": b"1"}
        )
        self.clone = self.upstream.clone(root, SystemClock())
        self.source = BranchSource(self.clone, Branches("main", "specs"), SystemClock())
        self.source.poll()
        objects = FileObjects(root / "objects")
        self.inputs = CloneInputs(root, root / "base", objects, InputSettings(), clone=self.clone.folder)

    def document(self) -> Document:
        """The spec as of the last look."""
        (key,) = self.source.keys()
        return self.source.get(key)[0]

    def facts(self, document: Document | None = None) -> GitFacts:
        """Git facts of the spec."""
        document = document or self.document()
        assert isinstance(document.model, Experiment)
        assert document.model.spec.source
        found = self.inputs.git_facts(document, document.model.spec.source.git)
        assert found
        return found

    def report(self) -> str:
        """Push a status; the commit that holds it."""
        self.source.write_status(self.document(), {"phase": "Succeeded"})
        assert self.source.flush() == 1
        return self.upstream.tip


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_the_commit_is_the_newest_that_changed_the_spec_or_its_code(lab: Lab) -> None:
    assert lab.facts().commit == lab.first
    lab.report()
    lab.upstream.put({"README": b"x"})
    lab.source.poll()
    facts = lab.facts()
    assert (facts.commit, facts.dirty, facts.pushed, facts.reachable) == (lab.first, (), True, True)
    code = lab.upstream.put({"code/go.sh": b"echo 2\n"})
    lab.source.poll()
    assert lab.facts().commit == code


def test_what_was_fetched_but_not_looked_at_does_not_count(lab: Lab) -> None:
    lab.upstream.put({"code/go.sh": b"echo 2\n"})
    before = lab.inputs.fingerprint()
    lab.source.refresh()
    assert lab.facts().commit == lab.first
    assert lab.inputs.fingerprint() == before
    lab.source.poll()
    assert lab.facts().commit != lab.first
    assert lab.inputs.fingerprint() != before


def test_a_spec_that_is_not_the_one_of_the_commit_is_dirty(lab: Lab) -> None:
    old = lab.document()
    lab.upstream.put({"specs/a.yaml": (lab.spec + "  seed: 7\n").encode()})
    lab.source.poll()
    assert lab.facts(old).dirty == ("specs/a.yaml",)
    assert lab.facts().dirty == ()


def test_a_stated_commit_must_be_in_the_branch(lab: Lab) -> None:
    side = lab.upstream.git("commit-tree", f"{lab.first}^{{tree}}", "-m", "side")
    for commit, exists, reachable in ((lab.first, True, True), (side, False, False), ("0" * 40, False, False)):
        source = GitSource(path="code", commit=commit)
        facts = lab.inputs.git_facts(lab.document(), source)
        assert facts
        assert (facts.exists, facts.reachable) == (exists, reachable)


def test_another_repository_is_said_not_to_be_supported(lab: Lab) -> None:
    facts = lab.inputs.git_facts(lab.document(), GitSource(repo="https://example.org/x.git"))
    assert facts
    assert not facts.found
    assert "not supported" in facts.error


def test_code_and_tracked_data_come_from_the_commit(lab: Lab, tmp_path: Path) -> None:
    facts = lab.facts()
    assert facts.commit
    lab.inputs.export_source("specs/a.yaml", GitSource(path="code"), facts.commit, tmp_path / "out")
    assert (tmp_path / "out" / "go.sh").read_text() == "echo 1\n"
    with pytest.raises(ExportError):
        lab.inputs.export_source("specs/a.yaml", GitSource(path="absent"), facts.commit, tmp_path / "none")
    (document,) = load(
        (lab.spec + "  datasets: [{name: d, uri: 'file:data.csv'}]\n").encode(), "specs/a.yaml"
    ).documents
    assert isinstance(document.model, Experiment)
    found = lab.inputs.dataset_facts(document, facts, document.model.spec.datasets[0])
    assert (found.found, found.tracked, found.size) == (True, True, 1)


def test_our_status_commits_vouch_for_nothing(lab: Lab) -> None:
    """A signature counts where the user part came from; the reconciler's own commits are never asked for theirs."""
    ours = lab.report()
    (document, facts) = lab.document(), lab.facts()
    submission = lab.inputs.submission(document, facts)
    assert [commit for commit, _ in submission.commits] == [lab.first]
    assert ours not in dict(submission.commits)
    assert submission.file_owner is None


def test_approvals_are_read_from_the_commit(lab: Lab) -> None:
    assert lab.inputs.approvals("default", "a") == ()
    approvals = FOLDER.rstrip("/")
    lab.upstream.put(
        {
            f"{approvals}/default/a/alice.dsse.json": b"{1}",
            f"{approvals}/default/a/huge.dsse.json": b"x" * 2**17,
            f"{approvals}/default/a/notes.txt": b"no",
            f"{approvals}/default/b/alice.dsse.json": b"{2}",
        }
    )
    lab.source.poll()
    assert lab.inputs.approvals("default", "a") == (b"{1}",)
    assert lab.inputs.approvals("..", "default/b") == ()


# --- objects made in memory ---

_NAMES = st.sampled_from(["a", "a.b", "a-b", "a0", "ab", "b", "B", "\u00e4"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map("/".join)


def _disjoint(paths: list[str]) -> bool:
    return not any(other.startswith(path + "/") for path in paths for other in paths)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(
    before=st.dictionaries(_PATHS, st.binary(max_size=4), min_size=1, max_size=6),
    after=st.dictionaries(_PATHS, st.binary(max_size=4), min_size=1, max_size=4),
)
def test_a_commit_of_ours_has_the_tree_that_git_would_make(
    lab: Lab, before: dict[str, bytes], after: dict[str, bytes]
) -> None:
    assume(_disjoint([*before, *after]))
    parent = lab.upstream.put({**before}, parent="")
    lab.clone.refresh("main")
    ours = lab.clone.commit(parent, after, "ours")
    lab.clone.push("main", ours, parent)
    gits = lab.upstream.put({**after}, parent=parent)
    assert lab.upstream.git("rev-parse", f"{ours}^{{tree}}") == lab.upstream.git("rev-parse", f"{gits}^{{tree}}")


def test_large_and_empty_objects_survive_the_pack(lab: Lab) -> None:
    sizes = [0, 1, 15, 16, 2047, 2048, 2**18 + 1]
    objects = [NewObject("blob", bytes([size % 251]) * size) for size in sizes]
    lab.upstream.git("unpack-objects", "-q", "--strict", data=pack([*objects, *objects]))
    for made in objects:
        assert lab.upstream.git("cat-file", "-s", made.oid) == str(len(made.data))


def test_a_file_is_not_put_in_the_place_of_a_folder_or_of_a_link(lab: Lab) -> None:
    tip = lab.upstream.tip
    for path in ("specs", "specs/a.yaml/x"):
        with pytest.raises(RepositoryTroubleError, match="cannot be committed"):
            lab.clone.commit(tip, {path: b"x"}, "no")
    with pytest.raises(Conflict):
        rewritten(lambda _oid: b"120000 link\0" + bytes(20), "x", {b"link": "0" * 40})
