"""`git push` of a spec to a bare repository on this host -> the first instruction of the user's program.

Promises: a real `git push`, a real `ml reconcile REPO` with the post-receive hook of `ml hook install`; the clock
starts when the push command is started. The floor is the same push to a repository that nobody watches, and the program
through subprocess. One push at a time, each after the status of the run before has come back as a commit.
Does not: go over a network.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

from benchmarks.repository import make_repository, spec_text
from benchmarks.rows import QUICK_ROUNDS, Row, at_most, interleaved, spread

NAME = "git_push"
GOAL_P50 = 300.0
PUSHES = 21
_ML = str(Path(sys.executable).with_name("ml"))
_WHO = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")


def _git(place: Path, *words: str) -> None:
    subprocess.run(["git", "-C", place, *_WHO, *words], check=True, capture_output=True)


class _Lab:
    """A work tree, the repository that it pushes to, and the reconciler's own folder."""

    def __init__(self, root: Path) -> None:
        self.work, self.watched, self.other, self.ops = (
            root / name for name in ("work", "lab.git", "other.git", "ops")
        )
        make_repository(self.work)
        _git(self.work, "branch", "-M", "main")
        self.ops.mkdir()
        for bare in (self.watched, self.other):
            subprocess.run(["git", "init", "-q", "--bare", "-b", "main", bare], check=True)
            _git(self.work, "push", "-q", str(bare), "main")
        self.environment = {**os.environ, "XDG_DATA_HOME": str(root / "data"), "XDG_CONFIG_HOME": str(root / "config")}
        for words in (["key", "new"], ["hook", "install", str(self.watched)]):
            subprocess.run([_ML, *words], cwd=self.ops, env=self.environment, check=True, capture_output=True)

    def commit(self, number: int) -> None:
        """A new version of the spec, on what was pulled."""
        _git(self.work, "pull", "-q", "--ff-only", str(self.watched), "main")
        (self.work / "specs" / "code.yaml").write_text(spec_text("code", number))
        _git(self.work, "commit", "-q", "-a", "-m", f"seed {number}")

    def ours(self, number: int) -> float:
        """Milliseconds from the push command to the program's first instruction."""
        self.commit(number)
        begin = time.time_ns()
        _git(self.work, "push", "-q", str(self.watched), "main")
        run = self._ended(number)
        return (int((self.ops / ".fetchml" / "experiments" / run / "run.log").read_text()) - begin) / 1e6

    def _ended(self, number: int) -> str:
        """The run id that the status names once it speaks of this version."""
        show = ["git", "-C", str(self.watched), "cat-file", "blob", "main:specs/code.yaml"]
        for _ in range(6000):
            text = subprocess.run(show, check=True, capture_output=True, text=True).stdout
            run = re.search(r"^  phase: Succeeded$[\s\S]*^ +id: (\S+)", text, re.MULTILINE)
            if run and f"seed: {number}\n" in text:
                return run[1]
            time.sleep(0.02)
        raise RuntimeError(f"the run did not succeed:\n{text}\n{(self.ops / 'reconcile.log').read_text()}")

    def floor(self) -> float:
        """The same without a reconciler."""
        _git(self.work, "commit", "-q", "--allow-empty", "-m", "floor")
        begin = time.time_ns()
        _git(self.work, "push", "-q", "--force", str(self.other), "main")
        done = subprocess.run(["date", "+%s%N"], capture_output=True, check=True)
        _git(self.work, "reset", "-q", "--hard", "HEAD~1")
        return (int(done.stdout) - begin) / 1e6


def rows(quick: bool = False) -> tuple[Row, ...]:
    """Milliseconds from `git push` to the first instruction."""
    numbers = count(1)
    with tempfile.TemporaryDirectory(prefix="fetchml-bench-") as folder:
        lab = _Lab(Path(folder).resolve())
        with (lab.ops / "reconcile.log").open("wb") as log:
            words = [_ML, "reconcile", str(lab.watched)]
            process = subprocess.Popen(words, cwd=lab.ops, env=lab.environment, stdout=log, stderr=log)
            try:
                contenders = {"floor": lab.floor, "ours": lambda: lab.ours(next(numbers))}
                seen = interleaved(contenders, QUICK_ROUNDS if quick else PUSHES)
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(60)
    ours = spread(seen["ours"])
    return (
        Row(
            "git push -> first instruction, with the hook",
            "ms",
            ours,
            spread(seen["floor"]),
            "git push and a process spawn",
            goals=(at_most("p50", ours.median, GOAL_P50, " ms"),),
            note="Argo CD polls every 3 min, Flux every 1 min (published)",
        ),
    )
