"""Settings: flags over environment over file over defaults.

Promises: one frozen value, made once at the edge, with every error naming where the bad value came from. The file is
the operator's (``$FETCHML_CONFIG`` or ``$XDG_CONFIG_HOME/fetchml/config.toml``), never one in a repository: whoever
submits specs must not be able to grant themselves data roots, secrets or network. Does not: hold global state or
import more than the standard library (`ml status` reads it).
"""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any


class SettingsError(ValueError):
    """A setting that cannot be used; the message says where it stands and what to write."""


@dataclass(frozen=True, slots=True)
class SecretSetting:
    """One secret that specs may name."""

    file: str = ""
    """File whose content is the value (a final newline is dropped)."""
    env: str = ""
    """Environment variable of the reconciler whose value it is."""
    subjects: tuple[str, ...] = ()
    """Who may use it, as namespace/owner globs such as "vision/*". Empty: nobody."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an operator can set."""

    base_path: str = ""
    """Folder of our records; <root>/.fetchml when empty."""
    data_home: str = ""
    """Where private keys lie; $XDG_DATA_HOME when empty."""
    ref: str = ""
    """Ref that commits must be reachable from; HEAD's branch when empty."""
    dataset_roots: tuple[str, ...] = ()
    """Folders beneath which absolute file: datasets may lie."""
    object_store: str = ""
    """Shared object store (s3://bucket/prefix, ssh://host/folder, a folder) that snapshots and datasets are brought
    from when this repository's own store lacks them."""
    allow_network: tuple[str, ...] = ()
    """Namespaces whose specs may ask for sandbox.network: full."""
    secrets: Mapping[str, SecretSetting] = field(default_factory=dict)
    rescan_seconds: float = 60.0
    """Full look at the specs folder, in case a file event was lost."""
    poll_seconds: float = 0.5
    """How often a running attempt is looked at when nothing wakes us earlier."""
    runtime: str = "process"
    """Where attempts run on this host: process, docker or podman."""
    engine: str = ""
    """Socket of the engine, such as unix:///run/docker.sock; the engine's own place when empty."""
    workers: int = 4
    """Specs reconciled at the same time."""
    log_bytes: int = 64 * 2**20
    """Cap of one attempt's log."""
    max_cpu: float = 0.0
    """CPU cores to hand out; 0 = all of the host's."""
    max_memory: int = 0
    """Bytes of memory to hand out; 0 = all of the host's."""
    git_author: str = "fetchml <fetchml@localhost>"
    """Who makes status commits in a git repository, as git writes it: Name <address>."""
    git_poll_seconds: float = 15.0
    """How often a remote repository is asked when no webhook tells that something was pushed."""
    ssh_config: str = ""
    """File for ssh -F, when an object store lies on another host; the user's own when empty."""
    s3_endpoint: str = ""
    """URL of the S3 server; AWS_ENDPOINT_URL when empty."""
    s3_region: str = ""
    """Its region; AWS_REGION when empty."""
    s3_credentials: str = ""
    """File with [default], aws_access_key_id and aws_secret_access_key; AWS_ACCESS_KEY_ID and so on when empty."""
    require_approval: bool = False
    """True: a plan runs only after `ml approve`."""
    trust_root: str = ""
    """Folder of the keys to trust; trust/ of the repository when empty, where submitters may write."""
    trust_policies: tuple[str, ...] = ()
    """Files with TrustPolicy documents of the operator; those in the repository may only add to them."""


_ENV_PREFIX = "FETCHML_"
_CHOICES = {"runtime": ("process", "docker", "podman")}
_AT_LEAST_ONE = ("workers", "log_bytes")


def config_file(environ: Mapping[str, str]) -> Path:
    """The operator's settings file (it need not exist)."""
    if environ.get("FETCHML_CONFIG"):
        return Path(environ["FETCHML_CONFIG"])
    home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "/")) / ".config")
    return Path(home) / "fetchml" / "config.toml"


def load_settings(environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Settings in force.

    Raises:
        SettingsError: an unknown or malformed setting, with its origin.
    """
    environ = os.environ if environ is None else environ
    path = config_file(environ)
    settings = _apply(Settings(), _read(path), str(path))
    for item in fields(Settings):
        variable = _ENV_PREFIX + item.name.upper()
        if variable in environ:
            settings = _apply(settings, {item.name: environ[variable]}, f"the environment ({variable})")
    return _apply(
        settings, {key: value for key, value in (flags or {}).items() if value is not None}, "the command line"
    )


def base_path(root: Path, settings: Settings) -> Path:
    """The folder of our records for this root; a relative setting is relative to the root."""
    return root / Path(settings.base_path or ".fetchml").expanduser()


def data_home(settings: Settings, environ: Mapping[str, str] | None = None) -> Path:
    """The XDG data folder that holds fetchml/keys."""
    environ = os.environ if environ is None else environ
    if settings.data_home:
        return Path(settings.data_home).expanduser()
    return Path(environ.get("XDG_DATA_HOME") or Path(environ.get("HOME", "/")) / ".local" / "share")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    import tomllib  # most commands run without a settings file

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: {error}; write TOML, as `ml config show` prints it") from error


def _apply(settings: Settings, values: Mapping[str, Any], origin: str) -> Settings:
    known = {item.name for item in fields(Settings)}
    changes = {}
    for name, value in values.items():
        if name not in known:
            raise SettingsError(f"{origin}: unknown setting {name!r}; {_suggestion(name, known)}")
        try:
            changes[name] = _convert(value, getattr(settings, name), name)
        except (TypeError, ValueError) as error:
            raise SettingsError(f"{origin}: {name}: {error}") from error
    return replace(settings, **changes)


def _suggestion(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"


def _convert(value: Any, default: Any, name: str) -> Any:
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ValueError(f"{value!r} is none of {', '.join(_CHOICES[name])}")
    if name == "secrets":
        return _secrets(value)
    if isinstance(default, tuple):
        return _texts(value)
    if isinstance(default, bool):
        return _boolean(value)
    if isinstance(default, str):
        return _text(value)
    return _number(value, type(default), 1 if name in _AT_LEAST_ONE else 0)


def _texts(value: Any) -> tuple[str, ...]:
    """A list; in the environment separated as PATH is."""
    if isinstance(value, str):
        return tuple(item for item in value.split(os.pathsep) if item)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f'{value!r} is not a list of texts; write ["..."]')
    return tuple(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text; put it in quotes")  # noqa: TRY004  # callers handle one error
    return value


def _boolean(value: Any) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise ValueError(f"{value!r} is neither true nor false")
    return str(value).lower() == "true"


def _number(value: Any, kind: type[int] | type[float], least: int) -> int | float:
    try:
        number = kind(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    whole = kind is float or number == value or isinstance(value, str)
    if number is None or not whole or not least <= number < math.inf:
        raise ValueError(f"{value!r} is not {'a whole number' if kind is int else 'a number'} of at least {least}")
    return number


def _secrets(value: Any) -> dict[str, SecretSetting]:
    if not isinstance(value, Mapping):
        raise ValueError("secrets are tables of the settings file, such as [secrets.wandb]")  # noqa: TRY004  # callers handle one error
    return {name: _secret(name, entry) for name, entry in value.items()}


def _secret(name: str, entry: Any) -> SecretSetting:
    ok = isinstance(entry, Mapping) and not set(entry) - {"file", "env", "subjects"}
    if not ok or bool(entry.get("file")) == bool(entry.get("env")):
        raise ValueError(
            f"{name} must have exactly one of file and env, and subjects, "
            'such as {file = "/run/secrets/x", subjects = ["team/*"]}'
        )
    return SecretSetting(
        file=_text(entry.get("file", "")), env=_text(entry.get("env", "")), subjects=_texts(entry.get("subjects", []))
    )
