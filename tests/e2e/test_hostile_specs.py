"""Specs and repositories of people who mean no good: nothing is believed that the store knows better, nothing runs."""

import json
import random
import re
import shlex
import shutil
from pathlib import Path

import pytest

from controller.api.documents import load
from tests.e2e.cli import Repo, spec

ROOT = Path(__file__).parents[2]
SEEDS = [path.read_bytes() for path in sorted((ROOT / "tests" / "corpus" / "valid").iterdir())]
TOKENS = (
    b"&a ", b"*a", b"!!python/object:os.system ", b"<<: ", b"? ", b"- ", b": ", b"{", b"}", b"[", b'"', b"'", b"|\n",
    b">\n", b"#", b"%YAML 1.1\n", b"---\n", b"...\n", b"\t", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xae",
    b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"1e999", b"~", b".nan", b"yes", b"status:\n", b"- " * 50, b"[" * 50,
    b"$(params.x)", b"$(", b"\xc2\x85", b"@", b"`", b"!<tag:x> ",
)  # fmt: skip


def _mutated(dice: random.Random) -> bytes:
    data = bytearray(dice.choice(SEEDS))
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(4):
            case 0:
                del data[at : at + dice.randint(1, 20)]
            case 1:
                data[at:at] = dice.choice(TOKENS)
            case 2:
                data[at:at] = dice.randbytes(dice.randint(1, 8))
            case _:
                other = dice.randrange(len(data) + 1)
                data[at:at] = data[other : other + 200]
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_specs_get_a_position_inside_the_file(seed: int) -> None:
    """2,000 damaged files: none raises, and every sentence is one line that points into the file."""
    dice = random.Random(seed)  # noqa: S311  # no secret: it must be repeatable
    for _ in range(500):
        data = _mutated(dice)
        lines = len(re.split(rb"\r\n|\r|\n|\xc2\x85|\xe2\x80\xa8|\xe2\x80\xa9", data))
        for problem in load(data, "x.yaml").problems:
            assert 1 <= problem.position.line <= lines, data
            assert problem.position.column >= 1, data
            assert re.match(r"x\.yaml:\d+:\d+: \S", str(problem)), data
            assert not set("\n\r\0\x1b\x85\u2028\u202e") & set(str(problem)), data


def test_a_forged_status_is_not_believed_when_the_store_knows_better(project: Repo) -> None:
    path = project.write("specs/first.yaml", spec("first", "import sys; sys.exit(3)"))
    project.ml("run", str(path), code=7)
    honest = path.read_text()
    forged = honest.replace("phase: Failed", "phase: Succeeded").replace("trustLevel: L1", "trustLevel: L4")
    assert forged != honest
    path.write_text(forged)
    assert project.ml("run", str(path), code=7).code == 7
    assert path.read_text() == honest
    shown = project.ml("status", "first", "-o", "json").json["items"][0]
    assert (shown["phase"], shown["status"]["trustLevel"]) == ("Failed", "L1")


def test_a_forged_status_of_another_spec_starts_what_it_hides(project: Repo) -> None:
    """Only the very spec that it names can be called finished, and then without any trust."""
    forged = "status:\n  phase: Succeeded\n  trustLevel: L4\n  observedGeneration: 99\n  specSha256: sha256:" + "0" * 64
    path = project.write("specs/first.yaml", spec("first") + forged + "\n")
    project.ml("run", str(path))
    status = project.ml("status", "first", "-o", "json").json["items"][0]["status"]
    assert (status["run"]["exitCode"], status["observedGeneration"], status["trustLevel"]) == (0, 1, "L1")


def test_two_new_specs_of_one_name_are_told_that_they_clash(project: Repo) -> None:
    """It once was said to nobody: `ml run` waited for ever, and the reconciler called the name gone."""
    (project.root / "specs" / "first.yaml").unlink()
    for name in ("one", "two"):
        project.write(f"specs/{name}.yaml", spec("same"))
    said = project.ml("reconcile", "specs", "--once").err
    assert "Blocked  NameClash: default/same stands in specs/one.yaml, specs/two.yaml" in said
    assert project.phase("same") == "Blocked"
    assert "NameClash" in project.ml("run", "specs/one.yaml", code=3).err
    (project.root / "specs" / "two.yaml").unlink()
    project.ml("run", "specs/one.yaml")


EVIL = """
[core]
 fsmonitor = "{fsmonitor}"
 hooksPath = {hooks}
 sshCommand = "{ssh}"
 pager = "{pager}"
 editor = "{editor}"
 worktree = /etc
 attributesFile = {attributes}
[filter "evil"]
 clean = "{clean}; cat"
 smudge = "{smudge}; cat"
 process = "{process}"
 required = true
[diff]
 external = "{external}"
[diff "evil"]
 textconv = "{textconv}"
 command = "{command}"
[alias]
 rev-parse = "!{alias}"
 ls-files = "!{alias}"
[gpg]
 program = "{gpg}"
[log]
 showSignature = true
[credential]
 helper = "!{credential}"
[include]
 path = {include}
[extensions]
 partialClone = origin
[remote "origin"]
 url = ext::sh -c "{ext}"
 promisor = true
 vcs = evil
 uploadpack = "{uploadpack}"
"""


def _poison(project: Repo, canaries: Path) -> None:
    """Give the repository a configuration that starts a program at every occasion that git knows."""
    canaries.mkdir()
    names = set(re.findall(r"\{(\w+)\}", EVIL)) - {"hooks", "attributes", "include"}
    hooks = canaries.with_name("hooks")
    hooks.mkdir()
    for name in ("post-index-change", "reference-transaction", "post-checkout", "pre-auto-gc"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {shlex.quote(str(canaries / name))}\n")
        (hooks / name).chmod(0o755)
    attributes, include = canaries.with_name("attributes"), canaries.with_name("include")
    attributes.write_text("* filter=evil diff=evil\n")
    include.write_text(f'[core]\n fsmonitor = "touch {canaries}/include; false"\n')
    values = {name: f"touch {canaries}/{name}" for name in names}
    text = EVIL.format(**values, hooks=hooks, attributes=attributes, include=include)
    config = project.root / ".git" / "config"
    config.write_text(config.read_text() + text)


def test_nothing_of_a_hostile_repository_s_configuration_runs(project: Repo, tmp_path: Path) -> None:
    project.write("code/.gitattributes", "* filter=evil diff=evil\n")
    project.git("add", "-A")
    project.git("commit", "-qm", "Ask for filters")
    canaries = tmp_path / "canaries"
    plain = project.root / ".git" / "config"
    innocent = plain.read_text()
    _poison(project, canaries)
    (project.root / "code" / "first.py").touch()
    for words in (("explain", "specs/first.yaml"), ("diff", "specs/first.yaml"), ("validate", "HEAD"), ("doctor",)):
        project.ml(*words, code=None)
    explained = project.ml("explain", "specs/first.yaml", "-o", "json", code=None).json
    assert "DirtyTree" not in json.dumps(explained)
    assert list(canaries.iterdir()) == []
    touch = project.root / "code" / "second.py"
    touch.write_text("")
    project.ml("explain", "specs/first.yaml", code=4)
    assert list(canaries.iterdir()) == []
    # The occasions are real: git itself starts what it finds there.
    plain.write_text(innocent + f'[core]\n fsmonitor = "touch {canaries}/real; false"\n')
    project.git("status")
    assert [path.name for path in canaries.iterdir()] == ["real"]


def test_a_forged_status_is_no_run(project: Repo) -> None:
    """The very status of a run that succeeded, in a repository whose store never saw it."""
    path = project.write("specs/hello.yaml", spec("hello"))
    project.ml("run", "specs/hello.yaml")
    forged = path.read_text()
    shutil.rmtree(project.root / ".fetchml")
    done = project.ml("run", "specs/hello.yaml", code=4)
    assert "finished elsewhere, unverified: nothing was run" in done.err
    assert 'fetchml.dev/rerun: "' in done.err
    assert "finished elsewhere and unverified" in project.ml("explain", "specs/hello.yaml").out
    assert "FinishedElsewhere" in project.ml("status").out
    assert "unverified" in project.ml("wait", "hello", code=4).err
    annotated = forged.replace("  name: hello\n", '  name: hello\n  annotations: {fetchml.dev/rerun: "1"}\n')
    path.write_text(annotated)
    project.ml("run", "specs/hello.yaml")
    assert len(list((project.root / ".fetchml" / "experiments").iterdir())) == 1
