"""`ml export`: one run as one file that anybody can verify.

Promises: the same run gives the same bytes; what is published verifies, because the finished archive itself is verified
before it gets its name. Does not: overwrite a file, include what no signature covers, or hold a private key.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from controller.entrypoints.cli.completion import complete_names
from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.output import ProgressLine, emit, examples, output_option, report
from controller.entrypoints.cli.records import Records, open_records
from controller.ports import durable

if TYPE_CHECKING:
    from controller.api.manifest import RunManifest

Files = dict[str, bytes | Callable[[], BinaryIO]]

PUBLISH = durable.register("export.publish", "a verified archive of a run has its name")
_ENVELOPE = ".dsse.json"
_RECORDS = ("spec.yaml", "plan.json", "run_manifest.json", "run.log")
_NOT_EVIDENCE = ("results/", "attempts/", "checkpoints/")


@click.command(
    "export",
    epilog=examples("ml export digits", "ml export digits-softmax-abcd2345 --to run.tar && ml verify run.tar"),
)
@click.argument("what", shell_complete=complete_names)
@click.option("--to", type=click.Path(), help="The archive to write (default: RUN.tar here). Never overwritten.")
@output_option
@click.pass_context
def export_command(ctx: click.Context, what: str, to: str | None, output: str) -> int:
    """Write a finished run (id, experiment or folder) to one archive: records, outputs, public key, how to verify.

    The archive is a plain tar. Exit 4 when the run does not verify: only what can be proved is exported.
    """
    records = open_records(ctx, what)
    manifest = records.manifest()
    if manifest.state == "running":
        raise CommandError(f"{manifest.run_id} has not ended yet; wait for it: ml wait {what}", Exit.MUST_WAIT)
    target = Path(to or f"{manifest.run_id}.tar")
    if os.path.lexists(target):
        raise CommandError(f"{target} exists already; name a new file with --to", Exit.NOT_ALLOWED)
    files = archived(records, manifest)
    digest = _publish(records, manifest, files, target)
    value = report("Export", run=manifest.run_id, archive=str(target), sha256=digest, files=sorted(files))
    emit(value, output, table=lambda _wide: _text(value, target), names=lambda: [str(target)])
    return Exit.OK


def _text(value: Mapping[str, Any], target: Path) -> str:
    size = target.stat().st_size / 2**20
    return (
        f"wrote {target} ({size:.1f} MiB, {len(value['files'])} files)\n{value['sha256']}\n"
        f"verify it here: ml verify {target}; elsewhere: its README.md says how"
    )


def archived(records: Records, manifest: "RunManifest") -> Files:
    """What goes into the archive: records, signed results, the public keys, and two files about them."""
    from controller.entrypoints.cli.export_readme import readme
    from controller.plan.crate import NAME, crate_metadata
    from controller.trust.statement import RESULTS

    signed = _signed(manifest)
    wanted = {name for name in records.files if name in _RECORDS or _is_evidence(name)}
    wanted |= {name for name in records.files if name in signed and name.startswith(RESULTS)}
    files: Files = {name: records.files[name] for name in wanted}
    files |= _keys(records)
    key_id = next(iter(_signers(records.read("attestation.dsse.json"))), "")
    files["README.md"] = readme(manifest, key_id).encode()
    sizes = {name: _size(source) for name, source in files.items()}
    files[NAME] = crate_metadata(manifest, sizes, signed)
    return files


def _is_evidence(name: str) -> bool:
    """An envelope, or what lies beside one in a folder of its own (of a reproduction, of approvals)."""
    if "/" not in name:
        return name.endswith(_ENVELOPE)
    return not name.startswith((*_NOT_EVIDENCE, "trust/")) and name.endswith(".json")


def _signed(manifest: "RunManifest") -> dict[str, str]:
    """Path in the run folder to digest, for everything that the statement covers (but the manifest itself)."""
    from controller.trust.statement import subject_path, subjects_of

    return {subject_path(name): f"sha256:{digest}" for name, digest in subjects_of(manifest, b"").items()
            if name != "run_manifest.json"}  # fmt: skip


def _keys(records: Records) -> Files:
    """The public keys that the envelopes name, whose they are, and the list of revoked ones."""
    envelopes = [name for name in records.files if name.endswith(_ENVELOPE) and _is_evidence(name)]
    ids = {key_id for name in envelopes for key_id in _signers(records.read(name))}
    found: Files = {}
    for name in sorted([*(f"{key_id}.pub.pem" for key_id in ids), "revoked", "root"]):
        path = records.place.trust / name
        if path.is_file():
            found[f"trust/{name}"] = path.read_bytes()
        elif f"trust/{name}" in records.files:
            found[f"trust/{name}"] = records.read(f"trust/{name}")
    return found


def _signers(envelope: bytes) -> Iterator[str]:
    """Key ids in a DSSE envelope; nothing for what is none (verification will say so)."""
    try:
        signatures = json.loads(envelope)["signatures"]
        ids = [str(each["keyid"]) for each in signatures]
    except (ValueError, TypeError, KeyError):
        return
    yield from (key_id for key_id in ids if len(key_id) == 64 and not set(key_id) - set("0123456789abcdef"))


def _size(source: bytes | Callable[[], BinaryIO]) -> int:
    if isinstance(source, bytes):
        return len(source)
    with source() as stream:
        return stream.seek(0, os.SEEK_END)


class _Packing(ProgressLine):
    """How far the archive is."""

    def __init__(self, files: Files) -> None:
        super().__init__()
        self._total = sum(_size(source) for source in files.values())
        self._done = 0

    def advance(self, count: int) -> None:
        """So many bytes more."""
        self._done += count
        self("packing", self._done, self._total)


def _publish(records: Records, manifest: "RunManifest", files: Files, target: Path) -> str:
    """Write beside the target, verify what was written, then give it its name; its digest."""
    from controller.identity.run_archive import archive_files, write_archive
    from controller.reconcile.files import fsync_folder

    temporary = target.with_name(f".{target.name}.tmp")
    try:
        packing = _Packing(files)
        with temporary.open("wb") as out, packing:
            write_archive(out, manifest.run_id, files, packing.advance)
            out.flush()
            os.fsync(out.fileno())
        written = Records(records.what, records.place, archive_files(temporary), None)
        if objections := written.objections():
            listed = "\n  ".join(objections)
            raise CommandError(f"{manifest.run_id} does not verify, so it is not exported:\n  {listed}", Exit.REFUSED)
        with temporary.open("rb") as file:
            digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        with durable.step(PUBLISH):
            os.link(temporary, target)  # unlike a rename, fails when the name was taken meanwhile
            fsync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return digest
