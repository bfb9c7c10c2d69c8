"""Every example runs through the command line, in a repository of its own, as its README says."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DIGITS = EXAMPLES / "digits"
SPECS = {"hello": "examples/hello/hello.yaml", "digits-softmax": "examples/digits/digits-softmax.yaml"}


def _run(repo: Path, *command: str, code: int = 0) -> str:
    result = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == code, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def _ml(repo: Path, *arguments: str, code: int = 0) -> str:
    return _run(repo, str(Path(sys.executable).with_name("ml")), *arguments, code=code)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A fresh repository with the examples committed and a key."""
    repo = tmp_path / "repo"
    shutil.copytree(EXAMPLES, repo / "examples", ignore=shutil.ignore_patterns("__pycache__", ".fetchml"))
    _run(repo, "git", "init", "--quiet")
    _ml(repo, "init", ".")
    _commit(repo, "Begin")
    return repo


def _commit(repo: Path, message: str) -> None:
    _run(repo, "git", "add", "--all")
    _run(repo, "git", "commit", "--quiet", "--message", message)


def _status(repo: Path, name: str) -> dict[str, Any]:
    """The status block that was written back into the spec, as any YAML reader finds it."""
    status: dict[str, Any] = yaml.safe_load((repo / SPECS[name]).read_text())["status"]
    return status


def test_every_spec_of_the_examples_is_run_here_and_explained() -> None:
    found = {str(path.relative_to(ROOT)) for path in EXAMPLES.rglob("*.yaml")}
    assert found == set(SPECS.values())
    readme = (EXAMPLES / "README.md").read_text()
    assert all(f"`ml run {spec}`" in readme for spec in SPECS.values())


@pytest.mark.needs("git", "userns")
def test_hello(repo: Path) -> None:
    _ml(repo, "run", SPECS["hello"])
    status = _status(repo, "hello")
    assert status["phase"] == "Succeeded"
    assert status["trustLevel"] == "L1"
    folder = repo / ".fetchml" / "experiments" / str(status["run"]["id"])
    assert (folder / "results" / "greeting.txt").read_text() == "hello, world\n"
    assert "hello, world; seed 1" in (folder / "run.log").read_text()
    _ml(repo, "verify", folder.name)


@pytest.mark.needs("git", "userns", "index")
def test_digits(repo: Path) -> None:
    """It learns, is recorded, verifies, and gives the same bytes when it is run again."""
    _ml(repo, "run", SPECS["digits-softmax"])
    first = _status(repo, "digits-softmax")
    assert first["phase"] == "Succeeded"
    assert first["metrics"]["accuracy"] > 0.85
    _ml(repo, "verify", str(first["run"]["id"]))

    path = repo / SPECS["digits-softmax"]
    path.write_text(
        path.read_text().replace("metadata:\n", "metadata:\n  annotations: {fetchml.dev/rerun: again}\n", 1)
    )
    _commit(repo, "Run it again")
    _ml(repo, "run", SPECS["digits-softmax"])
    second = _status(repo, "digits-softmax")
    assert second["run"]["id"] != first["run"]["id"]
    assert second["outputs"] == first["outputs"]
    assert second["metrics"] == first["metrics"]


def test_digits_pins_what_it_names() -> None:
    spec = (DIGITS / "digits-softmax.yaml").read_text()
    pinned = set(re.findall(r"sha256:([0-9a-f]{64})", spec))
    files = (DIGITS / "requirements.lock", DIGITS / "data" / "digits.csv.gz")
    assert pinned == {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.needs("index")
def test_digits_gives_the_same_bytes_after_an_interruption(tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = str(environment / "bin" / "python")
    lock = str(DIGITS / "requirements.lock")
    _run(tmp_path, python, "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "-r", lock)

    def train(name: str, epochs: int) -> Path:
        results, checkpoints = tmp_path / name, tmp_path / f"{name}-checkpoints"
        for folder in (results, checkpoints):
            folder.mkdir(exist_ok=True)
        folders = ["--results", str(results), "--checkpoints", str(checkpoints)]
        data = ["--data", str(DIGITS / "data" / "digits.csv.gz")]
        _run(tmp_path, python, str(DIGITS / "train.py"), *data, *folders, "--seed", "7", "--epochs", str(epochs))
        return results

    whole = train("whole", 4)
    train("parts", 2)
    parts = train("parts", 4)
    for name in ("model.npz", "metrics.jsonl"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    metrics = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics] == [1, 2, 3, 4]
    assert metrics[-1]["loss"] < metrics[0]["loss"]
