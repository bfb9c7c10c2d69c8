"""`ml verify`: prove a finished run from its files, offline.

Promises: every check on its own line; exit 0 when all hold, 4 otherwise. Does not: need a reconciler or the network.
"""

from pathlib import Path
from typing import Any

import click

from controller.entrypoints.cli.completion import complete_names
from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import store_place
from controller.entrypoints.cli.output import emit, examples, output_option, paint, report
from controller.wiring import Place


@click.command(
    "verify", epilog=examples("ml verify digits", "ml verify .fetchml/experiments/digits-abcd2345 --trust trust")
)
@click.argument("what", shell_complete=complete_names)
@click.option("--trust", type=click.Path(), help="Folder of public keys to trust (default: trust/ of the repository).")
@output_option
@click.pass_context
def verify_command(ctx: click.Context, what: str, trust: str | None, output: str) -> int:
    """Check signature, every file's digest, plan, manifest and trust level of a run (id, experiment, or run folder)."""
    from controller.identity.keys import revoked_keys, trust_root
    from controller.identity.run_folder import run_folder
    from controller.trust.verify import verified, verify_run

    place = store_place(ctx, what if Path(what).is_dir() else ".")
    folder = _folder(ctx, place, what)
    keys = Path(trust) if trust else place.trust
    if not keys.is_dir():
        raise CommandError(f"{keys}: no folder of public keys; name one with --trust", Exit.NOT_FOUND)
    checks = verify_run(run_folder(folder), trust_root(keys), revoked_keys(keys))
    ok = verified(checks)
    listed = [{"name": c.name, "ok": c.ok, "message": c.message, "file": c.file} for c in checks]
    value = report("Verification", run=folder.name, verified=ok, checks=listed)
    emit(value, output, table=lambda _wide: _table(value), names=lambda: [folder.name])
    return Exit.OK if ok else Exit.REFUSED


def _folder(ctx: click.Context, place: Place, what: str) -> Path:
    path = Path(what)
    if path.is_dir():
        return path
    if path.is_file():
        return path.parent
    direct = place.base / "experiments" / what
    if "/" not in what and direct.is_dir():
        return direct
    from controller.entrypoints.cli.inspect import find_run
    from controller.entrypoints.cli.opening import existing_store
    from controller.wiring import open_store

    place = existing_store(ctx)
    return place.base / "experiments" / find_run(place, open_store(place), what).run_id


def _table(value: dict[str, Any]) -> str:
    lines = []
    for check in value["checks"]:
        word = "ok" if check["ok"] else "FAILED"
        file = f"{check['file']}: " if check["file"] and check["file"] not in check["message"] else ""
        lines.append(f"{paint(word)}{' ' * (8 - len(word))}{check['name']:<11} {file}{check['message']}")
    failed = sum(not check["ok"] for check in value["checks"])
    result = "verified" if value["verified"] else f"NOT verified: {failed} of {len(value['checks'])} checks failed"
    return "\n".join([*lines, f"{value['run']}: {result}"])
