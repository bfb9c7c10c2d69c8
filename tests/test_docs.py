"""The documentation as checks: links lead somewhere, commands exist and run, generated pages are current."""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from controller.api.documents import load
from controller.entrypoints.cli.app import ml
from controller.entrypoints.cli.errors import Exit
from tools import cli_reference, screenshot

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part == "build" or part.startswith(".") for part in path.relative_to(ROOT).parts)
)
MANUAL = [page for page in PAGES if page.parent == ROOT / "docs" / "how-to"] + [ROOT / "README.md"]
REASONS = ROOT / "docs" / "reasons.md"


def _ids(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def _blocks(page: Path, *languages: str) -> Iterator[str]:
    """The fenced blocks of a page in one of the languages."""
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE):
        if language in languages:
            yield text


@pytest.mark.parametrize("page", PAGES, ids=_ids(PAGES))
def test_links_resolve(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.name} links to {target}"


def test_the_command_line_reference_is_current() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == cli_reference.reference(), "run `make generate`"


def _commands(page: Path) -> Iterator[list[str]]:
    """The `ml` commands of a page's shell blocks and inline code."""
    lines = [line for block in _blocks(page, "sh", "console") for line in block.splitlines()]
    lines += re.findall(r"`(ml [^`]+)`", page.read_text())
    for line in lines:
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words[:1] == ["ml"]:
            yield words[1:]


def _check_command(words: list[str]) -> None:
    """The command exists and knows the options."""
    context = click.Context(ml)
    command: click.Command = ml
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"ml {' '.join(words)}: there is no {words[0]}"
        context, command, words = click.Context(found, parent=context), found, words[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    options = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
    assert options <= known | {"--help", "-h", "--version"}, f"{context.command_path}: {options - known}"


@pytest.mark.parametrize("page", PAGES, ids=_ids(PAGES))
def test_commands_exist(page: Path) -> None:
    for words in _commands(page):
        _check_command(words)


def test_a_command_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(AssertionError):
        _check_command(["explian", "x.yaml"])
    with pytest.raises(AssertionError):
        _check_command(["explain", "--no-such-option"])


@pytest.mark.parametrize("page", PAGES, ids=_ids(PAGES))
def test_whole_specs_are_valid(page: Path) -> None:
    for block in _blocks(page, "yaml"):
        if "apiVersion" in block:
            assert not load(block.encode(), page.name).problems


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r"`?make ([a-z]+)`", page.read_text())) <= targets, page


@pytest.mark.needs("git", "userns")
def test_the_readme_runs(tmp_path: Path) -> None:
    """The quick start, line by line, in an empty folder."""
    (script,) = (block for block in _blocks(ROOT / "README.md", "sh") if "ml init" in block)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    result = subprocess.run(
        ["sh", "-eux"], input=script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.needs("git", "userns", "index")
def test_the_picture_is_what_the_command_line_prints(tmp_path: Path) -> None:
    assert screenshot.shape(screenshot.TARGET.read_text()) == screenshot.shape(screenshot.picture(tmp_path)), (
        "run `make screenshot`"
    )


# --- reasons and exit codes ---

# CamelCase words in the code that are no reasons: units, kinds of output, names of Linux, of pip's errors, of RO-Crate,
# of S3 and of watchdog's events.
ENGINE_WORDS: tuple[str, ...] = (
    "AutoRemove",
    "BindOptions",
    "CapDrop",
    "DeviceIDs",
    "DeviceRequests",
    "ExitCode",
    "FinishedAt",
    "HostConfig",
    "IpcMode",
    "LogConfig",
    "MemorySwap",
    "NanoCpus",
    "NetworkMode",
    "OOMKilled",
    "PidsLimit",
    "ReadOnly",
    "ReadonlyRootfs",
    "RepoDigests",
    "RestartPolicy",
    "SecurityOpt",
    "SecurityOptions",
    "ShmSize",
    "StartedAt",
    "UsernsMode",
    "WorkingDir",
)
"""Keys of the engines' requests and answers."""
NOT_REASONS = frozenset(
    {
        *("KiB", "MiB", "GiB", "TiB", "HxxxxxxP", "NoNewPrivs"),
        *("ConnectTimeout", "ReadTimeout", "IncompleteRead"),
        *("CustomResourceDefinition", "RunInfo", "KeyList", "StatusReport"),
        *("RunComparison", "ChangeReview", "DatasetList", "DatasetReport", "DatasetVerification", "FileObject"),
        *("CreativeWork", "CreateAction", "SoftwareApplication", "SoftwareSourceCode"),
        *("CompletedActionStatus", "FailedActionStatus"),
        *ENGINE_WORDS,
        *("InotifyEvent", "WatchDescriptor", "CallbackId"),
        *("BinaryIO", "S3Store", "NoSuchBucket"),
    }
)


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "controller").rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def _in_code() -> dict[str, str]:
    """String literals of the package: text to the file that has it."""
    return {
        node.value: path
        for path, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def _classes() -> set[str]:
    return {node.name for _, tree in _trees() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def _documented() -> set[str]:
    text = REASONS.read_text().partition("## Conditions")[2]
    cells = re.findall(r"^\| (`[^|]+)\|", text, flags=re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`(\w+)`", cell)}


def _looks_like_a_reason(word: str) -> bool:
    camel = re.fullmatch(r"[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*", word)
    return camel is not None and sum(map(str.isupper, word)) > 1 and not word.endswith("Error")


def test_every_reason_of_the_code_is_documented() -> None:
    known = _documented() | NOT_REASONS | _classes()
    missing = {word: path for word, path in _in_code().items() if _looks_like_a_reason(word) and word not in known}
    assert not missing


def test_every_documented_reason_is_in_the_code() -> None:
    assert not _documented() - set(_in_code())


def test_every_exit_code_is_documented() -> None:
    table = re.findall(r"^\| (\d+) \|", REASONS.read_text(), flags=re.MULTILINE)
    assert [int(code) for code in table] == [code.value for code in Exit]
