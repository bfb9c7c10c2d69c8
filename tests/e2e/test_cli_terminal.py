"""What differs between a terminal, a pipe and NO_COLOR; control sequences of a log; progress; completion."""

import os
import shutil
import subprocess

import pytest

from tests.e2e.cli import ML, Repo, plain, spec

COLOURED = [("status",), ("explain", "specs/hello.yaml"), ("verify", "hello"), ("doctor",), ("info", "hello")]


@pytest.mark.parametrize("words", COLOURED, ids=" ".join)
def test_colour_only_on_a_terminal(ran: Repo, words: tuple[str, ...]) -> None:
    coloured = ran.on_terminal(*words).out
    assert "\x1b[3" in coloured
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in ran.on_terminal(*words, **environment).out
    piped = ran.ml(*words).out
    assert "\x1b" not in piped
    if words[0] in {"verify", "info"}:
        assert plain(coloured) == piped


def test_json_has_no_colour_on_a_terminal(ran: Repo) -> None:
    assert "\x1b" not in ran.on_terminal("status", "-o", "json").out


def test_progress_is_on_stderr_and_erased(project: Repo) -> None:
    big = project.root / "big.bin"
    with big.open("wb") as file:
        file.truncate(3 << 30)
    extra = '  datasets: [{name: big, uri: file:big.bin, sha256: "sha256:' + "0" * 64 + '"}]\n'
    project.write("x.yaml", spec("x", extra=extra))
    project.write(".gitignore", ".fetchml/\nbig.bin\n")
    piped = project.ml("explain", "x.yaml", code=4)
    assert "hashing" not in piped.out
    assert "hashing big: " in piped.err
    shutil.rmtree(project.root / ".fetchml")
    shown = project.on_terminal("explain", "x.yaml").out
    assert "\r\x1b[Khashing big: " in shown
    assert "% (" in shown
    assert "\r\x1b[KExperiment" in shown


def test_a_log_cannot_steer_the_terminal(project: Repo) -> None:
    code = r"import sys; sys.stdout.write('\x1b]0;owned\x07\x1b[2Jok\n')"
    project.write("specs/evil.yaml", spec("evil", code))
    shown = project.on_terminal("run", "specs/evil.yaml").out
    assert "\x1b]0;" not in shown
    assert "\x1b[2J" not in shown
    assert "\N{REPLACEMENT CHARACTER}[2Jok" in shown
    assert "\x1b[2J" in project.ml("logs", "evil").out
    assert "\x1b[2J" not in project.on_terminal("logs", "evil").out


def complete(repo: Repo, shell: str, *words: str) -> set[str]:
    """What a shell is offered after these words (the last one is being typed)."""
    line = "ml " + " ".join(words)
    environment = {**os.environ, "_ML_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    if shell == "fish":
        environment["COMP_CWORD"] = words[-1]
    done = subprocess.run([ML], cwd=repo.root, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    if shell == "zsh":
        return set(done.stdout.splitlines()[1::3])  # kind, value, help
    return {line.partition(",")[2].partition("\t")[0] for line in done.stdout.splitlines() if line}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(ran: Repo, shell: str) -> None:
    assert complete(ran, shell, "sta") == {"status"}
    assert {"explain", "run", "status", "verify"} <= complete(ran, shell, "")
    assert complete(ran, shell, "explain", "--deta") == {"--detailed-exitcode"}
    assert complete(ran, shell, "status", "-o", "j") == {"json"}
    assert complete(ran, shell, "status", "he") == {"hello"}
    assert complete(ran, shell, "logs", "hello-") == {ran.run_id("hello")}
    assert complete(ran, shell, "key", "r") == {"rotate", "revoke"}
    assert f"_ML_COMPLETE={shell}_complete" in ran.ml("completion", shell).out


def test_completion_in_bash_itself(ran: Repo) -> None:
    typed = "COMP_WORDS=(ml verify he); COMP_CWORD=2"
    script = f'eval "$(ml completion bash)"; {typed}; _ml_completion ml; echo "${{COMPREPLY[@]}}"'
    environment = {**os.environ, "PATH": f"{os.path.dirname(ML)}:{os.environ['PATH']}"}  # noqa: PTH120  # a PATH entry
    done = subprocess.run(
        ["bash", "-c", script], cwd=ran.root, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["hello", ran.run_id("hello")]


def test_completion_where_nothing_ran(project: Repo) -> None:
    assert complete(project, "bash", "status", "x") == set()
