"""`ml key`: signing keys.

Promises: private keys stay in the user's data folder; the repository holds public halves, whose they are, and
revocations. Does not: delete a key.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import settings_of, store_place
from controller.entrypoints.cli.output import columns, emit, examples, output_option, report
from controller.settings import data_home

if TYPE_CHECKING:
    from controller.identity.keys import KeyInfo

USES = ("runs", "approvals", "comparisons", "commits", "status")
"""controller.trust.root.USES, which a test compares."""
OURS = USES[:3]


@click.group("key", epilog=examples("ml key new", "ml key list", "ml key revoke <key-id> --reason 'laptop lost'"))
def key_command() -> None:
    """Signing keys of this user, and the public keys that this repository trusts."""


@key_command.command(
    "new",
    epilog=examples(
        "ml key new && git add trust",
        "ml key new --owner bob@example.org --use approvals    to approve plans",
        "ml key new --owner lab@example.org --use comparisons  to sign that a run was reproduced",
    ),
)
@click.option("--owner", help="Whose key it is, as trust policies will name them (needed for --use).")
@click.option("--use", "uses", multiple=True, type=click.Choice(OURS), help="What it may sign (default: runs).")
@click.pass_context
def new_command(ctx: click.Context, owner: str | None, uses: tuple[str, ...]) -> int:
    """Make a key pair; its public half goes to trust/, to be committed, and trust/root says whose it is."""
    from controller.identity.keys import new_key

    if uses and not owner:
        raise CommandError("--use needs --owner: who may approve is decided by name", Exit.USAGE)
    place = store_place(ctx)
    info = new_key(data_home(settings_of(ctx)), place.trust, owner=owner or "", uses=uses, since=_now())
    click.echo(f"{info.key_id}\nprivate  {info.private}\npublic   {info.public} (commit it)")
    if owner:
        click.echo(f"listed   {place.trust / 'root'}: {owner}, for {', '.join(info.uses)} (commit it)")
    return Exit.OK


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@key_command.command("list", epilog=examples("ml key list -o json"))
@output_option
@click.pass_context
def list_command(ctx: click.Context, output: str) -> int:
    """Keys of this user and of this repository: whose, what for, since when, and revoked when."""
    from controller.identity.keys import list_keys

    place = store_place(ctx)
    keys = list_keys(data_home(settings_of(ctx)), place.trust)
    value = report("KeyList", trustRoot=str(place.trust), items=[_item(key) for key in keys])
    emit(value, output, table=lambda wide: _table(keys, wide=wide), names=lambda: [key.key_id for key in keys])
    return Exit.OK


def _item(key: "KeyInfo") -> dict[str, Any]:
    return {
        "keyId": key.key_id,
        "private": bool(key.private),
        "trusted": bool(key.uses),
        "owner": key.owner,
        "uses": list(key.uses),
        "since": key.since or None,
        "revoked": key.revoked.reason if key.revoked else "",
        "revokedAt": key.revoked.at if key.revoked else None,
    }


def _table(keys: "tuple[KeyInfo, ...]", *, wide: bool) -> str:
    if not keys:
        return "no keys; make one with `ml key new`"
    header = ["KEY", "PRIVATE", "USES", "OWNER", "REVOKED"] + (["SINCE", "REVOKED AT"] if wide else [])
    rows = [
        [
            *(key.key_id, "yes" if key.private else "no", ",".join(key.uses) or "-", key.owner or "-"),
            key.revoked.reason if key.revoked else "-",
            *((key.since or "-", key.revoked.at if key.revoked else "-") if wide else ()),
        ]
        for key in keys
    ]
    return columns(header, rows)


@key_command.command("rotate", epilog=examples("ml key rotate && git add trust", "ml key rotate --use approvals"))
@click.option("--use", default="runs", show_default=True, type=click.Choice(OURS), help="Whose successor it is.")
@click.pass_context
def rotate_command(ctx: click.Context, use: str) -> int:
    """Make a new key, of the same owner and uses, that signs from now on; signatures of the old one stay valid."""
    from controller.identity.keys import rotate

    place = store_place(ctx)
    new, old = rotate(data_home(settings_of(ctx)), place.trust, use, _now())
    click.echo(f"{new.key_id} signs from now on" + (f"; {old.key_id} stays trusted for what it signed" if old else ""))
    return Exit.OK


@key_command.command(
    "revoke",
    epilog=examples(
        "ml key revoke 02f13e24 --reason 'laptop lost' && git add trust",
        "ml key revoke SHA256:... --reason 'left the team'    the SSH key of an allowed signer",
    ),
)
@click.argument("key_id")
@click.option("--reason", required=True, help="Why, for those who read trust/revoked later.")
@click.pass_context
def revoke_command(ctx: click.Context, key_id: str, reason: str) -> int:
    """Void every signature of a key in this repository: ours, by its first digits; SSH and OpenPGP, in full."""
    from controller.identity.keys import list_keys
    from controller.identity.revocations import revoke
    from controller.trust.keyid import ANY_ID

    place = store_place(ctx)
    known = [key.key_id for key in list_keys(data_home(settings_of(ctx)), place.trust) if key.key_id.startswith(key_id)]
    if ANY_ID.fullmatch(key_id) and not known:
        known = [key_id]
    if len(known) != 1:
        raise CommandError(f"{key_id}: {len(known)} keys begin like that; `ml key list` shows them", Exit.NOT_FOUND)
    revoke(place.trust, known[0], reason, _now())
    click.echo(f"revoked {known[0]}; commit trust/revoked")
    return Exit.OK
