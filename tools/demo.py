"""`make demo`: one experiment from spec to verified provenance, in a fresh repository beneath build/demo.

Promises: every line of output after a `$` is what that command printed just now; a second demo is a new run in a new
repository that reuses only the environment cache; nothing outside build/demo is written (keys lie there too).
Does not: hide a failure: the first command that fails ends the demo with its exit code.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SPEC = "examples/digits/digits-softmax.yaml"
NAME = "digits-softmax"
CACHE = Path(".fetchml") / "cache"


@dataclass(frozen=True)
class Stage:
    """A folder with a repository and its keys, in which commands are shown."""

    folder: Path

    @property
    def repo(self) -> Path:
        """The repository."""
        return self.folder / "repo"

    def environment(self) -> dict[str, str]:
        """This environment, with `ml` found first and with its own keys, settings and git identity."""
        passed = {key: value for key, value in os.environ.items() if not key.startswith(("FETCHML_", "GIT_"))}
        author = {"GIT_AUTHOR_NAME": "Demo", "GIT_AUTHOR_EMAIL": "demo@example.org"}
        committer = {"GIT_COMMITTER_NAME": "Demo", "GIT_COMMITTER_EMAIL": "demo@example.org"}
        own = {"XDG_DATA_HOME": str(self.folder / "data"), "FETCHML_CONFIG": str(self.folder / "config.toml")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{passed.get('PATH', os.defpath)}"
        return {**passed, **author, **committer, **own, "PATH": path}

    def fresh_repository(self) -> None:
        """An empty repository with the digits example; only the environment cache of the last one is kept."""
        kept = self.folder / "cache"
        if (self.repo / CACHE).is_dir():
            shutil.rmtree(kept, ignore_errors=True)
            (self.repo / CACHE).rename(kept)
        for folder in (self.repo, self.folder / "data"):
            shutil.rmtree(folder, ignore_errors=True)
        (self.repo / CACHE).parent.mkdir(parents=True)
        if kept.is_dir():
            kept.rename(self.repo / CACHE)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "examples" / "digits", self.repo / "examples" / "digits", ignore=ignored)

    def shell(self, *command: str) -> None:
        """Show a command and run it in the repository; its failure is ours."""
        print(f"\n$ {' '.join(command)}", flush=True)
        code = subprocess.run(command, cwd=self.repo, env=self.environment(), check=False).returncode
        if code:
            sys.exit(code)

    def ask(self, *command: str) -> dict[str, Any]:
        """The JSON answer of a command, whatever its exit code."""
        answer = subprocess.run(
            command, cwd=self.repo, env=self.environment(), capture_output=True, text=True, check=False
        )
        try:
            value: dict[str, Any] = json.loads(answer.stdout)
        except ValueError:
            sys.exit(f"{' '.join(command)} failed:\n{answer.stdout}{answer.stderr}")
        return value

    def run_id(self) -> str:
        """The id of the demo's run."""
        return next(path.name for path in (self.repo / ".fetchml" / "experiments").iterdir() if path.is_dir())


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


def allow_what_this_host_can_do(stage: Stage) -> None:
    """Where the host isolates nothing, the strict default (L1) is refused: lower it in the spec, and say so."""
    caps = stage.ask("ml", "explain", SPEC, "-o", "json")["trust"]["caps"]
    why = [cap["message"] for cap in caps if cap["reason"] == "RunCanForge"]
    if not why:
        return
    _say("This host cannot isolate a run, so the default (trust level L1 at least) would refuse it:")
    print(f"  RunCanForge: {why[0]}")
    print(f"The demo lowers it in {SPEC}: minTrustLevel: L0", flush=True)
    path = stage.repo / SPEC
    path.write_text(path.read_text().replace("reproducibility: {", "reproducibility: {minTrustLevel: L0, "))


def main() -> None:
    """Run the demo."""
    stage = Stage(ROOT / "build" / "demo")
    stage.fresh_repository()
    _say("A new repository with a spec, its code, its data and its lock:")
    stage.shell("git", "init", "--quiet", "--initial-branch", "main", ".")
    stage.shell("ml", "init", ".")
    allow_what_this_host_can_do(stage)
    stage.shell("git", "add", "--all")
    stage.shell("git", "commit", "--quiet", "--message", "Begin")
    _say("What would run, may it, and how far can it be trusted?")
    stage.shell("ml", "explain", SPEC)
    _say("Run it:")
    stage.shell("ml", "run", SPEC)
    _say("What became of it:")
    stage.shell("ml", "status", NAME)
    _say("Prove it from its files:")
    stage.shell("ml", "verify", stage.run_id())
    _where_everything_lies(stage)


def _where_everything_lies(stage: Stage) -> None:
    run = stage.repo / ".fetchml" / "experiments" / stage.run_id()
    rows = {
        stage.repo / SPEC: "the spec, now with its status block",
        run / "run_manifest.json": "what ran, on what, with what",
        run / "attestation.dsse.json": "the signed in-toto statement",
        run / "verdict.dsse.json": "the signed trust level",
        run / "run.log": "the log",
        run / "results": "metrics.jsonl and the outputs",
    }
    _say("Where everything lies:")
    for path, what in rows.items():
        if not path.exists():
            sys.exit(f"{path} is missing")
        print(f"  {path.relative_to(ROOT)}\n      {what}")


if __name__ == "__main__":
    main()
