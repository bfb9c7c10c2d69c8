"""`ml config`: the operator's settings.

Promises: what is shown is in force now, and can be written to the file as it is. Does not: change anything, or read a
secret's value.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from controller.entrypoints.cli.errors import Exit
from controller.entrypoints.cli.opening import settings_of
from controller.entrypoints.cli.output import emit, examples, output_option, report


@click.group("config", epilog=examples("ml config show", "ml config validate"))
def config_command() -> None:
    """The operator's settings: flags over environment over file over defaults."""


@config_command.command("show", epilog=examples("ml config show > ~/.config/fetchml/config.toml"))
@output_option
@click.pass_context
def show_command(ctx: click.Context, output: str) -> int:
    """The settings in force, and where the file is."""
    from controller.settings import config_file

    settings, path = settings_of(ctx), config_file(os.environ)
    values: dict[str, Any] = {key: _shown(value) for key, value in asdict(settings).items()}
    value = report("Settings", file=str(path), settings=values)
    emit(value, output, table=lambda _wide: _toml(path, values), names=lambda: list(values))
    return Exit.OK


def _shown(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _toml(path: Path, values: dict[str, Any]) -> str:
    lines = [f"# {path}" + ("" if path.exists() else " (not there: these are the defaults and the environment)")]
    lines += [f"{key} = {json.dumps(value)}" for key, value in values.items() if key != "secrets"]
    for name, secret in values["secrets"].items():
        kept = {key: _shown(value) for key, value in secret.items() if value}
        lines += [f"[secrets.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in kept.items())]
    return "\n".join(lines)


@config_command.command("validate", epilog=examples("FETCHML_CONFIG=new.toml ml config validate"))
@click.pass_context
def validate_settings_command(ctx: click.Context) -> int:
    """Exit 0 when the settings can be used, 2 with the reason otherwise."""
    from controller.settings import config_file

    settings_of(ctx)
    click.echo(f"{config_file(os.environ)}: no problems")
    return Exit.OK
