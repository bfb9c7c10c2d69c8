"""Every malformed, hostile and valid spec of tests/corpus, each against the reasons and places that it names itself.

A file begins with `# expect: Reason@line:column field` lines and `# tag:` (syntax, schema, semantic); expected.json
holds those of files that can have no such header.
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from controller.api.documents import load

CORPUS = Path(__file__).parents[2] / "corpus"
FILES = sorted(path for folder in ("malformed", "hostile") for path in (CORPUS / folder).glob("*.yaml"))
VALID = sorted((CORPUS / "valid").glob("*.yaml"))
SIDE_TABLE = json.loads((CORPUS / "expected.json").read_text())
NEIGHBOUR = b"apiVersion: fetchml.dev/v1alpha1\nkind: Quota\nmetadata: {name: neighbour}\nspec: {gpus: 1}\n...\n"
_EXPECT = re.compile(r"(\w+)@(\d+):(\d+)(?: (.*))?")


class Expected(NamedTuple):
    problems: list[tuple[int, int, str, str]]
    tags: set[str]


def _expected(path: Path) -> Expected:
    listed = SIDE_TABLE.get(str(path.relative_to(CORPUS)))
    if listed:
        lines, tag = listed["expect"], listed["tag"]
    else:
        header = path.read_text().splitlines()
        lines = [line.removeprefix("# expect: ") for line in header if line.startswith("# expect: ")]
        tag = next(line.removeprefix("# tag: ") for line in header if line.startswith("# tag: "))
    found = [_EXPECT.fullmatch(line) for line in lines]
    assert found
    assert all(found)
    problems = [(int(m[2]), int(m[3]), m[1], m[4] or "") for m in found if m]
    return Expected(sorted(problems), set(tag.split()))


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def test_the_corpus_is_large_enough() -> None:
    counts = {folder: len(list((CORPUS / folder).glob("*.yaml"))) for folder in ("malformed", "hostile", "valid")}
    print(f"corpus: {counts}")
    assert counts["malformed"] >= 200
    assert counts["hostile"] >= 100
    assert counts["valid"] >= 20


@pytest.mark.parametrize("path", FILES, ids=map(_name, FILES))
def test_each_problem_has_its_reason_and_place_and_a_fix(path: Path) -> None:
    loaded = load(path.read_bytes(), path.name)
    problems = loaded.problems
    assert sorted((p.position.line, p.position.column, p.reason, p.field) for p in problems) == _expected(path).problems
    assert {problem.kind for problem in problems} == _expected(path).tags
    for problem in problems:
        assert problem.message
        assert problem.fix
        assert str(problem).startswith(f"{path.name}:{problem.position.line}:{problem.position.column}: ")
        assert len(str(problem)) < 600, "a message must not repeat a huge value"


@pytest.mark.parametrize("path", FILES, ids=map(_name, FILES))
def test_a_valid_neighbour_in_the_same_file_is_not_affected(path: Path) -> None:
    data = path.read_bytes()
    alone, both = load(data, path.name), load(NEIGHBOUR + data, path.name)
    whole_file = {"NotUTF8", "ControlCharacter", "EmptyFile", "FileTooLarge"}
    if {problem.reason for problem in alone.problems} & whole_file and not both.documents:
        return  # nothing in such a file can be trusted
    assert both.documents[0].name == "neighbour"
    lines = NEIGHBOUR.count(b"\n")
    shifted = [(p.position.line - lines, p.position.column, p.reason) for p in both.problems]
    assert shifted == [
        (p.position.line, p.position.column, p.reason) for p in alone.problems if p.reason != "EmptyFile"
    ]


@pytest.mark.parametrize("path", VALID, ids=map(_name, VALID))
def test_valid_specs_load(path: Path) -> None:
    loaded = load(path.read_bytes(), path.name)
    assert not loaded.problems
    assert loaded.documents
