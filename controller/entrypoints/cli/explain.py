"""`ml explain` and `ml diff`: the reconciler's own path, stopped before the launch.

Promises: starts nothing and writes nothing but caches. Exit: 0 would pass, 3 invalid, 4 refused, 8 must wait; `diff`:
0 same, 1 differs, more is an error. Does not: judge anything itself.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.errors import Exit
from controller.entrypoints.cli.opening import Opened, open_experiment
from controller.entrypoints.cli.output import (
    FORMATS,
    ProgressLine,
    command_line,
    emit,
    examples,
    one_line,
    output_option,
    output_option_with,
    paint,
    report,
    short_digest,
)

if TYPE_CHECKING:
    from controller.plan.diff import FieldChange
    from controller.reconcile.evaluate import Evaluation


@click.command(
    "explain",
    epilog=examples(
        "ml explain specs/digits.yaml",
        "ml explain specs/digits.yaml -o wide    every rule and every cap",
        "ml explain specs/digits.yaml -o json | jq .plan",
        "ml explain specs/digits.yaml --resolve    what to write instead of the image's tag",
        "ml explain specs --against origin/main -o markdown    what a branch would start",
    ),
)
@click.argument("path", type=click.Path(), required=False)
@click.option("--name", help="Which experiment of a file with several.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 10 instead of 0 when a launch would happen.")
@click.option("--resolve", is_flag=True, help="Fetch the image that a tag names, so that its digest can be told.")
@click.option("--against", metavar="REF", help="Everything beneath PATH that differs from where HEAD left REF.")
@output_option_with("markdown", "junit", "sarif")
@click.pass_context
def explain_command(
    ctx: click.Context,
    path: str | None,
    name: str | None,
    detailed_exitcode: bool,
    resolve: bool,
    against: str | None,
    output: str,
) -> int:
    """Show what would run, whether it may and why not, and the trust level it can reach. Starts nothing.

    markdown, junit and sarif need --against.
    """
    if against is not None:
        from controller.entrypoints.cli.against import explain_against

        return explain_against(ctx, path or ".", against, output)
    if path is None or output not in FORMATS:
        wanted = "Missing argument 'PATH': name a spec" if path is None else f"-o {output} needs --against REF"
        raise click.UsageError(f"{wanted}, such as: ml explain {path or 'specs/digits.yaml'}")
    with ProgressLine() as progress:
        opened = open_experiment(ctx, path, name, progress)
        if resolve:
            resolve_image(opened)
        found = explain(opened)
    emit(
        found.value, output, table=lambda wide: _text(found, path, wide=wide), names=lambda: [found.value["experiment"]]
    )
    return Exit.WOULD_LAUNCH if detailed_exitcode and found.code is Exit.OK and found.launches else found.code


@click.command("diff", epilog=examples("ml diff specs/digits.yaml && echo nothing to do"))
@click.argument("path", type=click.Path())
@click.option("--name", help="Which experiment of a file with several.")
@output_option
@click.pass_context
def diff_command(ctx: click.Context, path: str, name: str | None, output: str) -> int:
    """Compare the plan of a spec with the plan of its newest run.

    Exit 0: the same. 1: they differ, or nothing ran yet. Above 1: an error.
    """
    with ProgressLine() as progress:
        found = explain(open_experiment(ctx, path, name, progress))
    known = {key: found.value[key] for key in ("experiment", "planSha256", "changes")}
    value = report("Diff", **known, newestRun=found.newest)
    emit(
        value,
        output,
        table=lambda _wide: _difference(value),
        names=lambda: [each["field"] for each in value["changes"]],
    )
    return DIFFERS if value["changes"] or found.newest is None else Exit.OK


DIFFERS = 1


@dataclass(frozen=True, slots=True)
class Explained:
    """What `ml explain` prints, and what else the commands need to know of it."""

    value: dict[str, Any]
    """The Explanation of the design contract."""
    evaluation: "Evaluation"
    newest: str | None
    """Newest run of this experiment."""
    done: str | None
    """The run of this very plan, if there is one."""
    elsewhere: str = ""
    """Terminal phase that the file claims although nothing of it ran here."""

    @property
    def code(self) -> Exit:
        """The exit code of the preflight verdict."""
        return {"Refuse": Exit.REFUSED, "Wait": Exit.MUST_WAIT, "Pass": Exit.OK}[self.value["preflight"]["verdict"]]

    @property
    def launches(self) -> bool:
        """Would a reconcile launch it, once it passes?"""
        return self.done is None and not self.elsewhere and not self.evaluation.experiment.spec.suspend


def resolve_image(opened: Opened) -> None:
    """Have the engine fetch what the spec's image names now.

    Raises:
        EnvironmentBuildError: its registry does not have it, or does not answer.
    """
    from controller.reconcile.observe import experiment_of

    image = experiment_of(opened.document).spec.environment.image
    if image is None or opened.ports.images is None:
        raise click.UsageError("--resolve is for a spec with an image, where runs are containers (settings: runtime)")
    opened.ports.images.image_facts(image, remote=True)


def explain(opened: Opened) -> Explained:
    """Judge a spec exactly as the reconciler does, and launch nothing."""
    from controller.placement import place as fit
    from controller.placement import request_of
    from controller.plan.explain import Judged, explanation
    from controller.plan.identity import run_id
    from controller.reconcile.evaluate import evaluate_document, finished_elsewhere, rerun_token, world_now

    ports, document = opened.ports, opened.document
    row = ports.store.experiment(opened.key)
    evaluation = evaluate_document(ports, document, row)
    experiment = evaluation.experiment
    wanted = run_id(experiment.metadata.name, row.uid if row else "", evaluation.plan.sha256, rerun_token(experiment))
    placement = fit(request_of(experiment, wanted, ""), world_now(ports, evaluation))
    judged = Judged(evaluation.facts.sha256(), evaluation.preflight, evaluation.ceiling, placement)
    newest = ports.store.runs(uid=row.uid, limit=1) if row else ()
    changes = _changes_since(opened, newest[0].run_id, evaluation) if newest else ()
    value = explanation(document, experiment, evaluation.plan, judged, changes)
    known = row is not None and ports.store.run(wanted) is not None
    elsewhere = "" if newest else finished_elsewhere(experiment, document.spec_sha256)
    return Explained(value, evaluation, newest[0].run_id if newest else None, wanted if known else None, elsewhere)


def _changes_since(opened: Opened, run_id: str, evaluation: "Evaluation") -> "tuple[FieldChange, ...]":
    from controller.plan.diff import changes
    from controller.plan.plan import load_plan

    run = opened.ports.store.run(run_id)
    return changes(load_plan(run.plan), evaluation.plan) if run else ()


def _text(found: Explained, path: str, *, wide: bool) -> str:
    value = found.value
    placement = value["placement"]
    sections = [
        [f"Experiment  {value['experiment']}", *_plan_lines(value, value["plan"])],
        list(_preflight_lines(value["preflight"], wide=wide)),
        list(_trust_lines(value["trust"], wide=wide)),
        [f"Placement   {placement['target']} ({placement['runtime']}): {placement['message']}"],
        [f"Changes     since {found.newest}", _changes(value["changes"])] if value["changes"] else [],
        [f"Next        {_next(found, path)}"],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _next(found: Explained, path: str) -> str:
    if found.elsewhere:
        claim = f"nothing: the file says {found.elsewhere}, finished elsewhere and unverified"
        return f"{claim}; a new fetchml.dev/rerun annotation runs it here"
    if found.done:
        return f"nothing: this plan ran already, as {found.done} (ml info {found.done})"
    if found.code is Exit.REFUSED:
        return "nothing starts until what is marked x is changed"
    if found.code is Exit.MUST_WAIT:
        return f"it must wait; to wait for it: ml run --wait {shlex.quote(path)}"
    if found.evaluation.experiment.spec.suspend:
        return "nothing: spec.suspend is true"
    return f"ml run {shlex.quote(path)}"


def _plan_lines(explained: dict[str, Any], plan: dict[str, Any]) -> list[str]:
    rows = [("Plan", explained["planSha256"]), ("Command", command_line(plan["command"]))]
    source = plan.get("source", {})
    if source:
        commit = (source.get("commit") or "not found")[:12]
        rows.append(("Source", source.get("snapshot") or f"commit {commit}, path {source['path']}"))
    if plan.get("parameters"):
        rows.append(("Parameters", " ".join(f"{key}={one_line(value)}" for key, value in plan["parameters"].items())))
    interpreter = plan.get("environment", {}).get("interpreter")
    if interpreter:
        lock = plan["environment"].get("dependencies")
        rows.append(
            (
                "Python",
                interpreter["version"]
                + (f" with {lock['manifest']} {short_digest(lock.get('sha256'))}" if lock else ""),
            )
        )
    rows += [
        ("Dataset", f"{data['name']} {short_digest(data.get('sha256'))} at {data['mountPath']}")
        for data in plan.get("datasets", ())
    ]
    return [f"{name:<11} {value}" for name, value in rows]


_MARK = {"Pass": "+", "Wait": "~", "Refuse": "x"}


def _preflight_lines(preflight: dict[str, Any], *, wide: bool) -> Iterator[str]:
    rules = preflight["rules"]
    passed = [rule for rule in rules if rule["verdict"] == "Pass"]
    yield f"Preflight   {paint(preflight['verdict'])}: {len(passed)} of {len(rules)} rules pass"
    for rule in rules:
        if rule["verdict"] != "Pass":
            yield from _objection_lines(rule)
    if wide:
        yield from (f"  {paint('Pass', '+')} {rule['rule']}: {rule['message']}" for rule in passed)


def _objection_lines(rule: dict[str, Any]) -> Iterator[str]:
    verdict = rule["verdict"]
    place = f"{rule['file']}:{rule['line']}:{rule['column']}: " if rule["line"] else ""
    yield f"  {paint(verdict, _MARK[verdict])} {paint(verdict, rule['reason'])}: {rule['message']}"
    yield f"    {place}{rule['field']}"
    yield f"    {rule['fix']}"


def _trust_lines(trust: dict[str, Any], *, wide: bool) -> Iterator[str]:
    yield f"Trust       at most {trust['level']}"
    binding = [cap for cap in trust["caps"] if wide or cap["level"] == trust["level"]]
    yield from (f"  <= {cap['level']}  {cap['reason']}: {cap['message']}" for cap in binding)


def _difference(value: dict[str, Any]) -> str:
    if value["newestRun"] is None:
        return f"{value['experiment']} has not run yet: a run would be new"
    return _changes(value["changes"]) or f"no difference from {value['newestRun']}"


def _changes(changes: list[dict[str, Any]]) -> str:
    return "\n".join(
        f"  {change['field']}: {one_line(change['old'])} -> {one_line(change['new'])}" for change in changes
    )
