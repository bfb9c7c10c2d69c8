"""A bare git repository that people push to, without a work tree: a commit costs a few milliseconds."""

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from controller.inputs.addresses import remote_of
from controller.inputs.clone import Clone, Committer, clone_folder
from controller.ports.clock import Clock


@dataclass(frozen=True)
class Upstream:
    """The repository at `root`; every method does what somebody's git would do."""

    root: Path
    branch: str = "main"

    @classmethod
    def make(cls, root: Path, branch: str = "main") -> "Upstream":
        """An empty bare repository."""
        subprocess.run(["git", "init", "-q", "--bare", "-b", branch, str(root)], check=True)
        return cls(root, branch)

    def git(self, *words: str, data: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        """Run git in it; its output."""
        done = subprocess.run(
            ["git", "-C", str(self.root), *words],
            input=data, check=True, capture_output=True, env={**os.environ, **(env or {})}, timeout=120,
        )  # fmt: skip
        return done.stdout.decode(errors="surrogateescape").strip()

    @property
    def tip(self) -> str:
        """The branch's newest commit; empty when there is none."""
        return self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{self.branch}")

    def put(self, files: Mapping[str, bytes | None], message: str = "more", *, parent: str | None = None) -> str:
        """A commit in which these files differ (None: gone), on the branch; `parent` rewrites its history."""
        parent = self.tip if parent is None else parent
        head = f"commit refs/heads/{self.branch}\ncommitter Alice <alice@example.org> 1700000000 +0000\n"
        stream = [f"{head}data {len(message.encode())}\n{message}\n".encode()]
        stream.append(f"from {parent}\n".encode() if parent else b"")
        for path, data in files.items():
            stream.append(f"D {path}\n".encode() if data is None else f"M 100644 inline {path}\n".encode())
            stream.append(b"" if data is None else b"data %d\n%b\n" % (len(data), data))
        self.git("fast-import", "--quiet", "--force", "--done", data=b"".join(stream) + b"done\n")
        return self.tip

    def commit(self, tree: str, parent: str, message: str = "by hand") -> str:
        """A commit of this tree, on the branch."""
        commit = self.git("commit-tree", tree, *(["-p", parent] if parent else []), "-m", message)
        self.git("update-ref", f"refs/heads/{self.branch}", commit)
        return commit

    def read(self, path: str, branch: str = "") -> bytes:
        """A file of the branch."""
        words = ["git", "-C", str(self.root), "cat-file", "blob", f"{branch or self.branch}:{path}"]
        return subprocess.run(words, check=True, capture_output=True).stdout

    def log(self, branch: str = "") -> list[str]:
        """The subjects of the branch's commits, newest first."""
        return self.git("log", "--format=%s", branch or self.branch).splitlines()

    def clone(self, base: Path, clock: Clock, sign: Callable[[bytes], str] | None = None) -> Clone:
        """A clone of it, as the reconciler makes one."""
        remote = remote_of(str(self.root))
        return Clone(clone_folder(base, remote), remote, Committer("robot <robot@example.org>", sign), clock)
