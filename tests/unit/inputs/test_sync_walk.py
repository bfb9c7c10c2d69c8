"""What a snapshot takes from a folder: compared with git where git decides the same."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.inputs.beneath import UnsafePathError
from controller.inputs.statcache import path_in
from controller.inputs.sync_walk import walk


def make(root: Path, *paths: str, **ignore: str) -> Path:
    """Empty files; ignore files by the folder that holds them ("top" is the root)."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    for folder, text in ignore.items():
        place = root if folder == "top" else root / folder
        place.mkdir(parents=True, exist_ok=True)
        (place / ".gitignore").write_text(text)
    return root


def taken(root: Path, *, ignore: bool = True) -> list[str]:
    """Paths without the ignore files themselves."""
    found = [os.fsdecode(path_in(entry)) for entry in walk(root, ignore=ignore).entries]
    return [path for path in found if not path.endswith("ignore")]


def test_ignored_files_and_folders_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.py", "a.pyc", "build/x", "sub/build/y", "keep/b.pyc", top="*.pyc\n/build/\n", keep="!b.pyc\n")
    assert taken(tmp_path) == ["a.py", "keep/b.pyc", "sub/build/y"]
    assert len(taken(tmp_path, ignore=False)) == 5


def test_mlignore_decides_after_gitignore(tmp_path: Path) -> None:
    make(tmp_path, "model.bin", "raw.csv", "a", top="*.bin\n")
    (tmp_path / ".mlignore").write_text("!model.bin\nraw.csv\n")
    assert taken(tmp_path) == ["a", "model.bin"]


def test_the_rules_of_the_repository_above_hold_too(tmp_path: Path) -> None:
    make(tmp_path, "code/a", "code/tmp/x", "code/b.log", top="*.log\n/code/tmp/\n")
    (tmp_path / ".git").mkdir()
    assert taken(tmp_path / "code") == ["a"]


def test_git_and_our_own_records_are_never_taken(tmp_path: Path) -> None:
    make(tmp_path, "a", ".git/config", ".fetchml/state.db", "sub/.git", ".github/x")
    assert taken(tmp_path) == [".github/x", "a"]


@pytest.mark.parametrize("kind", ["symlink", "fifo", "socket", "dangling"])
def test_what_is_no_file_is_refused_unless_it_is_ignored(tmp_path: Path, kind: str) -> None:
    odd = make(tmp_path, "a") / "odd\nname"
    if kind == "fifo":
        os.mkfifo(odd)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(tmp_path):
            listening.bind(odd.name)
    else:
        odd.symlink_to("a" if kind == "symlink" else "nothing")
    with pytest.raises(UnsafePathError, match=r"'odd\\nname' is .*mlignore"):
        walk(tmp_path, ignore=True)
    (tmp_path / ".mlignore").write_text("odd*\n")
    assert taken(tmp_path) == ["a"]
    with pytest.raises(UnsafePathError):
        walk(tmp_path, ignore=False)


@pytest.mark.needs("root")
def test_a_device_is_refused(tmp_path: Path) -> None:
    os.mknod(tmp_path / "null", 0o666 | 0o020000, os.makedev(1, 3))
    with pytest.raises(UnsafePathError, match="null"):
        walk(tmp_path, ignore=True)


def test_executable_files_are_known(tmp_path: Path) -> None:
    make(tmp_path, "a", "b", "c")
    for name in ("c", "a"):
        (tmp_path / name).chmod(0o755)
    assert [path_in(entry) for entry in walk(tmp_path, ignore=True).executable] == [b"a", b"c"]


NAMES = ["a", "b", "ab", "build", "x.pyc", "x.py", "foo bar", "[x]", "é", "-d", "#h", "new\nline", "back\\slash", "z "]
LINES = [
    *("a", "/a", "a/", "/a/", "*", "!a", "!*/", "*.py", "*.pyc", "!x.py", "/*", "!/a", "a/b", "a/*", "!a/b", "**/b"),
    *(
        "a/**",
        "**/a/**",
        "foo bar",
        "[ab]",
        "[!a]b",
        "?",
        "\\#h",
        "#h",
        "",
        "  ",
        "é",
        "-d",
        "\\!a",
        "build/",
        "!build/",
    ),
    *("z\\ ", "z ", "*\\\\*", "a*/b", "!a/**/b", "/**/ab", "**", "b\r"),
]
paths = st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), min_size=1, max_size=8)
ignores = st.lists(
    st.tuples(st.lists(st.sampled_from(NAMES), max_size=2), st.lists(st.sampled_from(LINES), min_size=1, max_size=4)),
    max_size=3,
)


def _tree(root: Path, files: list[list[str]], rules: list[tuple[list[str], list[str]]]) -> None:
    for parts in files:
        try:
            (root.joinpath(*parts)).parent.mkdir(parents=True, exist_ok=True)
            root.joinpath(*parts).touch()
        except (NotADirectoryError, FileExistsError, IsADirectoryError):
            continue
    for folder, lines in rules:
        if root.joinpath(*folder).is_dir():
            (root.joinpath(*folder) / ".gitignore").write_bytes("\n".join(lines).encode())


@pytest.mark.needs("git")
@given(files=paths, rules=ignores)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_git_takes_the_same_files(
    files: list[list[str]], rules: list[tuple[list[str], list[str]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("tree")
    _tree(root, files, rules)
    subprocess.run(["git", "init", "-q", "."], cwd=root, check=True)
    words = ["git", "ls-files", "-z", "--others", "--exclude-per-directory=.gitignore"]
    listed = subprocess.run(words, cwd=root, check=True, capture_output=True).stdout
    assert [path_in(entry) for entry in walk(root, ignore=True).entries] == sorted(filter(None, listed.split(b"\0")))


def test_without_the_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a", top="*.pyc\n")
    monkeypatch.setitem(sys.modules, "pathspec", None)
    with pytest.raises(OSError, match=r"fetchml\[data\]"):
        walk(tmp_path, ignore=True)
    assert len(walk(tmp_path, ignore=False).entries) == 2, "a dataset needs none"
