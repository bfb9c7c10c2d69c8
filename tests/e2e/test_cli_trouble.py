"""Bad surroundings: each is a sentence and an exit code, never a traceback, and --debug shows the traceback."""

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.cli import ML, Repo, spec


def test_records_that_cannot_be_written(project: Repo) -> None:
    blocked = project.write("blocked", "a file where a folder must be")
    result = project.ml("--base-path", str(blocked / "base"), "run", "specs/first.yaml", code=2)
    assert result.err.startswith(str(blocked))


def test_a_folder_that_may_not_be_written(project: Repo) -> None:
    """On a read-only file system, which binds root too."""
    result = project.ml("init", "/proc/sys/new", code=None)
    assert result.code in {5, 6}
    assert result.err.startswith("/proc/sys/new: ")


def test_debug_shows_the_traceback_before_or_after_the_command(project: Repo) -> None:
    for words in (["--debug", "explain", "nope"], ["explain", "nope", "--debug"]):
        done = subprocess.run([ML, *words], cwd=project.root, capture_output=True, text=True, check=False)
        assert "Traceback" in done.stderr
        assert done.returncode != 0


def test_a_locked_store(project: Repo) -> None:
    project.ml("approve", "specs/first.yaml")
    with sqlite3.connect(project.root / ".fetchml" / "state.db", isolation_level=None) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        result = project.ml("approve", "specs/first.yaml", code=1)
        connection.execute("ROLLBACK")
    assert "stayed locked by another process" in result.err
    assert "--debug" not in result.err
    project.ml("approve", "specs/first.yaml")


def test_a_store_of_a_newer_version(project: Repo) -> None:
    project.ml("approve", "specs/first.yaml")
    with sqlite3.connect(project.root / ".fetchml" / "state.db") as connection:
        connection.execute("PRAGMA user_version = 999")
    for words in (("status",), ("run", "specs/first.yaml")):
        assert "upgrade fetchml" in project.ml(*words, code=1).err


def test_a_key_that_others_may_read(project: Repo, tmp_path: Path) -> None:
    """`run` refuses before it starts anything; `explain` only looks."""
    own = {"XDG_DATA_HOME": str(tmp_path / "data")}
    project.ml("key", "new", **own)
    (key,) = (tmp_path / "data" / "fetchml" / "keys").glob("*.pem")
    key.chmod(0o644)
    result = project.ml("run", "specs/first.yaml", code=6, **own)
    assert key.name in result.err
    assert not (project.root / ".fetchml" / "experiments").exists()
    project.git("add", "-A")
    project.git("commit", "-qm", "key")
    project.ml("explain", "specs/first.yaml", **own)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x00\x01\x02", "x.yaml:1:1: "),
        (b"\xff\xfe", "x.yaml:1:1: "),
        (b"#" * (11 << 20), "x.yaml:1:1: "),
        (b"", "x.yaml:1:1: "),
        (b"kind: Quota\n", "x.yaml:1:1: "),
    ],
    ids=["binary", "not utf-8", "11 MiB", "empty", "incomplete"],
)
def test_files_that_are_no_specs(project: Repo, content: bytes, said: str) -> None:
    (project.root / "x.yaml").write_bytes(content)
    result = project.ml("explain", "x.yaml", code=None)
    assert result.code in {2, 3}
    assert said in result.err
    assert len(result.err) < 2000


def test_a_folder_named_like_a_spec(project: Repo) -> None:
    (project.root / "specs" / "x.yaml").mkdir()
    assert "is a folder" in project.ml("explain", "specs/x.yaml", code=2).err
    project.ml("validate", "specs")
    project.ml("reconcile", "specs", "--once")


@pytest.fixture
def read_only(project: Repo) -> Iterator[Callable[[], None]]:
    """Call it, and nobody can write to the repository any more, root included."""
    mounted: list[Path] = []

    def bind() -> None:
        subprocess.run(["mount", "--bind", "-o", "ro", project.root, project.root], check=False, capture_output=True)
        if os.access(project.root, os.W_OK):
            pytest.skip("needs a read-only bind mount")
        mounted.append(project.root)

    yield bind
    for place in mounted:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("ran", [False, True], ids=["new", "ran"])
def test_looking_at_a_read_only_repository(project: Repo, read_only: Callable[[], None], *, ran: bool) -> None:
    project.write("specs/hello.yaml", spec("hello"))
    if ran:
        project.ml("run", "specs/hello.yaml")
    read_only()
    shown = project.ml("explain", "specs/hello.yaml").out
    assert ("this plan ran already" in shown) == ran
    assert project.ml("diff", "specs/hello.yaml", "-o", "json", code=0 if ran else 1).json["changes"] == []
    project.ml("validate", "specs")


def test_looking_makes_nothing_even_where_nothing_can_be_made(project: Repo) -> None:
    project.ml("explain", "specs/first.yaml")
    assert not (project.root / ".fetchml" / "state.db").exists()
    blocked = project.write("blocked", "a file where a folder must be")
    words = ("--base-path", str(blocked / "base"))
    assert "Preflight" in project.ml(*words, "explain", "specs/first.yaml").out
    project.ml(*words, "diff", "specs/first.yaml", code=1)


def test_a_name_that_stands_twice_is_explained(project: Repo) -> None:
    project.write("specs/one.yaml", spec("same"))
    project.write("specs/two.yaml", spec("same"))
    shown = project.ml("explain", "specs/one.yaml", code=4).out
    assert "NameClash: default/same stands in 2 files: specs/one.yaml, specs/two.yaml" in shown
    assert "specs/one.yaml:4:" in shown


def test_status_that_cannot_be_written_back_is_said(project: Repo) -> None:
    """The run succeeds and the store has the status; the spec's folder takes no file."""
    path = project.write("specs/hello.yaml", spec("hello"))
    subprocess.run(["mount", "--bind", "-o", "ro", path.parent, path.parent], check=False, capture_output=True)
    if os.access(path.parent, os.W_OK):
        pytest.skip("needs a read-only bind mount")
    try:
        result = project.ml("run", "specs/hello.yaml")
    finally:
        subprocess.run(["umount", path.parent], check=True)
    assert "StatusNotWritten" in result.err
    assert project.phase("hello") == "Succeeded"
