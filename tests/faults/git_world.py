"""A bare repository that people push to, and an operator's folder where `ml reconcile REPO` runs under the driver."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from controller.api.documents import user_part_of
from tests.e2e.cli import LIMIT
from tests.fakes.upstream import Upstream

ROOT = Path(__file__).resolve().parents[2]

SPEC = """\
# a comment that must survive
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata: {name: NAME}
spec:
  source: {git: {path: code}}
  environment: {python: "VERSION"}
  command: [sh, go.sh]
  resources: {cpu: 50m, memory: 16Mi, disk: 1Mi}
  reproducibility: {minTrustLevel: L0}   # odd   spacing
""".replace("VERSION", f"{sys.version_info.major}.{sys.version_info.minor}")
PROGRAM = b'echo "$FETCHML_ATTEMPT" >> "$FETCHML_RESULTS/starts.txt"\n'


def spec(name: str) -> bytes:
    """A spec that runs code of the commit."""
    return SPEC.replace("NAME", name).encode()


@dataclass
class GitWorld:
    """Everything in one folder."""

    folder: Path

    @property
    def ops(self) -> Path:
        """Where the operator sits: records and keys."""
        return self.folder / "ops"

    @property
    def upstream(self) -> Upstream:
        """What everybody pushes to."""
        return Upstream(self.folder / "lab.git")

    @property
    def clone(self) -> Path:
        """The reconciler's clone."""
        (found,) = (self.ops / ".fetchml" / "clones").glob("*.git")
        return found

    def make(self, *names: str) -> "GitWorld":
        """A repository with these specs, and an operator with a key."""
        self.ops.mkdir()
        Upstream.make(self.upstream.root).put(
            {f"specs/{name}.yaml": spec(name) for name in names} | {"code/go.sh": PROGRAM, "README": b"hello\n"}
        )
        assert self.ml("key", "new").returncode == 0
        return self

    def environment(self, **more: str) -> dict[str, str]:
        """With keys of its own."""
        own = {"XDG_DATA_HOME": str(self.folder / "data"), "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
        return {**os.environ, **own, **more}

    def ml(self, *words: str, point: str = "none", **env: str) -> "subprocess.CompletedProcess[str]":
        """Run `ml` in the operator's folder under the fault driver."""
        command = [sys.executable, "-m", "tests.faults.driver", point, "--", *words]
        return subprocess.run(
            command, cwd=self.ops, env=self.environment(**env), capture_output=True, text=True,
            timeout=LIMIT, check=False,
        )  # fmt: skip

    def once(self, *words: str, point: str = "none", **env: str) -> "subprocess.CompletedProcess[str]":
        """`ml reconcile` of the repository until nothing is left to do."""
        return self.ml("reconcile", str(self.upstream.root), "--once", *words, point=point, **env)

    def phase(self, name: str) -> str:
        """What the spec's status says in the repository."""
        found = re.search(r"^  phase: (\w+)$", self.upstream.read(f"specs/{name}.yaml").decode(), re.MULTILINE)
        return found[1] if found else ""

    def check(self, name: str) -> None:
        """The run ended well, once; its status is in the repository, the user part is as it was pushed."""
        assert self.phase(name) == "Succeeded"
        assert user_part_of(self.upstream.read(f"specs/{name}.yaml")) == spec(name)
        starts = list(self.ops.glob(f".fetchml/experiments/{name}-*/**/starts.txt"))
        assert [path.read_text() for path in starts] == ["1\n"]
