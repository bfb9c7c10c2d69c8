"""`ml explain --against REF`: what a branch would start, before it is merged.

Promises: every experiment whose spec, or whose code in this repository, differs from where the branch left REF, judged
by the path of `ml explain`; starts nothing. Exit code: that of the worst of them (3 invalid, 4 refused, 8 must wait).
Does not: fetch REF, or judge experiments that the branch leaves alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.explain import explain
from controller.entrypoints.cli.opening import open_experiment
from controller.entrypoints.cli.output import ProgressLine, emit, report

if TYPE_CHECKING:
    from controller.api.documents import Document
    from controller.api.problems import Problem
    from controller.entrypoints.cli.opening import Opened
    from controller.inputs.proposed import Proposal
    from controller.plan.plan import Plan
    from controller.plan.review import Change

RENDERERS = ("markdown", "junit", "sarif")
CODES = {"Pass": Exit.OK, "Wait": Exit.MUST_WAIT, "Refuse": Exit.REFUSED, "Invalid": Exit.INVALID}


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An experiment that the branch may change."""

    change: "Change"
    after: "Document"
    before: "Document | None"


def explain_against(ctx: click.Context, path: str, against: str, output: str) -> int:
    """Print the review of what lies beneath `path`; its exit code."""
    from controller.inputs.git import find_top
    from controller.inputs.proposed import proposal
    from controller.plan.review import worst

    if not Path(path).exists():
        raise CommandError(f"{path}: there is no such file or folder", Exit.NOT_FOUND)
    try:
        found = proposal(Path(path), against)
    except LookupError as error:
        raise CommandError(str(error), Exit.NOT_FOUND) from error
    top = find_top(Path(path)) or Path()
    with ProgressLine() as progress:
        items = list(_items(ctx, top, found, progress))
    verdict = worst(items)
    value = report("ChangeReview", against=against, base=found.base, verdict=verdict, items=items)
    _print(value, output)
    return CODES[verdict]


def _print(value: dict[str, Any], output: str) -> None:
    if output in RENDERERS:
        click.echo(_rendered(value, output), nl=False)
        return
    from controller.entrypoints.cli.review_text import text

    names = [f"{item['file']} {item['experiment']}".rstrip() for item in value["items"]]
    emit(value, output, table=lambda wide: text(value, wide=wide), names=lambda: names)


def _rendered(value: dict[str, Any], output: str) -> str:
    from controller.entrypoints.cli import review_junit, review_markdown, review_sarif

    pages = {"markdown": review_markdown.page, "junit": review_junit.page, "sarif": review_sarif.page}
    return pages[output](value)


def _items(ctx: click.Context, top: Path, found: "Proposal", progress: ProgressLine) -> Iterator[dict[str, Any]]:
    from controller.plan.review import invalid, removed

    documents, problems = _documents(found)
    for file, listed in problems.items():
        yield invalid(file, listed)
    before, after = documents
    for name, old in before.items():
        if name not in after:
            yield removed(name, old.file)
    candidates = [*_changed(before, after), *_affected(top, found)]
    for count, candidate in enumerate(candidates):
        progress("judging specs", count, len(candidates))
        yield _reviewed(ctx, top, found.base, candidate, progress)


Named = dict[str, "Document"]
"""namespace/name to the experiment."""


def _documents(found: "Proposal") -> "tuple[tuple[Named, Named], Mapping[str, tuple[Problem, ...]]]":
    from controller.api.documents import load

    before: Named = {}
    after: Named = {}
    problems = {}
    for file in found.specs:
        before |= _experiments(load(file.before or b"", file.path).documents)
        loaded = load(file.after, file.path) if file.after is not None else None
        if loaded is not None and loaded.problems:
            problems[file.path] = loaded.problems
        after |= _experiments(loaded.documents) if loaded is not None else {}
    broken = {name for name, old in before.items() if old.file in problems}
    return ({name: old for name, old in before.items() if name not in broken or name in after}, after), problems


def _experiments(documents: "tuple[Document, ...]") -> Named:
    return {f"{each.namespace}/{each.name}": each for each in documents if each.kind == "Experiment"}


def _changed(before: Named, after: Named) -> Iterator[_Candidate]:
    for name, new in after.items():
        old = before.get(name)
        if old is None:
            yield _Candidate("added", new, None)
        elif old.user_sha256 != new.user_sha256:
            yield _Candidate("changed", new, old)
        elif old.file != new.file:
            yield _Candidate("moved", new, old)


def _affected(top: Path, found: "Proposal") -> Iterator[_Candidate]:
    """Experiments whose spec stays, but whose code of this repository changes."""
    from controller.api.documents import load

    specs = {file.path for file in found.specs}
    code = [path for path in found.files if path not in specs]
    for path in found.same if code else ():
        for document in _experiments(load((top / path).read_bytes(), path).documents).values():
            if _runs(document, code):
                yield _Candidate("affected", document, document)


def _runs(document: "Document", changed: list[str]) -> bool:
    source = getattr(document.model.spec, "source", None)
    if source is None or source.git is None or source.git.repo != "." or source.git.commit:
        return False
    folder = source.git.path.strip("/")
    return folder == "." or any(path == folder or path.startswith(folder + "/") for path in changed)


def _reviewed(
    ctx: click.Context, top: Path, base: str, candidate: _Candidate, progress: ProgressLine
) -> dict[str, Any]:
    from controller.plan.diff import changes
    from controller.plan.review import Outlook, reviewed

    new = candidate.after
    name = f"{new.namespace}/{new.name}"
    opened = open_experiment(ctx, str(top / new.file), name, progress)
    try:
        explained = explain(opened)
        old = _plan_before(opened, base, candidate.before) if candidate.before else None
    finally:
        opened.ports.store.close()
    plan = explained.evaluation.plan
    differ = changes(old, plan) if old else ()
    suspended = explained.evaluation.experiment.spec.suspend
    outlook = Outlook(explained.value, old.sha256 if old else None, differ, explained.done, suspended)
    return reviewed(name, new.file, candidate.change, outlook)


def _plan_before(opened: "Opened", base: str, document: "Document") -> "Plan":
    """The plan as it was at the base: the same facts, with git's answers from there."""
    from dataclasses import replace

    from controller.plan.plan import build_plan
    from controller.reconcile.evaluate import evaluate_document
    from controller.wiring import open_inputs

    inputs = open_inputs(opened.place, replace(opened.settings, ref=base))
    evaluation = evaluate_document(replace(opened.ports, inputs=inputs), document, None)
    return build_plan(evaluation.experiment, evaluation.facts, opened.ports.runtime.name)
