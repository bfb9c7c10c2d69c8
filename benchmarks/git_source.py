"""One changed spec of 10,000 in a git repository, and 1,000 statuses written back to it.

Promises: a real bare repository; a change is measured from the moment its commit is on the branch until the fetched,
parsed document is in the caller's hands (ls-remote, fetch, diff-tree, cat-file, parse), with the specs parsed counted;
statuses are given to the source as fast as it takes them, and its own thread commits and pushes them. The floor of a
change is `git fetch` and `git diff-tree` of the same commits.
Does not: judge the document, or go over a network.
"""

import subprocess
import tempfile
import threading
import time
from itertools import count
from pathlib import Path

from benchmarks.rows import QUICK_ROUNDS, ROUNDS, Row, at_most, interleaved, spread
from controller.inputs.addresses import remote_of
from controller.inputs.clone import Clone, Committer, clone_folder
from controller.inventory.clock import SystemClock
from controller.ports.source import Key
from controller.sources.git import Branches, BranchSource

NAME = "git_source"
SPECS, STATUSES = 10_000, 1_000
GOAL_CHANGE, GOAL_COMMITS = 100.0, 20
_SPEC = """\
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata: {{name: digits-{n}, labels: {{project: vision}}}}
spec:
  command: [python, train.py, --lr, $(params.lr)]
  parameters: {{lr: 1e-3}}
  seed: {seed}
"""


def _path(number: int) -> str:
    return f"specs/team-{number // 1000:03d}/digits-{number:06d}.yaml"


class _Lab:
    """The repository, a source that looks at it, and a plain clone beside it."""

    def __init__(self, root: Path, size: int) -> None:
        self.bare, self.plain = root / "lab.git", root / "plain.git"
        for place in (self.bare, self.plain):
            subprocess.run(["git", "init", "-q", "--bare", "-b", "main", place], check=True)
        self.push(dict.fromkeys(range(size), 0))
        self._fetch()
        remote, clock = remote_of(str(self.bare)), SystemClock()
        self.clone = Clone(clone_folder(root, remote), remote, Committer("bench <bench@example.com>"), clock)
        self.source = BranchSource(self.clone, Branches("main", "specs"), clock)
        self.source.poll()
        self.parsed = 0

    def push(self, seeds: dict[int, int]) -> None:
        """A commit with these specs."""
        parts = [b"commit refs/heads/main\ncommitter A <a@example.com> 1700000000 +0000\ndata 1\nx\n"]
        parts.append(b"from refs/heads/main^0\n" if (self.bare / "refs/heads/main").exists() else b"")
        for number, seed in seeds.items():
            data = _SPEC.format(n=number, seed=seed).encode()
            parts.append(b"M 100644 inline %b\ndata %d\n%b\n" % (_path(number).encode(), len(data), data))
        stream = b"".join(parts) + b"done\n"
        subprocess.run(["git", "-C", self.bare, "fast-import", "--quiet", "--done"], input=stream, check=True)

    def _fetch(self) -> None:
        words = ["git", "-C", self.plain, "fetch", "-q", "--no-tags", self.bare, "+refs/heads/main:refs/heads/main"]
        subprocess.run(words, check=True)

    def ours(self, number: int, seed: int) -> float:
        """Milliseconds from the commit to the document."""
        self.push({number: seed})
        begin = time.perf_counter()
        self.source.refresh()
        change = self.source.poll()
        documents = [document for key in change.keys for document in self.source.get(key)]
        taken = (time.perf_counter() - begin) * 1e3
        assert [document.name for document in documents] == [f"digits-{number}"]
        self.parsed = max(self.parsed, change.parsed)
        return taken

    def floor(self) -> float:
        """git alone, on the commit that `ours` has just seen."""
        begin = time.perf_counter()
        self._fetch()
        words = ["git", "-C", self.plain, "diff-tree", "-r", "--raw", "main^", "main"]
        subprocess.run(words, check=True, capture_output=True)
        return (time.perf_counter() - begin) * 1e3

    def statuses(self, how_many: int) -> tuple[float, int, int]:
        """Seconds, commits, and statuses that are missing at the end."""
        before = self._commits()
        done = threading.Event()
        stop = self.source.watch(lambda _hints: done.set())
        begin = time.perf_counter()
        try:
            for number in range(how_many):
                (document,) = self.source.get(Key("Experiment", "default", f"digits-{number}"))
                self.source.write_status(document, {"phase": "Succeeded"})
        finally:
            stop()
        self.source.close()
        seconds = time.perf_counter() - begin
        words = ["git", "-C", self.bare, "grep", "-c", "phase: Succeeded", "main"]
        written = len(subprocess.run(words, check=True, capture_output=True).stdout.splitlines())
        return seconds, self._commits() - before, how_many - written

    def _commits(self) -> int:
        words = ["git", "-C", self.bare, "rev-list", "--count", "main"]
        return int(subprocess.run(words, check=True, capture_output=True).stdout)


def rows(quick: bool = False) -> tuple[Row, ...]:
    """Milliseconds of one change; seconds and commits of many statuses."""
    size, statuses = (100, 20) if quick else (SPECS, STATUSES)
    seeds = count(1)
    with tempfile.TemporaryDirectory(prefix="fetchml-bench-") as folder:
        lab = _Lab(Path(folder).resolve(), size)
        contenders = {"ours": lambda: lab.ours(7, next(seeds)), "floor": lab.floor}
        seen = interleaved(contenders, QUICK_ROUNDS if quick else ROUNDS)
        seconds, commits, missing = lab.statuses(statuses)
        lab.clone.close()
    change = spread(seen["ours"])
    return (
        Row(
            f"one spec of {size:,} pushed -> its document",
            "ms",
            change,
            spread(seen["floor"]),
            "git fetch and diff-tree",
            goals=(at_most("p50", change.median, GOAL_CHANGE, " ms"),),
            counters={"specs parsed for one push (most)": lab.parsed},
        ),
        Row(
            f"{statuses:,} statuses -> commits that are pushed",
            "s",
            spread([seconds]),
            goals=(at_most("commits", commits, GOAL_COMMITS),),
            counters={"statuses missing": missing},
        ),
    )
