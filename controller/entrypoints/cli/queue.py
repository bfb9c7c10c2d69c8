"""`ml queue`: hand a spec to the reconciler.

Promises: the same preflight as everywhere, then the file's very bytes in the folder that is watched (with --name those
of the one document, in a file of its own), or with --push in a commit on the branch that is watched; what is there is
not overwritten. Does not: commit or push without --push.
"""

import posixpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.explain import explain
from controller.entrypoints.cli.opening import open_experiment, settings_of, store_place
from controller.entrypoints.cli.output import ProgressLine, examples
from controller.wiring import place_of

if TYPE_CHECKING:
    from controller.entrypoints.cli.explain import Explained


@click.command(
    "queue",
    epilog=examples(
        "ml queue drafts/digits.yaml",
        "ml queue drafts/digits.yaml --specs lab/specs",
        "ml queue drafts/digits.yaml --push                  commit to origin's main and push",
        "ml queue digits.yaml --push --repo ssh://git@git.example.org/lab.git --branch runs",
    ),
)
@click.argument("path", type=click.Path())
@click.option(
    "--name",
    help="Which experiment of a file with several: it alone is copied, to NAME.yaml (--push takes the whole file).",
)
@click.option(
    "--specs",
    default="specs",
    show_default=True,
    type=click.Path(),
    help="Folder that the reconciler watches, relative to the repository.",
)
@click.option("--push", is_flag=True, help="Put it there as a commit of its own, and push that.")
@click.option("--repo", default="", metavar="REPO", help="With --push: the repository (default: that of origin).")
@click.option("--branch", default="main", show_default=True, help="With --push: the branch.")
@click.pass_context
def queue_command(
    ctx: click.Context, path: str, name: str | None, specs: str, push: bool, repo: str, branch: str
) -> int:
    """Strict preflight, then put the spec where the reconciler finds it. Exit 4 when refused, 8 when it must wait."""
    if push:
        return _pushed(ctx, path, name, specs, repo, branch)
    if repo:
        raise CommandError("--repo needs --push", Exit.USAGE)
    return _copied(ctx, path, name, specs)


def _copied(ctx: click.Context, path: str, name: str | None, specs: str) -> int:
    from controller.reconcile.files import write_atomic

    folder = store_place(ctx, str(Path(path).parent)).root / specs
    with ProgressLine() as progress:
        opened = open_experiment(ctx, path, name, progress, among=folder)
        found = explain(opened)
    _object(found)
    if found.code is Exit.REFUSED:
        return Exit.REFUSED
    document = opened.document
    alone = bool(name) and document.of > 1
    target = folder / (f"{document.name}.yaml" if alone else Path(path).name)
    data = document.user_part if alone else Path(path).read_bytes()
    if target.exists() and target.read_bytes() != data:
        raise CommandError(f"{target} exists already, and differs; edit it there, or rename {path}", Exit.NOT_ALLOWED)
    shown = str(target.relative_to(opened.place.root)) if target.is_relative_to(opened.place.root) else str(target)
    others = [place for place in found.evaluation.facts.places if place != shown]
    if others:
        raise CommandError(f"NameClash: {opened.key} stands in {', '.join(others)} already; rename one", Exit.REFUSED)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, data)
    click.echo(f"queued {opened.key} at {shown}; `ml reconcile {specs}` runs it")
    return found.code


def _pushed(ctx: click.Context, path: str, name: str | None, specs: str, repo: str, branch: str) -> int:
    from controller.entrypoints.cli.queue_push import Aim, origin_of, queue_push

    settings = settings_of(ctx)
    place = place_of(Path(path), settings)
    target = posixpath.normpath(posixpath.join(specs, Path(path).name))
    if target.startswith(("/", "..")):
        raise CommandError(f"--specs {specs} is no folder of the repository; write specs", Exit.USAGE)
    aim = Aim(repo or origin_of(place), branch, target)
    found = queue_push(place, settings, Path(path), name, aim)
    if found is None:
        click.echo(f"{target} is on {branch} already; nothing was pushed")
        return Exit.OK
    _object(found)
    if found.code is not Exit.REFUSED:
        click.echo(f"pushed {target} to {branch} of {aim.repository}; the reconciler that watches it runs it")
    return found.code


def _object(found: "Explained") -> None:
    """What preflight has to say, on stderr."""
    for rule in found.value["preflight"]["rules"]:
        if rule["verdict"] != "Pass":
            click.echo(objection(rule), err=True)


def objection(rule: dict[str, Any]) -> str:
    """One line as compilers print it: file:line:column: reason: message; fix."""
    place = ":".join(str(rule[part]) for part in ("file", "line", "column") if rule[part])
    return f"{place}: {rule['reason']}: {rule['message']}; {rule['fix']}"
