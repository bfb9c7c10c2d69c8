"""Finding a Python by its version."""

import os
import platform
import sys
from pathlib import Path

import pytest

from controller.inputs.interpreters import Interpreters, matches

RUNNING = platform.python_version()


def shim(folder: Path, name: str, body: str) -> Path:
    """An executable shell script."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / name
    place.write_text(f"#!/bin/sh\n{body}\n")
    place.chmod(0o755)
    return place


def pretending(version: str) -> str:
    """A shim body that answers like an interpreter of that version, and counts how often it is asked."""
    path = os.path.realpath(sys.executable)
    return f"""echo x >> "$0.asked"\necho '["{version}", "cpython", "linux-x86_64", "{path}", "/usr"]'"""


def test_the_running_one_is_taken_when_it_matches(tmp_path: Path) -> None:
    interpreters = Interpreters(tmp_path / "cache.json")
    for wanted in (None, ".".join(RUNNING.split(".")[:2]), RUNNING):
        facts = interpreters.facts(wanted)
        assert (facts.found, facts.version, facts.requested) == (True, RUNNING, wanted)
        assert facts.path == os.path.realpath(facts.path)
        assert facts.prefix == sys.base_prefix
    assert not (tmp_path / "cache.json").exists()


def test_an_interpreter_on_the_path_is_asked_once_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = shim(tmp_path / "bin", "python3.77", pretending("3.77.1"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    for _ in range(2):
        facts = Interpreters(tmp_path / "cache.json").facts("3.77")
        assert (facts.found, facts.version) == (True, "3.77.1")
    asked = place.with_name("python3.77.asked")
    assert asked.read_text() == "x\n"
    shim(tmp_path / "bin", "python3.77", pretending("3.77.2"))
    assert Interpreters(tmp_path / "cache.json").facts("3.77").version == "3.77.2"
    assert not Interpreters(tmp_path / "cache.json").facts("3.77.9").found


def test_the_operators_list_comes_first(tmp_path: Path) -> None:
    place = shim(tmp_path, "mine", pretending("3.77.0"))
    assert Interpreters(tmp_path / "cache.json", [str(place)]).facts(None).version == "3.77.0"


@pytest.mark.parametrize(
    "body", ["exit 1", "echo rubbish", "echo '[1]'", "echo '[1, 2, 3, 4, 5]'", pretending("2.7.18")]
)
def test_what_is_no_python_is_passed_over(tmp_path: Path, body: str) -> None:
    places = [str(shim(tmp_path, "bad", body)), str(tmp_path / "absent"), str(tmp_path)]
    assert Interpreters(tmp_path / "cache.json", places).facts(None).version == RUNNING


@pytest.mark.parametrize("rubbish", [b"", b"{", b"[]", b'{"a": 1}', b"\xff"])
def test_a_damaged_cache_is_ignored(tmp_path: Path, rubbish: bytes) -> None:
    (tmp_path / "cache.json").write_bytes(rubbish)
    place = shim(tmp_path, "mine", pretending("3.77.0"))
    assert Interpreters(tmp_path / "cache.json", [str(place)]).facts("3.77").found


@pytest.mark.parametrize(
    ("version", "wanted", "answer"),
    [
        ("3.11.2", "3.11", True),
        ("3.11.2", "3.11.2", True),
        ("3.11.2", "3.1", False),
        ("3.11.2", "3.11.20", False),
        ("3.9.0", None, True),
        ("3.8.19", None, False),
        ("3.14.0rc1", "3.14", True),
    ],
)
def test_which_version_is_meant(version: str, wanted: str | None, answer: bool) -> None:
    assert matches(version, wanted) is answer
