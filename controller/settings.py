"""Settings: flags over environment over file over defaults.

Promises: one frozen value, made once at the edge, with every error naming where the bad value came from. The file is the
operator's (``$FETCHML_CONFIG`` or ``$XDG_CONFIG_HOME/fetchml/config.toml``), never one in a repository: whoever submits specs must
not be able to grant themselves data roots, secrets or network. Does not: hold global state or import more than the standard library
(`ml status` reads it).
"""

import os
import tomllib
from collections.abc import Mapping
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
    allow_network: tuple[str, ...] = ()
    """Namespaces whose specs may ask for sandbox.network: full."""
    secrets: Mapping[str, SecretSetting] = field(default_factory=dict)
    rescan_seconds: float = 60.0
    """Full look at the specs folder, in case a file event was lost."""
    poll_seconds: float = 0.5
    """How often a running attempt is looked at when nothing wakes us earlier."""
    workers: int = 4
    """Specs reconciled at the same time."""
    log_bytes: int = 64 * 2**20
    """Cap of one attempt's log."""
    max_cpu: float = 0.0
    """CPU cores to hand out; 0 = all of the host's."""
    max_memory: int = 0
    """Bytes of memory to hand out; 0 = all of the host's."""
    require_approval: bool = False
    """True: a plan runs only after `ml approve`."""


_ENV_PREFIX = "FETCHML_"


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
    from_env = {item.name: environ[_ENV_PREFIX + item.name.upper()] for item in fields(Settings) if _ENV_PREFIX + item.name.upper() in environ}
    settings = _apply(settings, from_env, "the environment")
    return _apply(settings, {key: value for key, value in (flags or {}).items() if value is not None}, "the command line")


def base_path(root: Path, settings: Settings) -> Path:
    """The folder of our records for this root."""
    return Path(settings.base_path).expanduser() if settings.base_path else root / ".fetchml"


def data_home(settings: Settings, environ: Mapping[str, str] | None = None) -> Path:
    """The XDG data folder that holds fetchml/keys."""
    environ = os.environ if environ is None else environ
    if settings.data_home:
        return Path(settings.data_home).expanduser()
    return Path(environ.get("XDG_DATA_HOME") or Path(environ.get("HOME", "/")) / ".local" / "share")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: {error}; write TOML, as in `ml config show`") from error


def _apply(settings: Settings, values: Mapping[str, Any], origin: str) -> Settings:
    known = {item.name: item for item in fields(Settings)}
    changes = {}
    for name, value in values.items():
        if name not in known:
            raise SettingsError(f"{origin}: unknown setting {name!r}; known: {', '.join(sorted(known))}")
        try:
            changes[name] = _convert(value, getattr(settings, name), name)
        except (TypeError, ValueError) as error:
            raise SettingsError(f"{origin}: {name}: {error}") from error
    return replace(settings, **changes)


def _convert(value: Any, default: Any, name: str) -> Any:
    if name == "secrets":
        return {key: _secret(entry) for key, entry in dict(value).items()}
    if isinstance(default, tuple):
        return tuple(value.split(os.pathsep)) if isinstance(value, str) else tuple(str(item) for item in value)
    if isinstance(default, bool):
        if value in (True, False):
            return bool(value)
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise ValueError(f"{value!r} is not true or false")
    converted = type(default)(value)
    if isinstance(converted, int | float) and converted < 0:
        raise ValueError(f"{value!r} is negative")
    return converted


def _secret(entry: Mapping[str, Any]) -> SecretSetting:
    unknown = set(entry) - {"file", "env", "subjects"}
    if unknown or bool(entry.get("file")) == bool(entry.get("env")):
        raise ValueError('a secret has exactly one of file and env, and subjects, such as {file = "/run/secrets/x", subjects = ["team/*"]}')
    return SecretSetting(file=str(entry.get("file", "")), env=str(entry.get("env", "")), subjects=tuple(entry.get("subjects", ())))
