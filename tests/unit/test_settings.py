"""Settings: who wins, and that every error names where the bad value came from."""

from pathlib import Path
from typing import Any

import pytest

from controller.settings import SecretSetting, Settings, SettingsError, base_path, config_file, data_home, load_settings


def load(tmp_path: Path, text: str = "", flags: dict[str, Any] | None = None, **environ: str) -> Settings:
    """Settings with this file, these flags and this environment."""
    file = tmp_path / "config.toml"
    file.write_text(text)
    return load_settings({"FETCHML_CONFIG": str(file), **environ}, flags)


def test_defaults_without_a_file(tmp_path: Path) -> None:
    assert load_settings({"HOME": str(tmp_path)}) == Settings()


def test_flags_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = 'base_path = "file"\nref = "file"\nworkers = 7\n'
    settings = load(tmp_path, file, {"base_path": "flag"}, FETCHML_BASE_PATH="environ", FETCHML_REF="environ")
    assert (settings.base_path, settings.ref, settings.workers, settings.log_bytes) == ("flag", "environ", 7, 64 << 20)


def test_a_flag_that_was_not_given_overrides_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, 'base_path = "file"', {"base_path": None}).base_path == "file"


def test_the_file_is_the_operators_never_the_repositorys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("config.toml", ".fetchml.toml", "fetchml.toml"):
        (tmp_path / name).write_text("workers = 9\n")
    assert load_settings({"HOME": "/nowhere"}) == Settings()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"FETCHML_CONFIG": "/a/b.toml", "XDG_CONFIG_HOME": "/x"}, "/a/b.toml"),
        ({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/x/fetchml/config.toml"),
        ({"HOME": "/h"}, "/h/.config/fetchml/config.toml"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": ""}, "/h/.config/fetchml/config.toml"),
    ],
)
def test_where_the_file_is(environ: dict[str, str], expected: str) -> None:
    assert config_file(environ) == Path(expected)


def test_folders() -> None:
    assert base_path(Path("/repo"), Settings()) == Path("/repo/.fetchml")
    assert base_path(Path("/repo"), Settings(base_path="records")) == Path("/repo/records")
    assert base_path(Path("/repo"), Settings(base_path="/elsewhere")) == Path("/elsewhere")
    assert data_home(Settings(data_home="/d"), {}) == Path("/d")
    assert data_home(Settings(), {"XDG_DATA_HOME": "/x", "HOME": "/h"}) == Path("/x")
    assert data_home(Settings(), {"HOME": "/h"}) == Path("/h/.local/share")


def test_kinds_of_values(tmp_path: Path) -> None:
    file = (
        'dataset_roots = ["/a", "/b"]\nrescan_seconds = 5\nmax_cpu = 1.5\nrequire_approval = true\nmax_memory = 4.0\n'
    )
    settings = load(tmp_path, file)
    assert settings.dataset_roots == ("/a", "/b")
    assert (settings.rescan_seconds, settings.max_cpu, settings.require_approval) == (5.0, 1.5, True)
    assert settings.max_memory == 4
    from_environ = load(
        tmp_path,
        FETCHML_DATASET_ROOTS="/a:/b",
        FETCHML_REQUIRE_APPROVAL="True",
        FETCHML_WORKERS="3",
        FETCHML_MAX_CPU="2",
    )
    assert (from_environ.dataset_roots, from_environ.require_approval, from_environ.workers) == (("/a", "/b"), True, 3)


def test_an_empty_list_in_the_environment_allows_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, 'allow_network = ["*"]', FETCHML_ALLOW_NETWORK="").allow_network == ()


def test_secrets(tmp_path: Path) -> None:
    settings = load(tmp_path, '[secrets.wandb]\nfile = "/run/key"\nsubjects = ["vision/*"]\n[secrets.hf]\nenv = "HF"\n')
    assert settings.secrets == {
        "wandb": SecretSetting(file="/run/key", subjects=("vision/*",)),
        "hf": SecretSetting(env="HF"),
    }


FILE_ERRORS = [
    ("wrokers = 1", "unknown setting 'wrokers'; did you mean workers?"),
    ("zzz = 1", "unknown setting 'zzz'; known: allow_network, base_path"),
    ("workers = 0", "workers: 0 is not a whole number of at least 1"),
    ("workers = 1.5", "workers: 1.5 is not a whole number of at least 1"),
    ("workers = true", "workers: True is not a whole number"),
    ("workers = []", "workers: [] is not a whole number"),
    ("max_cpu = -1", "max_cpu: -1 is not a number of at least 0"),
    ("max_cpu = nan", "max_cpu: nan is not a number"),
    ("rescan_seconds = inf", "rescan_seconds: inf is not a number"),
    ("require_approval = 1", "require_approval: 1 is neither true nor false"),
    ("base_path = 5", "base_path: 5 is not a text; put it in quotes"),
    ("dataset_roots = 5", 'dataset_roots: 5 is not a list of texts; write ["..."]'),
    ("dataset_roots = [5]", "dataset_roots: [5] is not a list of texts"),
    ("secrets = 5", "secrets: secrets are tables of the settings file"),
    ("[secrets]\nx = 5", "secrets: x must have exactly one of file and env"),
    ('[secrets.x]\nfile = "a"\nenv = "b"', "secrets: x must have exactly one of file and env"),
    ("[secrets.x]\nsubjects = []", "secrets: x must have exactly one of file and env"),
    ('[secrets.x]\nfile = "a"\nmode = 1', "secrets: x must have exactly one of file and env"),
    ('[secrets.x]\nfile = "a"\nsubjects = [1]', "secrets: [1] is not a list of texts"),
    ("[secrets.x]\nfile = 5", "secrets: 5 is not a text"),
    ("workers =", "write TOML, as `ml config show` prints it"),
]


@pytest.mark.parametrize(("text", "said"), FILE_ERRORS)
def test_errors_of_the_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "config.toml") + ": ")
    assert said in str(caught.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=r"config\.toml: "):
        load_settings({"FETCHML_CONFIG": str(file)})
    with pytest.raises(SettingsError, match=f"{tmp_path}: Is a directory"):
        load_settings({"FETCHML_CONFIG": str(tmp_path)})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("FETCHML_WORKERS", "many", "workers: 'many' is not a whole number"),
        ("FETCHML_MAX_CPU", "-1", "max_cpu: '-1' is not a number of at least 0"),
        ("FETCHML_REQUIRE_APPROVAL", "perhaps", "require_approval: 'perhaps' is neither true nor false"),
        ("FETCHML_SECRETS", "x", "secrets: secrets are tables of the settings file"),
    ],
)
def test_errors_of_the_environment(tmp_path: Path, name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, **{name: value})
    assert str(caught.value).startswith(f"the environment ({name}): {said}")


def test_other_variables_are_nobodys_setting(tmp_path: Path) -> None:
    """FETCHML_RUN_ID and its like are set inside runs."""
    assert load(tmp_path, FETCHML_RUN_ID="x", FETCHML_SEED="1") == Settings()


def test_errors_of_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^the command line: unknown setting 'x'"):
        load(tmp_path, flags={"x": 1})
