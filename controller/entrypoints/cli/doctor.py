"""`ml doctor`: this host.

Promises: what is reported was tried, not guessed. Does not: change anything.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.errors import Exit
from controller.entrypoints.cli.opening import settings_of, store_place
from controller.entrypoints.cli.output import emit, examples, output_option, paint, report

if TYPE_CHECKING:
    from controller.facts.facts import HostFacts
    from controller.settings import Settings


@click.command("doctor", epilog=examples("ml doctor", "ml doctor -o json | jq .host.sandbox"))
@output_option
@click.pass_context
def doctor_command(ctx: click.Context, output: str) -> int:
    """What this host can do: sandbox, interpreters, GPUs, limits, engines, keys. Says what to install."""
    from controller.wiring import Place, open_inventory

    place = store_place(ctx)
    there = next(folder for folder in (place.base.absolute(), *place.base.absolute().parents) if folder.is_dir())
    host = open_inventory(Place(place.root, there)).host()
    checks = [*_checks(ctx, host)]
    value = report("Doctor", host=asdict(host), checks=checks)
    emit(value, output, table=lambda _wide: _text(host, checks), names=lambda: [check["name"] for check in checks])
    return Exit.OK


def _checks(ctx: click.Context, host: "HostFacts") -> Iterator[dict[str, Any]]:
    sandbox = host.sandbox
    isolated = sandbox.launcher != "none"
    fix = "install bubblewrap (Debian: apt-get install bubblewrap); without it runs are capped at L0"
    yield _check("sandbox", isolated, sandbox.launcher + (f" ({sandbox.why})" if sandbox.why else ""), fix)
    yield _check("seccomp", sandbox.seccomp, "filter loaded" if sandbox.seccomp else "no filter", "install libseccomp2")
    yield from _interpreters(ctx)
    yield from _programs(settings_of(ctx))
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


def _programs(settings: "Settings") -> Iterator[dict[str, Any]]:
    import shutil

    git = shutil.which("git")
    yield _check("git", git is not None, git or "not found: code comes from commits", "install git")
    from controller.wiring import ENGINES

    for engine in ENGINES:
        yield _engine(settings, engine)


def _engine(settings: "Settings", name: str) -> dict[str, Any]:
    """What the engine itself answers; experiments on this host run without one unless the settings name it."""
    from controller.wiring import open_engine

    engine, used = open_engine(settings, name), settings.runtime == name
    try:
        version, info = engine.version(), engine.info()
    except (OSError, LookupError) as error:
        message = str(error) if used else f"no engine answers at {engine.url} (not needed on this host)"
        return _check(name, not used, message, "start it, or set engine to its socket (ml config show)")
    options = ", ".join(str(option).removeprefix("name=") for option in info.get("SecurityOptions") or ())
    used_for = "; runs are containers of it" if used else ""
    return _check(name, True, f"engine {version.get('Version')} at {engine.url} ({options}){used_for}", "")


def _key(ctx: click.Context) -> Iterator[dict[str, Any]]:
    from controller.wiring import open_signer

    try:
        signer = open_signer(store_place(ctx), settings_of(ctx))
        message = f"{signer.key_id[:16]} signs" if signer else "none: runs are not signed"
        yield _check("signing key", signer is not None, message, "make one: ml key new")
    except (OSError, ValueError) as error:
        yield _check("signing key", False, str(error), "make one: ml key new")


def _text(host: "HostFacts", checks: list[dict[str, Any]]) -> str:
    memory, disk = f"{host.memory / 2**30:.1f} GiB memory", f"{host.disk_free / 2**30:.1f} GiB disk free"
    lines = [
        f"{host.hostname}: {host.os}, kernel {host.kernel}, {host.arch}",
        f"{host.cpus} CPUs ({host.cpu_model}), {memory}, {disk}",
        "",
    ]
    for check in checks:
        word = "ok" if check["ok"] else "missing"
        painted = paint("ok" if check["ok"] else "Wait", word)
        lines.append(f"{painted}{' ' * (9 - len(word))}{check['name']:<12} {check['message']}")
        if check["fix"]:
            lines.append(f"{'':<22}{check['fix']}")
    return "\n".join(lines)
