"""`ml doctor`, `ml config`, `ml completion`: this host and these settings.

Promises: what is reported was tried, not guessed. Does not: change anything.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.errors import Exit
from controller.entrypoints.cli.opening import settings_of, store_place
from controller.entrypoints.cli.output import emit, output_option, paint

if TYPE_CHECKING:
    from controller.facts.facts import HostFacts


@click.command("doctor", epilog="\b\nExample:\n  ml doctor -o json")
@output_option
@click.pass_context
def doctor_command(ctx: click.Context, output: str) -> int:
    """What this host can do: sandbox, interpreters, GPUs, limits, engines, keys. Says what to install."""
    from controller.wiring import open_inventory

    place = store_place(ctx)
    place.base.mkdir(parents=True, exist_ok=True)
    host = open_inventory(place).host()
    checks = [*_checks(ctx, host)]
    value = {"apiVersion": "fetchml.dev/v1alpha1", "kind": "Doctor", "host": asdict(host), "checks": checks}
    emit(value, output, table=lambda _wide: _text(host, checks), names=lambda: [check["name"] for check in checks])
    return Exit.OK


def _checks(ctx: click.Context, host: "HostFacts") -> Iterator[dict[str, Any]]:
    sandbox = host.sandbox
    isolated = sandbox.launcher != "none"
    yield _check("sandbox", isolated, f"{sandbox.launcher}" + (f" ({sandbox.why})" if sandbox.why else ""),
                 "install bubblewrap (Debian: apt-get install bubblewrap); without it runs are capped at L0")  # fmt: skip
    yield _check("seccomp", sandbox.seccomp, "filter loaded" if sandbox.seccomp else "no filter", "install libseccomp2")
    yield from _interpreters(ctx)
    yield from _programs()
    yield _check(
        "gpu", True, ", ".join(gpu.model for gpu in host.gpus) or "none seen (experiments without GPUs run)", ""
    )
    yield from _key(ctx)


def _check(name: str, ok: bool, message: str, fix: str) -> dict[str, Any]:
    return {"name": name, "ok": ok, "message": message, "fix": "" if ok else fix}


def _interpreters(ctx: click.Context) -> Iterator[dict[str, Any]]:
    from controller.wiring import open_inputs

    inputs = open_inputs(store_place(ctx), settings_of(ctx))
    found = inputs.interpreter_facts(None)
    yield _check("python", found.found, f"{found.version} at {found.path}", "install python3 and python3-venv")


def _programs() -> Iterator[dict[str, Any]]:
    import shutil

    git = shutil.which("git")
    yield _check("git", git is not None, git or "not found: code comes from commits", "install git")
    for engine in ("docker", "podman"):
        yield _check(engine, True, _engine(engine), "")


def _engine(name: str) -> str:
    """What the engine itself answers; experiments on this host run without one."""
    import subprocess

    question = {"docker": "{{.Server.Version}}", "podman": "{{.Client.Version}}"}[name]
    try:
        answer = subprocess.run(
            [name, "version", "--format", question], capture_output=True, text=True, timeout=5, check=False
        )
    except FileNotFoundError:
        return "not installed (not needed on this host)"
    except subprocess.TimeoutExpired:
        return "does not answer"
    version = answer.stdout.strip()
    return f"engine {version}" if answer.returncode == 0 and version else "a client, but no engine answers"


def _key(ctx: click.Context) -> Iterator[dict[str, Any]]:
    from controller.wiring import open_signer

    try:
        signer = open_signer(store_place(ctx), settings_of(ctx))
        message = f"{signer.key_id[:16]} signs" if signer else "none: runs are not signed"
        yield _check("signing key", signer is not None, message, "make one: ml key new")
    except (OSError, ValueError) as error:
        yield _check("signing key", False, str(error), "make one: ml key new")


def _text(host: "HostFacts", checks: list[dict[str, Any]]) -> str:
    lines = [
        f"{host.hostname}: {host.os}, kernel {host.kernel}, {host.arch}",
        f"{host.cpus} CPUs ({host.cpu_model}), {host.memory / 2**30:.1f} GiB memory, {host.disk_free / 2**30:.1f} GiB disk free",
        "",
    ]
    for check in checks:
        word = "ok" if check["ok"] else "missing"
        lines.append(
            f"{paint('ok' if check['ok'] else 'Wait', word)}{' ' * (9 - len(word))}{check['name']:<12} {check['message']}"
        )
        if check["fix"]:
            lines.append(f"{'':<22}{check['fix']}")
    return "\n".join(lines)


@click.group("config", epilog="\b\nExamples:\n  ml config show\n  ml config validate")
def config_command() -> None:
    """The operator's settings: flags over environment over file over defaults."""


@config_command.command("show")
@output_option
@click.pass_context
def show_command(ctx: click.Context, output: str) -> int:
    """The settings in force, and where the file is."""
    import os

    from controller.settings import config_file

    settings, path = settings_of(ctx), config_file(os.environ)
    values = {key: _shown(value) for key, value in asdict(settings).items()}
    value = {"apiVersion": "fetchml.dev/v1alpha1", "kind": "Settings", "file": str(path), "settings": values}
    emit(value, output, table=lambda _wide: _toml(path, values), names=lambda: list(values))
    return Exit.OK


def _shown(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _toml(path: Path, values: dict[str, Any]) -> str:
    import json

    lines = [f"# {path}" + ("" if path.exists() else " (not there: these are the defaults and the environment)")]
    lines += [f"{key} = {json.dumps(value)}" for key, value in values.items() if key != "secrets"]
    for name, secret in values["secrets"].items():
        kept = {key: _shown(value) for key, value in secret.items() if value}
        lines += [f"[secrets.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in kept.items())]
    return "\n".join(lines)


@config_command.command("validate")
@click.pass_context
def validate_settings_command(ctx: click.Context) -> int:
    """Exit 0 when the settings can be used, 2 with the reason otherwise."""
    import os

    from controller.settings import config_file

    settings_of(ctx)
    click.echo(f"{config_file(os.environ)}: no problems")
    return Exit.OK


@click.command("completion", epilog='\b\nExample:\n  eval "$(ml completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> int:
    """Print a completion script for a shell."""
    from click.shell_completion import get_completion_class

    from controller.entrypoints.cli.app import ml

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101  # click knows these three
    click.echo(kind(ml, {}, "ml", "_ML_COMPLETE").source())
    return Exit.OK
