"""`ml validate`: every problem of specs, or of a run's manifest.

Promises: all problems at once, each as file:line:column: field: what; fix. Exit 3 when there are any. Does not: look at
the world (`ml explain` does).
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import store_place
from controller.entrypoints.cli.output import emit, examples, output_option, report

if TYPE_CHECKING:
    from controller.api.problems import Problem


@click.command(
    "validate",
    epilog=examples(
        "ml validate specs/",
        "ml validate a.yaml b.yaml -o json",
        "ml validate - < draft.yaml",
        "ml validate HEAD~1                     the specs that this commit changed",
        "ml validate --task digits-abcd2345     the manifest of this run",
    ),
)
@click.argument("what", nargs=-1)
@click.option("--task", help="A run: is its manifest complete and consistent?")
@click.option("--manifest", type=click.Path(), help="The same for a run_manifest.json.")
@output_option
@click.pass_context
def validate_command(
    ctx: click.Context, what: tuple[str, ...], task: str | None, manifest: str | None, output: str
) -> int:
    """Check specs (files, folders, commits, or - for standard input), or the manifest of a run. Starts nothing."""
    if task or manifest:
        return _manifest(ctx, task, manifest, output)
    if not what:
        raise CommandError("name files, folders or a commit, such as: ml validate specs/", Exit.USAGE)
    files = 0
    problems: list[Problem] = []
    for name, data in _inputs(what):
        files += 1
        problems += _problems(name, data)
    items = [_item(problem) for problem in problems]
    value = report("Validation", files=files, problems=items)
    emit(value, output, table=lambda _wide: _text(files, problems), names=lambda: sorted({p.file for p in problems}))
    return Exit.INVALID if problems else Exit.OK


def _problems(name: str, data: bytes) -> "tuple[Problem, ...]":
    from controller.api.documents import load

    return load(data, name).problems


def _text(files: int, problems: "list[Problem]") -> str:
    if not problems:
        return f"{files} {'file' if files == 1 else 'files'} checked: no problems"
    return "\n".join(str(problem) for problem in problems)


def _item(problem: "Problem") -> dict[str, Any]:
    return {
        "file": problem.file, "line": problem.position.line, "column": problem.position.column, "field": problem.field,
        "reason": problem.reason, "message": problem.message, "fix": problem.fix,
    }  # fmt: skip


def _inputs(what: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    for name in what:
        path = Path(name)
        if name == "-":
            yield "<stdin>", sys.stdin.buffer.read()
        elif path.is_dir():
            for file in _spec_files(path):
                yield str(file), file.read_bytes()
        elif path.exists():
            yield name, path.read_bytes()
        else:
            yield from _of_commit(name)


def _spec_files(folder: Path) -> Iterator[Path]:
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(base, name) for name in sorted(names) if _is_spec(name))


def _is_spec(name: str) -> bool:
    return (
        name.endswith((".yaml", ".yml"))
        and not name.endswith((".status.yaml", ".status.yml"))
        and not name.startswith(".")
    )


def _of_commit(name: str) -> Iterator[tuple[str, bytes]]:
    """Specs that a commit changed."""
    from controller.inputs.changes import changed_files

    try:
        yield from ((path, data) for path, data in changed_files(Path.cwd(), name) if _is_spec(path.rpartition("/")[2]))
    except LookupError as error:
        raise CommandError(f"{name}: there is no such file, folder or commit", Exit.NOT_FOUND) from error


def _manifest(ctx: click.Context, task: str | None, manifest: str | None, output: str) -> int:
    from controller.api.manifest import InvalidManifestError, completeness, load_manifest

    path = Path(manifest) if manifest else store_place(ctx).base / "experiments" / str(task) / "run_manifest.json"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}; `ml status` lists runs", Exit.NOT_FOUND) from error
    try:
        found = load_manifest(data)
        problems: tuple[str, ...] = completeness(found)
    except InvalidManifestError as error:
        problems = error.problems
    value = report("Validation", file=str(path), problems=list(problems))
    complete = f"{path}: complete and consistent"
    emit(
        value,
        output,
        table=lambda _wide: "\n".join(f"{path}: {text}" for text in problems) or complete,
        names=lambda: list(problems),
    )
    return Exit.INVALID if problems else Exit.OK
