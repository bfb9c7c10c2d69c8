"""`ml key`: signing keys.

Promises: private keys stay in the user's data folder; the repository holds public halves and revocations. Does not:
delete a key.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import settings_of, store_place
from controller.entrypoints.cli.output import columns, emit, examples, output_option, report
from controller.settings import data_home

if TYPE_CHECKING:
    from controller.identity.keys import KeyInfo


@click.group("key", epilog=examples("ml key new", "ml key list", "ml key revoke <key-id> --reason 'laptop lost'"))
def key_command() -> None:
    """Signing keys of this user, and the public keys that this repository trusts."""


@key_command.command("new", epilog=examples("ml key new && git add trust"))
@click.pass_context
def new_command(ctx: click.Context) -> int:
    """Make a key pair; its public half goes to trust/, to be committed."""
    from controller.identity.keys import new_key

    place = store_place(ctx)
    info = new_key(data_home(settings_of(ctx)), place.trust)
    click.echo(f"{info.key_id}\nprivate  {info.private}\npublic   {info.public} (commit it)")
    return Exit.OK


@key_command.command("list", epilog=examples("ml key list -o json"))
@output_option
@click.pass_context
def list_command(ctx: click.Context, output: str) -> int:
    """Keys of this user and of this repository."""
    from controller.identity.keys import list_keys

    place = store_place(ctx)
    keys = list_keys(data_home(settings_of(ctx)), place.trust)
    items = [
        {"keyId": key.key_id, "private": bool(key.private), "trusted": bool(key.public), "revoked": key.revoked}
        for key in keys
    ]
    value = report("KeyList", items=items)
    emit(value, output, table=lambda _wide: _table(keys), names=lambda: [key.key_id for key in keys])
    return Exit.OK


def _table(keys: "tuple[KeyInfo, ...]") -> str:
    if not keys:
        return "no keys; make one with `ml key new`"
    rows = [
        [key.key_id, "yes" if key.private else "no", "yes" if key.public else "no", key.revoked or "-"] for key in keys
    ]
    return columns(["KEY", "PRIVATE", "TRUSTED", "REVOKED"], rows)


@key_command.command("rotate", epilog=examples("ml key rotate && git add trust"))
@click.pass_context
def rotate_command(ctx: click.Context) -> int:
    """Make a new key that signs from now on; signatures of the old one stay valid."""
    from controller.identity.keys import rotate

    place = store_place(ctx)
    new, old = rotate(data_home(settings_of(ctx)), place.trust)
    click.echo(f"{new.key_id} signs from now on" + (f"; {old.key_id} stays trusted for what it signed" if old else ""))
    return Exit.OK


@key_command.command("revoke", epilog=examples("ml key revoke 02f13e24 --reason 'laptop lost' && git add trust"))
@click.argument("key_id")
@click.option("--reason", required=True, help="Why, for those who read trust/revoked later.")
@click.pass_context
def revoke_command(ctx: click.Context, key_id: str, reason: str) -> int:
    """Void every signature of a key in this repository."""
    from controller.identity.keys import list_keys
    from controller.identity.revocations import revoke

    place = store_place(ctx)
    known = [key.key_id for key in list_keys(data_home(settings_of(ctx)), place.trust) if key.key_id.startswith(key_id)]
    if len(known) != 1:
        raise CommandError(f"{key_id}: {len(known)} keys begin like that; `ml key list` shows them", Exit.NOT_FOUND)
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    revoke(place.trust, known[0], reason, now)
    click.echo(f"revoked {known[0]}; commit trust/revoked")
    return Exit.OK
