"""One small repository with one experiment, and what must be true of it after any crash."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SPEC = """\
# a comment that must survive
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata: {name: victim}
spec:
  source: {git: {repo: ".", path: code}}
  environment: {python: "%d.%d"}
  command: [sh, run.sh, $(results), $(data.numbers), $(params.pause)]
  parameters: {pause: "0.3"}
  datasets: [{name: numbers, uri: "file:data/numbers.txt", sha256: "sha256:%s"}]
  outputs: [{name: out, path: out.txt}]
  checkpoint: {graceSeconds: 1}
  resources: {cpu: "100m", memory: 64Mi, disk: 1Mi}
  scheduling: {retries: {max: 2, reasons: [SupervisorLost, NodeLost, RuntimeLost]}}   # odd   spacing
""".replace("%d.%d", f"{sys.version_info.major}.{sys.version_info.minor}")

PROGRAM = """\
echo "$FETCHML_ATTEMPT" >> "$1/starts.txt"
sleep "$3"
cat "$2" > "$1/out.txt"
"""


@dataclass
class World:
    """A repository in its own folder, with its own keys."""

    folder: Path

    @property
    def repo(self) -> Path:
        """The repository."""
        return self.folder / "repo"

    @property
    def spec(self) -> Path:
        """The spec file."""
        return self.repo / "specs" / "victim.yaml"

    @property
    def base(self) -> Path:
        """Our records."""
        return self.repo / ".fetchml"

    def make(self, *, spec: str = SPEC, key: bool = True) -> "World":
        """Fill the folder."""
        import hashlib

        for name, text in {"code/run.sh": PROGRAM, "data/numbers.txt": "1 2 3\n", ".gitignore": ".fetchml/\n"}.items():
            path = self.repo / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.spec.parent.mkdir()
        self.spec.write_text(spec.replace("%s", hashlib.sha256(b"1 2 3\n").hexdigest()))
        for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
            subprocess.run(["git", *arguments], cwd=self.repo, check=True, env=self.environment())
        if key:
            assert self.ml("key", "new").returncode == 0
        return self

    def environment(self) -> dict[str, str]:
        """With keys of its own."""
        return {**os.environ, "XDG_DATA_HOME": str(self.folder / "data"), "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}

    def ml(
        self, *arguments: str, point: str = "none", trace: Path | None = None, timeout: float = 90
    ) -> "subprocess.CompletedProcess[str]":
        """Run `ml` under the fault driver."""
        env = self.environment() | ({"FAULT_TRACE": str(trace)} if trace else {})
        words = [sys.executable, "-m", "tests.faults.driver", point, "--", *arguments]
        return subprocess.run(
            words, cwd=self.repo, env=env, capture_output=True, text=True, timeout=timeout, check=False
        )

    def start(self, *arguments: str, point: str = "none") -> "subprocess.Popen[bytes]":
        """The same, in the background."""
        words = [sys.executable, "-m", "tests.faults.driver", point, "--", *arguments]
        return subprocess.Popen(
            words, cwd=self.repo, env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def run_folders(self) -> list[Path]:
        """Every run that left a folder."""
        folder = self.base / "experiments"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def starts(self) -> dict[str, list[str]]:
        """Results folder (of every attempt) to the lines that the program wrote when it started."""
        found = {}
        for path in self.base.glob("experiments/**/starts.txt"):
            found[str(path.relative_to(self.base))] = path.read_text().split()
        return found

    def leftovers(self) -> list[str]:
        """Processes and temporary files of ours that should not be there."""
        store = self.base / "state.db"
        processes = []
        for proc in Path("/proc").iterdir():
            if proc.name.isdigit() and int(proc.name) != os.getpid():
                try:
                    line = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    environ = (proc / "environ").read_bytes().decode(errors="replace")
                except OSError:
                    continue
                if str(self.repo) in line + environ and "tests.faults.driver" not in line and "pytest" not in line:
                    processes.append(line)
        files = [str(path) for path in self.repo.rglob(".*.tmp") if ".git/" not in str(path)]
        files += [
            str(path) for path in self.repo.rglob("*") if "fetchml-old" in path.name or path.name.endswith(".partial")
        ]
        files += [str(path) for path in self.base.glob("experiments/*/attempts/*/workspace")]
        assert store.exists()
        return processes + files

    def user_part(self) -> bytes:
        """The spec without its status block."""
        from controller.api.documents import user_part_of

        return user_part_of(self.spec.read_bytes())

    def status(self) -> dict[str, object]:
        """The status block in the spec."""
        import yaml

        found: dict[str, object] = yaml.safe_load(self.spec.read_text()).get("status") or {}
        return found

    def wait_until(self, condition: "object", seconds: float = 20) -> None:
        """Poll until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():  # type: ignore[operator]  # a callable
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.05)


def check_after_recovery(world: World, before: bytes, *, attempts: int = 1) -> None:
    """0 lost, 0 launched twice, 0 left behind, no user byte changed, and the record proves itself."""
    assert world.user_part() == before
    assert world.status()["phase"] == "Succeeded"
    folders = world.run_folders()
    assert len(folders) == 1, folders
    manifest = json.loads((folders[0] / "run_manifest.json").read_bytes())
    assert manifest["state"] == "completed"
    assert len(manifest["attempts"]) <= attempts
    starts = world.starts()
    assert (folders[0] / "results" / "starts.txt").exists()
    assert all(len(lines) == 1 for lines in starts.values()), f"started twice: {starts}"
    assert (folders[0] / "results" / "out.txt").read_text() == "1 2 3\n"
    verified = world.ml("verify", folders[0].name)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert world.leftovers() == []
