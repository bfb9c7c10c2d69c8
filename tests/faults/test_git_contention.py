"""Many people push while statuses are written to the same branch: no commit of theirs is lost or moved, and every
status arrives.

TEST_PUSHES sets how many pushes are made (24; CI has two slow cores) and TEST_WRITERS by
how many at once (4). The figures in docs/how-to/git.md are of 500 by 8.
"""

import os
import subprocess
import threading
from pathlib import Path

import pytest

from controller.inventory.clock import SystemClock
from controller.ports.repository import PushRejectedError
from controller.sources.git import Branches, BranchSource
from tests.fakes.source import spec
from tests.fakes.upstream import Upstream

pytestmark = pytest.mark.needs("git")

PUSHES = int(os.environ.get("TEST_PUSHES", "24"))
WRITERS = int(os.environ.get("TEST_WRITERS", "4"))


class Writer(threading.Thread):
    """One person: commits to files of their own and pushes with plain git, fetching and trying again when they lose."""

    def __init__(self, upstream: Upstream, folder: Path, number: int, pushes: int) -> None:
        super().__init__(daemon=True)
        self._upstream, self._number, self._pushes = upstream, number, pushes
        self._place = Upstream.make(folder / f"writer{number}.git")
        self.pushed: list[str] = []
        self.lost_races = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Push all."""
        try:
            for count in range(self._pushes):
                while not self._push(count):
                    self.lost_races += 1
        except BaseException as error:  # noqa: BLE001  # the test says it
            self.failure = error

    def _push(self, count: int) -> bool:
        url = str(self._upstream.root)
        self._place.git("fetch", "-q", url, "+refs/heads/main:refs/heads/main")
        name = f"w{self._number}n{count}"
        self._place.put({f"notes/{name}.txt": name.encode(), f"specs/{name}.yaml": spec(name).encode()}, f"push {name}")
        done = subprocess.run(
            ["git", "-C", self._place.root, "push", "-q", url, "main"], capture_output=True, check=False
        )
        if done.returncode == 0:
            self.pushed.append(self._place.tip)
        return done.returncode == 0


def test_no_push_is_lost_and_every_status_is_written(tmp_path: Path) -> None:
    upstream = Upstream.make(tmp_path / "up.git")
    first = upstream.put({"specs/s0.yaml": spec("s0").encode()})
    source = BranchSource(upstream.clone(tmp_path, SystemClock()), Branches("main", "specs"), SystemClock())
    writers = [Writer(upstream, tmp_path, number, PUSHES // WRITERS) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    commits = 0
    while any(writer.is_alive() for writer in writers) or not _all_said(source):
        source.poll()
        for key in source.keys():  # noqa: SIM118  # a source is no mapping
            for document in source.get(key):
                source.write_status(document, {"phase": "Succeeded", "message": f"seen {key.name}"})
        commits += bool(source.flush())
    assert [writer.failure for writer in writers if writer.failure] == []

    pushed = {commit for writer in writers for commit in writer.pushed}
    history = upstream.git("rev-list", "--first-parent", "main").split()
    assert pushed <= set(history), f"lost: {pushed - set(history)}"
    assert len(pushed) == PUSHES // WRITERS * WRITERS
    for writer in writers:
        order = [history.index(commit) for commit in writer.pushed]
        assert order == sorted(order, reverse=True), "commits of one writer were put in another order"
    ours = [commit for commit in history if commit not in pushed | {first}]
    assert len(ours) == commits
    for commit in ours:
        changed = upstream.git("diff-tree", "--no-commit-id", "--name-only", "-r", commit).split()
        assert all(path.startswith("specs/") for path in changed), f"our commit changed {changed}"
    for name in ["s0", *(f"w{n}n{c}" for n in range(WRITERS) for c in range(PUSHES // WRITERS))]:
        text = upstream.read(f"specs/{name}.yaml").decode()
        assert text.startswith(spec(name)), "a byte of the user part changed"
        assert f"seen {name}" in text, "a status is missing"
    lost = sum(writer.lost_races for writer in writers)
    print(
        f"{len(pushed)} pushes of {WRITERS} writers (they came second {lost} times), {len(ours)} status commits, "
        f"{len(pushed) + 1} statuses: 0 user commits lost, 0 statuses missing"
    )


def _all_said(source: BranchSource) -> bool:
    source.poll()
    documents = [document for key in source.keys() for document in source.get(key)]  # noqa: SIM118  # no mapping
    return all((document.model.status or {}).get("phase") == "Succeeded" for document in documents)


def test_a_push_that_comes_second_is_made_again_on_the_new_tip(tmp_path: Path) -> None:
    upstream = Upstream.make(tmp_path / "up.git")
    upstream.put({f"specs/{name}.yaml": spec(name).encode() for name in "abcd"})
    source = BranchSource(upstream.clone(tmp_path, SystemClock()), Branches("main", "specs"), SystemClock())
    source.poll()
    for key in source.keys():  # noqa: SIM118  # a source is no mapping
        source.write_status(source.get(key)[0], {"phase": "Running"})
    edited = spec("b", extra="  seed: 7\n").encode()
    moved = spec("d").encode()
    theirs = upstream.put(
        {"specs/b.yaml": edited, "specs/c.yaml": None, "specs/d.yaml": None, "specs/sub/d.yaml": moved, "README": b"!"}
    )
    assert source.flush() > 0
    assert upstream.git("rev-parse", "main^") == theirs
    assert b"phase: Running" in upstream.read("specs/a.yaml")
    assert upstream.read("specs/b.yaml") == edited, "a status that speaks of an older version"
    assert upstream.read("specs/sub/d.yaml") == moved
    assert "specs/c.yaml" not in upstream.git("ls-tree", "-r", "--name-only", "main"), "a deleted spec came back"
    change = source.poll()
    assert {key.name for key in change.keys} == {"b", "d"}


def test_the_lease_is_what_keeps_a_rewritten_branch_from_coming_back(tmp_path: Path) -> None:
    """Without it a status on top of what somebody took away is a fast-forward of what is left, and brings it back."""
    upstream = Upstream.make(tmp_path / "up.git")
    kept = upstream.put({"specs/a.yaml": spec("a").encode()})
    taken = upstream.put({"secret.txt": b"committed by mistake"})
    clone = upstream.clone(tmp_path, SystemClock())
    clone.refresh("main")
    upstream.git("update-ref", "refs/heads/main", kept)
    ours = clone.commit(taken, {"specs/a.yaml": b"with a status"}, "status")
    with pytest.raises(PushRejectedError):
        clone.push("main", ours, taken)
    assert upstream.tip == kept
    plain = subprocess.run(
        ["git", "-C", clone.folder, "push", "-q", upstream.root, f"{ours}:refs/heads/main"], check=False
    )
    assert (plain.returncode, upstream.tip) == (0, ours), "a plain push is refused too: the lease guards nothing"


def test_a_branch_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    upstream = Upstream.make(tmp_path / "up.git")
    tip = upstream.put({"specs/a.yaml": spec("a").encode()})
    clone = upstream.clone(tmp_path, SystemClock())
    clone.refresh("main")
    upstream.git("update-ref", "-d", "refs/heads/main")
    with pytest.raises(PushRejectedError):
        clone.push("main", clone.commit(tip, {"specs/a.yaml": b"x"}, "status"), tip)
    assert upstream.tip == ""
