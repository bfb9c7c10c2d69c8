"""Small pure parts of the command line: durations, ages, tables, errors, YAML."""

from typing import Any

import pytest

from controller.api.documents import load
from controller.api.problems import InvalidDocumentError
from controller.entrypoints.cli.app import _debug_first
from controller.entrypoints.cli.durations import seconds_of
from controller.entrypoints.cli.errors import CommandError, Exit, code_of, sentence_of
from controller.entrypoints.cli.output import age, columns, emit, short_digest
from controller.identity.keys import KeyRefusedError
from controller.ports.store import FencedError, StoreBusyError, StoreUnusableError
from controller.settings import SettingsError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("7d", 604800), ("250ms", 0.25), ("0s", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text, "--timeout") == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "1.5h", "-1s", "1 h", "1h "])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(CommandError, match=r"--timeout .*: write a duration") as caught:
        seconds_of(text, "--timeout")
    assert caught.value.code is Exit.USAGE


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0s"), (1.9, "1s"), (119, "119s"), (120, "2m"), (7200, "2h"), (200000, "2d")]
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_columns_and_digests() -> None:
    assert columns(["A", "LONG"], [["xxx", "y"], ["", "z"]]) == "A    LONG\nxxx  y\n     z"
    assert short_digest("sha256:0123456789abcdef") == "0123456789ab"
    assert short_digest(None) == "-"


ERRORS = [
    (CommandError("said", Exit.MUST_WAIT), Exit.MUST_WAIT, "said"),
    (InvalidDocumentError(load(b"a: [", "x.yaml").problems), Exit.INVALID, None),
    (SettingsError("bad"), Exit.USAGE, "bad"),
    (FencedError("taken over"), Exit.NOT_ALLOWED, "taken over"),
    (StoreBusyError("locked"), Exit.ERROR, "locked"),
    (StoreUnusableError("DiskFull", "no space"), Exit.ERROR, "no space"),
    (KeyRefusedError("others may read it"), Exit.NOT_ALLOWED, "others may read it"),
    (PermissionError(13, "Permission denied", "/x"), Exit.NOT_ALLOWED, "/x: Permission denied"),
    (FileNotFoundError(2, "No such file or directory", "/x"), Exit.NOT_FOUND, "/x: No such file or directory"),
    (OSError(28, "No space left on device"), Exit.ERROR, "No space left on device"),
    (KeyError("sha256"), None, "KeyError: 'sha256'"),
]


@pytest.mark.parametrize(("error", "code", "said"), ERRORS, ids=lambda value: type(value).__name__)
def test_errors_become_codes_and_sentences(error: Exception, code: Exit | None, said: str | None) -> None:
    assert code_of(error) is code
    assert sentence_of(error) == (str(error) if said is None else said)


def test_debug_is_understood_after_the_command() -> None:
    assert _debug_first(["run", "x", "--debug"]) == ["--debug", "run", "x"]
    assert _debug_first(["run", "--", "--debug"]) == ["run", "--", "--debug"]
    assert _debug_first(["run"]) == ["run"]


@pytest.mark.parametrize("output", ["yaml", "json"])
def test_yaml_and_json_hold_the_same(capsys: pytest.CaptureFixture[str], output: str) -> None:
    value: dict[str, Any] = {
        "apiVersion": "v1", "kind": "X", "items": [{"a": "yes", "b": [1, 1e-3, None, True], "c": {}}], "text": "ü: '\n",
    }  # fmt: skip
    emit(value, output, table=lambda _wide: "never")
    import yaml

    assert yaml.safe_load(capsys.readouterr().out) == value
