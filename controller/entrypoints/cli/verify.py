"""`ml verify`: prove a finished run from its files, offline.

Promises: every check on its own line; exit 0 when all hold, 4 otherwise. A run id, an experiment, a run folder, a file
in one, and an archive of `ml export` are verified alike. Does not: need a reconciler or the network.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.completion import complete_names
from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.output import emit, examples, output_option, paint, report
from controller.entrypoints.cli.records import Records, open_records

if TYPE_CHECKING:
    from controller.api.catalog import TrustRule
    from controller.trust.records import Check
    from controller.trust.root import TrustRoot


@click.command(
    "verify",
    epilog=examples(
        "ml verify digits",
        "ml verify .fetchml/experiments/digits-abcd2345 --trust trust",
        "ml verify digits-abcd2345.tar --bundled-keys    nothing was changed; not: who signed it",
        "ml verify digits --policy policies/             and it is what these trust policies ask for",
        "ml verify digits --renew                        sign the level that a reproduction has raised",
    ),
)
@click.argument("what", shell_complete=complete_names)
@click.option("--trust", type=click.Path(), help="Folder of public keys to trust (default: trust/ of the repository).")
@click.option("--bundled-keys", is_flag=True, help="Use the keys that travel with the run: proves integrity only.")
@click.option("--policy", type=click.Path(), help="A file or folder with TrustPolicy documents that must hold.")
@click.option("--no-rehash", is_flag=True, help="Do not read log and results again; the rest is checked.")
@click.option("--renew", is_flag=True, help="Sign a new verdict if the evidence gives a higher level by now.")
@output_option
@click.pass_context
def verify_command(
    ctx: click.Context,
    what: str,
    trust: str | None,
    bundled_keys: bool,
    policy: str | None,
    no_rehash: bool,
    renew: bool,
    output: str,
) -> int:
    """Check signature, every file's digest, plan, manifest and trust level of a run, and the policy if one is named."""
    from controller.trust.verify import verified, verify_run

    records = open_records(ctx, _run_of(what))
    root = _root(records, trust, bundled=bundled_keys)
    if renew:
        _renew(ctx, records, root)
    checks = verify_run(records.files, root, rehash=not no_rehash)
    if policy:
        checks = (*checks, *_policy(records, root, _rules(Path(policy))))
    value = report("Verification", run=_name(records), verified=verified(checks), checks=[_shown(c) for c in checks])
    emit(value, output, table=lambda _wide: _table(value), names=lambda: [value["run"]])
    if bundled_keys and output in ("table", "wide"):
        click.echo("the keys came with the run: compare their ids with a source that you trust", err=True)
    return Exit.OK if value["verified"] else Exit.REFUSED


def _run_of(what: str) -> str:
    """A record in a run folder stands for its run; an archive for itself."""
    from controller.identity.run_archive import is_archive

    path = Path(what)
    return str(path.parent) if path.is_file() and not is_archive(path) else what


def _root(records: Records, trust: str | None, *, bundled: bool) -> "TrustRoot":
    from controller.identity.trust_folder import bundled_trust, read_trust

    if bundled:
        return bundled_trust(records.files)
    folder = Path(trust) if trust else records.place.trust
    if not folder.is_dir():
        raise CommandError(
            f"{folder}: no folder of public keys; name one with --trust (or --bundled-keys, for integrity only)",
            Exit.NOT_FOUND,
        )
    return read_trust(folder)


def _renew(ctx: click.Context, records: Records, root: "TrustRoot") -> None:
    """Replace the verdict where approvals and a reproduction give more than it says."""
    from controller.entrypoints.cli.opening import settings_of
    from controller.inventory.clock import SystemClock
    from controller.reconcile.files import RunFiles, write_atomic
    from controller.reconcile.times import timestamp
    from controller.trust.envelope import PAYLOAD_TYPE
    from controller.trust.verdict import verdict_statement
    from controller.trust.verify import judged_now
    from controller.wiring import open_signer

    if records.folder is None:
        raise CommandError("an archive is not changed; renew the verdict of the run's folder", Exit.USAGE)
    try:
        now = judged_now(records.files, root)
    except ValueError as error:
        raise CommandError(str(error), Exit.REFUSED) from error
    if now.level <= records.level():
        click.echo(f"the verdict says {records.level()} already, and the evidence gives no more", err=True)
        return
    signer = open_signer(records.place, settings_of(ctx))
    if signer is None:
        raise CommandError("no key of yours may sign verdicts here; ml key new", Exit.NOT_ALLOWED)
    data, attestation = records.read("run_manifest.json"), records.read("attestation.dsse.json")
    statement = verdict_statement(data, attestation, now, timestamp(SystemClock().now()))
    path = RunFiles(records.folder).verdict
    write_atomic(path, signer.sign(PAYLOAD_TYPE, statement))
    click.echo(f"signed a verdict of {now.level}: {path}", err=True)


def _rules(path: Path) -> "tuple[TrustRule, ...]":
    from controller.api.catalog import TrustPolicy
    from controller.api.documents import load
    from controller.api.problems import InvalidDocumentError

    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    rules: list[TrustRule] = []
    found = 0
    for file in files:
        loaded = load(file.read_bytes(), str(file))
        if loaded.problems and not path.is_dir():
            raise InvalidDocumentError(loaded.problems)
        policies = [document.model for document in loaded.documents if isinstance(document.model, TrustPolicy)]
        found += len(policies)
        rules += [rule for policy in policies for rule in policy.spec.rules]
    if not found:
        raise CommandError(f"{path} holds no TrustPolicy", Exit.NOT_FOUND)
    return tuple(rules)


def _policy(records: Records, root: "TrustRoot", rules: "tuple[TrustRule, ...]") -> "tuple[Check, ...]":
    """The policy against what the records show (whose own checks stand beside these)."""
    from controller.trust.approval import FOLDER, ApprovalError, read_approval
    from controller.trust.policy import policy_checks

    approvals = []
    manifest = records.manifest()
    for name in records.files:
        if name.startswith(FOLDER):
            try:
                approval = read_approval(records.read(name), root)
            except ApprovalError:
                continue  # the check named approval says so
            if approval.plan_sha256 == manifest.plan_sha256:
                approvals.append(approval)
    return policy_checks(rules, manifest, records.level() or "L0", tuple(approvals))


def _name(records: Records) -> str:
    """The run, by its folder or archive when its manifest does not say."""
    return records.folder.resolve().name if records.folder else Path(records.what).name.removesuffix(".tar")


def _shown(check: "Check") -> dict[str, Any]:
    return {"name": check.name, "ok": check.ok, "reason": check.reason, "message": check.message, "file": check.file}


def _table(value: dict[str, Any]) -> str:
    lines = []
    for check in value["checks"]:
        word = "ok" if check["ok"] else "FAILED"
        file = f"{check['file']}: " if check["file"] and check["file"] not in check["message"] else ""
        reason = f"{check['reason']}: " if check["reason"] else ""
        lines.append(f"{paint(word)}{' ' * (8 - len(word))}{check['name']:<13} {reason}{file}{check['message']}")
    failed = sum(not check["ok"] for check in value["checks"])
    result = "verified" if value["verified"] else f"NOT verified: {failed} of {len(value['checks'])} checks failed"
    return "\n".join([*lines, f"{value['run']}: {result}"])
