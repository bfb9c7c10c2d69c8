"""integrations/ and .pre-commit-hooks.yaml: their YAML is read, and what they run is run, on a branch of a repository.

The shell steps are executed word for word, with the variables that the forge would set. What only the forge itself can
do (choose a runner, show the result) is not tested here.
"""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
import yaml

from tests.e2e.cli import LIMIT, ML, Repo, spec

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "integrations" / "github" / "action.yml").read_text())
GITLAB: dict[str, Any] = yaml.safe_load((ROOT / "integrations" / "gitlab" / "fetchml-review.gitlab-ci.yml").read_text())
HOOKS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())

BROKEN = spec("broken").replace("resources:", "resorces:")
WAITS = spec("waits", extra='  datasets: [{name: d, uri: "file:later.csv", sha256: "sha256:%s"}]\n' % ("0" * 64))


@pytest.fixture
def branch(project: Repo) -> Repo:
    """On a branch, with one spec added; main is origin/main."""
    project.git("branch", "-M", "main")
    project.git("update-ref", "refs/remotes/origin/main", "main")
    project.git("checkout", "-q", "-b", "topic")
    return _committed(project, "hello", spec("hello"))


def _committed(repo: Repo, name: str, text: str) -> Repo:
    repo.write(f"specs/{name}.yaml", text)
    repo.git("add", "-A")
    repo.git("commit", "-qm", name)
    repo.git("update-ref", "refs/remotes/origin/topic", "HEAD")
    return repo


def _shell(repo: Repo, script: str, variables: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, **variables, "PATH": f"{Path(ML).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-e", "-c", script], cwd=repo.root, env=environment, capture_output=True, text=True, timeout=LIMIT,
        check=False,
    )  # fmt: skip


def _expanded(text: str, inputs: Mapping[str, str]) -> str:
    """The forge's expressions, as far as the action uses them."""
    values = {
        **{f"inputs.{name}": value for name, value in inputs.items()},
        "inputs.against || format('origin/{0}', github.base_ref)": inputs["against"] or "origin/main",
    }
    return re.sub(r"\$\{\{ (.*?) \}\}", lambda found: values[found[1]], text)


def _action(repo: Repo, folder: Path, **given: str) -> "tuple[int, str, dict[str, str], str]":
    """Run the action's steps: exit code, log, outputs, summary."""
    inputs = {name: str(each["default"]) for name, each in ACTION["inputs"].items()} | given
    out, summary, log = folder / "output", folder / "summary", ""
    out.write_text("")
    summary.write_text("")
    code = 0
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"], "an expression in a script is a way to inject one"
        variables = {name: _expanded(text, inputs) for name, text in step["env"].items()}
        forge = {"GITHUB_OUTPUT": str(out), "GITHUB_STEP_SUMMARY": str(summary), "RUNNER_TEMP": str(folder)}
        done = _shell(repo, step["run"], {**variables, **forge})
        log, code = log + done.stdout + done.stderr, done.returncode
        if code:
            break
    outputs = dict(line.split("=", 1) for line in out.read_text().splitlines())
    return code, log, outputs, summary.read_text()


def _failures(file: str) -> str | None:
    return Xml.fromstring(Path(file).read_text()).get("failures")  # noqa: S314  # our own output


def test_the_action_reports_a_change_that_would_start(branch: Repo, tmp_path: Path) -> None:
    code, log, outputs, summary = _action(branch, tmp_path)
    assert code == 0, log
    assert "A first run starts." in log
    assert set(outputs) == set(ACTION["outputs"])
    assert "`default/hello` added in `specs/hello.yaml`" in summary
    assert summary == Path(outputs["markdown"]).read_text()
    assert _failures(outputs["junit"]) == "0"
    assert json.loads(Path(outputs["sarif"]).read_text())["runs"][0]["results"] == []


def test_the_action_fails_on_an_invalid_spec_and_says_where(branch: Repo, tmp_path: Path) -> None:
    code, log, outputs, summary = _action(_committed(branch, "broken", BROKEN), tmp_path)
    assert (code, outputs["exit-code"]) == (3, "3"), log
    (result,) = json.loads(Path(outputs["sarif"]).read_text())["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    line = BROKEN.splitlines().index(next(line for line in BROKEN.splitlines() if "resorces" in line)) + 1
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("specs/broken.yaml", line)
    assert f"line {line}" in summary
    assert _failures(outputs["junit"]) == "1"


def test_the_action_only_warns_of_what_must_wait(branch: Repo, tmp_path: Path) -> None:
    code, log, outputs, _ = _action(_committed(branch, "waits", WAITS), tmp_path)
    assert (code, outputs["exit-code"]) == (0, "8"), log
    assert "::warning::" in log


def test_the_action_fails_where_the_base_is_not_there(branch: Repo, tmp_path: Path) -> None:
    code, log, outputs, _ = _action(branch, tmp_path, against="origin/nothing")
    assert code == 5
    assert "git fetch" in log
    assert outputs == {}


def test_a_hostile_branch_name_or_spec_commands_nothing(branch: Repo, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    code, _, _, _ = _action(branch, tmp_path, against=f"$(touch {canary})", specs="specs")
    assert code == 5
    branch.git("mv", "specs/hello.yaml", "specs/::add-mask::x.yaml")
    branch.write("specs/::error::x.yaml", BROKEN)
    branch.git("add", "-A")
    branch.git("commit", "-qm", "hostile")
    code, log, _, _ = _action(branch, tmp_path)
    assert code == 3
    stop = log.index("::stop-commands::")
    token = log[stop:].splitlines()[0].removeprefix("::stop-commands::")
    assert len(token) == 32
    heard = log[:stop] + log[log.index(f"::{token}::") + len(token) + 4 :]
    assert "::error::" not in heard
    assert not canary.exists()


def _gitlab(repo: Repo, base: str) -> "subprocess.CompletedProcess[str]":
    job = GITLAB["fetchml-review"]
    script = "\n".join([*job["before_script"], *job["script"]])
    return _shell(repo, script, {**job["variables"], "CI_MERGE_REQUEST_DIFF_BASE_SHA": base})


def test_the_gitlab_job_leaves_what_it_declares(branch: Repo) -> None:
    job = GITLAB["fetchml-review"]
    base = branch.git("rev-parse", "main").strip()
    done = _gitlab(branch, base)
    assert done.returncode == 0, done.stderr
    declared = [*job["artifacts"]["paths"], job["artifacts"]["reports"]["junit"]]
    assert all((branch.root / name).stat().st_size for name in declared)
    assert _gitlab(_committed(branch, "waits", WAITS), base).returncode in job["allow_failure"]["exit_codes"]
    refused = _gitlab(_committed(branch, "broken", BROKEN), base)
    assert refused.returncode == 3
    assert refused.returncode not in job["allow_failure"]["exit_codes"]


def _hook(repo: Repo, name: str, *files: str) -> "subprocess.CompletedProcess[str]":
    (hook,) = [each for each in HOOKS if each["id"] == name]
    words = [*shlex.split(hook["entry"]), *hook.get("args", ()), *files]
    return _shell(repo, shlex.join(words), {})


def test_the_pre_commit_hook_validates_the_files_it_is_given(branch: Repo) -> None:
    assert _hook(branch, "ml-validate", "specs/hello.yaml").returncode == 0
    branch.write("specs/broken.yaml", BROKEN)
    assert _hook(branch, "ml-validate", "specs/hello.yaml", "specs/broken.yaml").returncode == 3


def test_the_pre_push_hook_stops_what_preflight_refuses(branch: Repo) -> None:
    assert _hook(branch, "ml-explain").returncode == 0
    assert _hook(_committed(branch, "waits", WAITS), "ml-explain").returncode == 0
    unpinned = spec("unpinned", extra='  datasets: [{name: d, uri: "file:later.csv"}]\n')
    assert _hook(_committed(branch, "unpinned", unpinned), "ml-explain").returncode == 4
