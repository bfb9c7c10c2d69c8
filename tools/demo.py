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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "build" / "demo"
REPO = DEMO / "repo"
CACHE = Path(".fetchml") / "cache"
SPEC = "examples/digits/digits-softmax.yaml"
NAME = "digits-softmax"


def _environment() -> dict[str, str]:
    """This environment, with `ml` found first and with its own keys and git identity."""
    passed = {
        key: value for key, value in os.environ.items() if not key.startswith(("FETCHML_", "GIT_DIR", "GIT_WORK_TREE"))
    }
    author = {"GIT_AUTHOR_NAME": "Demo", "GIT_AUTHOR_EMAIL": "demo@example.org"}
    committer = {"GIT_COMMITTER_NAME": "Demo", "GIT_COMMITTER_EMAIL": "demo@example.org"}
    own = {"XDG_DATA_HOME": str(DEMO / "data"), "FETCHML_CONFIG": str(DEMO / "config.toml")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{passed.get('PATH', os.defpath)}"
    return {**passed, **author, **committer, **own, "PATH": path}


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


def _shell(*command: str) -> None:
    """Show a command and run it in the demo's repository; its failure is ours."""
    print(f"\n$ {' '.join(command)}", flush=True)
    code = subprocess.run(command, cwd=REPO, env=_environment(), check=False).returncode
    if code:
        sys.exit(code)


def _ask(*command: str) -> dict[str, object]:
    """The JSON answer of a command, whatever its exit code."""
    answer = subprocess.run(command, cwd=REPO, env=_environment(), capture_output=True, text=True, check=False)
    try:
        value: dict[str, object] = json.loads(answer.stdout)
    except ValueError:
        sys.exit(f"{' '.join(command)} failed:\n{answer.stdout}{answer.stderr}")
    return value


def _fresh_repository() -> None:
    """An empty repository with the digits example; only the environment cache of the last demo is kept."""
    kept = DEMO / "cache"
    if (REPO / CACHE).is_dir():
        shutil.rmtree(kept, ignore_errors=True)
        (REPO / CACHE).rename(kept)
    for folder in (REPO, DEMO / "data"):
        shutil.rmtree(folder, ignore_errors=True)
    REPO.mkdir(parents=True)
    if kept.is_dir():
        (REPO / CACHE).parent.mkdir()
        kept.rename(REPO / CACHE)
    shutil.copytree(ROOT / "examples" / "digits", REPO / "examples" / "digits")


def _allow_what_this_host_can_do() -> None:
    """Where the host isolates nothing, the strict default (L1) is refused: lower it in the spec, and say so."""
    trust = _ask("ml", "explain", SPEC, "-o", "json")["trust"]
    if not isinstance(trust, dict) or trust["level"] != "L0":
        return
    _say("This host cannot isolate a run, so the default (trust level L1 at least) would refuse it:")
    for cap in trust["caps"]:
        print(f"  {cap['reason']}: {cap['message']}")
    print(f"The demo lowers it in {SPEC}: minTrustLevel: L0", flush=True)
    path = REPO / SPEC
    path.write_text(path.read_text().replace("reproducibility: {", "reproducibility: {minTrustLevel: L0, "))


def main() -> None:
    """Run the demo."""
    _fresh_repository()
    _say("A new repository with a spec, its code, its data and its lock:")
    _shell("git", "init", "--quiet", "--initial-branch", "main", ".")
    _shell("ml", "init", ".")
    _allow_what_this_host_can_do()
    _shell("git", "add", "--all")
    _shell("git", "commit", "--quiet", "--message", "Begin")
    _say("What would run, may it, and how far can it be trusted?")
    _shell("ml", "explain", SPEC)
    _say("Run it:")
    _shell("ml", "run", SPEC)
    _say("What became of it:")
    _shell("ml", "status", NAME)
    _shell("ml", "verify", _run_id())
    _where_everything_lies()


def _run_id() -> str:
    return next(folder.name for folder in (REPO / ".fetchml" / "experiments").iterdir() if folder.name.startswith(NAME))


def _where_everything_lies() -> None:
    run = REPO.relative_to(ROOT) / ".fetchml" / "experiments" / _run_id()
    rows = {
        REPO.relative_to(ROOT) / SPEC: "the spec, now with its status block",
        run / "run_manifest.json": "what ran, on what, with what",
        run / "attestation.dsse.json": "the signed in-toto statement",
        run / "verdict.dsse.json": "the signed trust level",
        run / "run.log": "the log",
        run / "results": "metrics.jsonl and the outputs",
    }
    _say("Where everything lies:")
    for path, what in rows.items():
        if not (ROOT / path).exists():
            sys.exit(f"{path} is missing")
        print(f"  {path}\n      {what}")


if __name__ == "__main__":
    main()
