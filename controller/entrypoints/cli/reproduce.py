"""`ml reproduce`: run a recorded run again, from its records, and answer field by field whether it came out the same.

Promises: the new run goes the ordinary way (preflight, sandbox, proof) in a repository and a store of its own, made
from nothing but the records and the recorded commit; what counts as equal was declared by the original's spec before it
ran; interrupted, the same command goes on. Does not: touch the original, or call a run reproduced whose records do not
verify.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.completion import complete_names
from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import settings_of
from controller.entrypoints.cli.output import columns, emit, examples, output_option, paint, report
from controller.entrypoints.cli.records import Records, open_records
from controller.entrypoints.cli.shown import harmless, shown
from controller.wiring import Place

if TYPE_CHECKING:
    from controller.api.documents import Document
    from controller.api.experiment import Experiment
    from controller.trust.comparison import FieldResult

NOT_REPRODUCED = 1
"""As of `ml diff`: they differ."""
SPEC = "specs/rerun.yaml"


@click.command(
    "reproduce",
    epilog=examples(
        "ml reproduce digits-abcd2345", "ml reproduce theirs.tar --in /scratch/theirs", "ml reproduce x -o json"
    ),
)
@click.argument("what", shell_complete=complete_names)
@click.option("--in", "place", type=click.Path(), help="Folder of the new run (default: beneath our records).")
@click.option("--timeout", help="Give up following after this long, such as 10m (the run goes on; exit 124).")
@output_option
@click.pass_context
def reproduce_command(ctx: click.Context, what: str, place: str | None, timeout: str | None, output: str) -> int:
    """Run a finished run (id, experiment, folder or exported archive) again from its records, and compare.

    Exit 0: reproduced. 1: not reproduced. 4: the records do not verify, or preflight refuses. 7: the new run failed.
    """
    original = _verified(open_records(ctx, what))
    manifest = original.manifest()
    if manifest.state != "completed":
        raise CommandError(
            f"{manifest.run_id} is {manifest.state}; only a completed run can be reproduced", Exit.REFUSED
        )
    folder = Path(os.path.abspath(place or original.place.base / "reproductions" / manifest.run_id))  # noqa: PTH100  # resolve() would follow links
    _prepare(original, folder)
    inner = _inside(ctx, original.place, folder)
    code = _run(inner, folder, timeout, logs=output in ("table", "wide"))
    if code != Exit.OK:
        click.echo(f"the run that was to reproduce {manifest.run_id} did not complete; its place is {folder}", err=True)
        return code
    value = _answer(ctx, original, _verified(open_records(inner, _newest(folder))), original.folder or folder)
    emit(value, output, table=lambda wide: _text(value, wide=wide), names=lambda: [value["rerun"]["run"]])
    return Exit.OK if value["reproduced"] else NOT_REPRODUCED


def _verified(records: Records) -> Records:
    if objections := records.objections():
        listed = "\n  ".join(harmless(each) for each in objections)
        raise CommandError(f"{records.what} does not verify, so nothing follows from it:\n  {listed}", Exit.REFUSED)
    return records


def _prepare(original: Records, folder: Path) -> None:
    """A repository with the spec and the trusted keys; one that an interrupted call made is used again."""
    from controller.api.yaml_writer import lines
    from controller.inputs.gitcmd import GitError
    from controller.inputs.scratch import make_repository
    from controller.plan.plan import load_plan
    from controller.plan.rerun import rerun_spec

    manifest, plan = original.manifest(), load_plan(original.read("plan.json")).content
    if folder.exists():
        if _reproduces(folder) == manifest.run_id:
            return
        what = f"is no reproduction of {manifest.run_id}; name another folder with --in"
        raise CommandError(f"{folder} exists and {what}", Exit.NOT_ALLOWED)
    experiment = recorded_experiment(original)
    source = experiment.spec.source
    commit = plan["source"]["commit"] if source and source.git and source.git.repo == "." else None
    root = original.place.root
    spec = rerun_spec(experiment, plan, manifest.run_id, lambda uri: _located(uri, root, commit))
    files = {SPEC: "".join(line + "\n" for line in lines(spec)).encode(), ".gitignore": b".fetchml/\n"}
    files |= {
        f"trust/{path.name}": path.read_bytes() for path in sorted(original.place.trust.iterdir()) if path.is_file()
    }
    lender = root if (root / ".git").exists() else None
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        make_repository(folder, files, lender=lender, parent=commit)
    except GitError as error:
        raise CommandError(f"{manifest.run_id} cannot be run again here: {error}", Exit.NOT_FOUND) from error


def _reproduces(folder: Path) -> str:
    """The run that the spec in this folder repeats; empty when it is no place of ours."""
    from controller.api.documents import load
    from controller.plan.rerun import ANNOTATION

    if not (folder / SPEC).is_file():
        return ""
    documents = load((folder / SPEC).read_bytes(), SPEC).documents
    return documents[0].model.metadata.annotations.get(ANNOTATION, "") if documents else ""


def recorded_experiment(records: Records) -> "Experiment":
    """The experiment of the recorded spec that the manifest is about.

    Raises:
        CommandError: spec.yaml holds none with that digest (4).
    """
    return _recorded(records).model  # type: ignore[return-value]  # found by its kind


def _recorded(records: Records) -> "Document":
    from controller.api.documents import load

    manifest = records.manifest()
    found = [
        document
        for document in load(records.read("spec.yaml"), "spec.yaml").documents
        if document.kind == "Experiment" and document.spec_sha256 == manifest.spec_sha256
    ]
    if not found:
        raise CommandError(f"{records.what}: spec.yaml is not the spec that ran", Exit.REFUSED)
    return found[0]


def _located(uri: str, root: Path, commit: str | None) -> str:
    """A dataset beneath the original's repository but not in its commit is named by its whole path."""
    from urllib.parse import quote

    from controller.inputs.datasets import path_of
    from controller.inputs.scratch import holds

    if not uri.lower().startswith("file:") or path_of(uri).startswith("/"):
        return uri
    path = path_of(uri)
    return uri if commit and holds(root, commit, path) else f"file:{quote(str(root / path))}"


def _inside(ctx: click.Context, place: Place, folder: Path) -> click.Context:
    """The context of a command in the new repository: its own store; the original's data and snapshots may be read."""
    settings = settings_of(ctx)
    flags = {
        **ctx.obj["flags"],
        "base_path": str(folder / ".fetchml"),
        "dataset_roots": [*settings.dataset_roots, str(place.root)],
        "object_store": settings.object_store or str(place.base / "objects"),
    }
    return click.Context(ctx.command, parent=ctx.parent, obj={**ctx.obj, "flags": flags})


def _run(inner: click.Context, folder: Path, timeout: str | None, *, logs: bool) -> int:
    from controller.entrypoints.cli.run import run_command

    click.echo(f"running it again in {folder}, with a store of its own", err=True)
    spec = os.path.relpath(folder / SPEC)
    code: int = inner.invoke(run_command, path=spec, name=None, logs=logs, timeout=timeout, patient=False)
    return code


def _newest(folder: Path) -> str:
    """The one run of this place."""
    runs = [
        entry for entry in (folder / ".fetchml" / "experiments").iterdir() if (entry / "run_manifest.json").is_file()
    ]
    return str(max(runs, key=lambda entry: entry.stat().st_mtime_ns))


def _answer(ctx: click.Context, original: Records, rerun: Records, keep: Path) -> dict[str, Any]:
    """Compare, sign the comparison, and keep it: in the original's run folder, or for an archive where it ran again."""
    from controller.trust.comparison import compare

    tolerances = recorded_experiment(original).spec.reproducibility.tolerances
    found = compare(original.manifest(), rerun.manifest(), tolerances)
    kept, key_id = _signed(ctx, original, rerun, tolerances, keep)
    return report(
        "Reproduction",
        reproduced=found.reproduced,
        elsewhere=found.elsewhere,
        original=_side(original),
        rerun=_side(rerun),
        tolerances=dict(tolerances),
        fields=[_field(each) for each in found.fields],
        differences=_differences(original, rerun),
        comparison=kept,
        keyId=key_id,
    )


def _side(records: Records) -> dict[str, Any]:
    manifest = records.manifest()
    where = {"machineId": manifest.node.machine_id, "store": manifest.store, "hostname": manifest.node.hostname}
    folder = str(records.folder) if records.folder else records.what
    return {"run": manifest.run_id, "records": folder, "trustLevel": records.level(), **where}


def _field(each: "FieldResult") -> dict[str, Any]:
    known = {"tolerance": each.tolerance} if each.tolerance is not None else {}
    return {"field": each.field, "outcome": each.outcome, "original": each.original, "rerun": each.rerun, **known}


def _differences(original: Records, rerun: Records) -> list[dict[str, Any]]:
    """What else is not the same, for whoever looks for the cause: the plan field by field, and the machine."""
    from controller.plan.compare import Side, compare
    from controller.plan.plan import load_plan

    sides = [Side(each.manifest(), load_plan(each.read("plan.json")), each.level()) for each in (original, rerun)]
    found = compare(*sides)
    rows = [row for name in ("provenance", "parameters", "environment") for row in found[name] if not row.same]
    return [row.as_dict() for row in rows if row.field != "specSha256"]


def _signed(
    ctx: click.Context, original: Records, rerun: Records, tolerances: Mapping[str, float], keep: Path
) -> tuple[str | None, str | None]:
    """Where the signed comparison lies, and who signed it; nothing without a key."""
    from controller.inventory.clock import SystemClock
    from controller.reconcile.files import write_together
    from controller.reconcile.times import timestamp
    from controller.trust.comparison import COMPARISON, RERUN_ATTESTATION, RERUN_MANIFEST, comparison_statement
    from controller.trust.envelope import PAYLOAD_TYPE
    from controller.wiring import open_signer

    place, settings = original.place, settings_of(ctx)
    signer = open_signer(place, settings, "comparisons") or open_signer(place, settings)
    if signer is None:
        click.echo("not signed: no key of yours may (ml key new --owner YOU --use comparisons)", err=True)
        return None, None
    data, again = original.read("run_manifest.json"), rerun.read("run_manifest.json")
    statement = comparison_statement(data, again, tolerances, timestamp(SystemClock().now()))
    files = {
        RERUN_MANIFEST: again,
        RERUN_ATTESTATION: rerun.read("attestation.dsse.json"),
        COMPARISON: signer.sign(PAYLOAD_TYPE, statement),
    }
    for name in files:
        (keep / name).parent.mkdir(exist_ok=True)
    write_together({keep / name: content for name, content in files.items()})
    return str(keep / COMPARISON), signer.key_id


def _text(value: Mapping[str, Any], *, wide: bool) -> str:
    word = paint("ok", "REPRODUCED") if value["reproduced"] else paint("FAILED", "NOT reproduced")
    where = (
        "on another machine, with another store"
        if value["elsewhere"]
        else "on the same machine: no other host took part"
    )
    head = f"{value['original']['run']}: {word} by {value['rerun']['run']}, {where}"
    parts = [head, "\n".join(_rows(value["fields"]))]
    if value["differences"]:
        lines = (_difference(row, 200 if wide else 60) for row in value["differences"])
        parts.append("\n".join(["What else is not the same:", *lines]))
    if value["comparison"]:
        parts.append(f"signed comparison: {value['comparison']} (key {value['keyId'][:12]})")
    return "\n\n".join(parts)


def _rows(fields: list[dict[str, Any]]) -> Iterator[str]:
    rows = [
        [each["outcome"], each["field"], shown(each["original"]), shown(each["rerun"]), _within(each)]
        for each in fields
    ]
    yield columns(("OUTCOME", "FIELD", "ORIGINAL", "RERUN", ""), [[shown(cell) for cell in row] for row in rows])


def _within(each: Mapping[str, Any]) -> str:
    return f"declared tolerance {shown(each['tolerance'])}" if "tolerance" in each else ""


def _difference(row: Mapping[str, Any], limit: int) -> str:
    return f"  {shown(row['field'], limit)}: {shown(row['a'], limit)} -> {shown(row['b'], limit)}"
