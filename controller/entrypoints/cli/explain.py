"""`ml explain` and `ml diff`: the reconciler's own path, stopped before the launch.

Promises: starts nothing and writes nothing but caches. Exit: 0 would pass, 3 invalid, 4 refused, 8 must wait; `diff`: 0 same, 1 differs.
"""

from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.errors import Exit
from controller.entrypoints.cli.opening import Opened, open_experiment
from controller.entrypoints.cli.output import ProgressLine, emit, output_option, paint, short_digest

if TYPE_CHECKING:
    from controller.plan.diff import FieldChange
    from controller.reconcile.evaluate import Evaluation


@click.command(
    "explain", epilog="\b\nExamples:\n  ml explain specs/digits.yaml\n  ml explain specs/digits.yaml -o json | jq .plan"
)
@click.argument("path", type=click.Path())
@click.option("--name", help="Which experiment of a file with several.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 10 instead of 0 when a launch would happen.")
@output_option
@click.pass_context
def explain_command(ctx: click.Context, path: str, name: str | None, detailed_exitcode: bool, output: str) -> int:
    """Show what would run, whether it may and why not, and the trust level it can reach. Starts nothing."""
    progress = ProgressLine()
    opened = open_experiment(ctx, path, name, progress)
    explained, evaluation, launches = explain(opened)
    progress.clear()
    emit(explained, output, table=lambda wide: _text(explained, wide=wide), names=lambda: [explained["experiment"]])
    code = {"Refuse": Exit.REFUSED, "Wait": Exit.MUST_WAIT, "Pass": Exit.OK}[str(evaluation.preflight.verdict)]
    return Exit.WOULD_LAUNCH if detailed_exitcode and code is Exit.OK and launches else code


@click.command("diff", epilog="\b\nExample:\n  ml diff specs/digits.yaml && echo nothing to do")
@click.argument("path", type=click.Path())
@click.option("--name", help="Which experiment of a file with several.")
@output_option
@click.pass_context
def diff_command(ctx: click.Context, path: str, name: str | None, output: str) -> int:
    """Compare the plan of a spec with the plan of its newest run. Exit 0: the same; 1: they differ."""
    progress = ProgressLine()
    opened = open_experiment(ctx, path, name, progress)
    explained, _, _ = explain(opened)
    progress.clear()
    changes = explained["changes"]
    value = {key: explained[key] for key in ("apiVersion", "experiment", "planSha256", "changes")} | {"kind": "Diff"}
    emit(
        value,
        output,
        table=lambda _wide: _changes(changes) or "no difference",
        names=lambda: [change["field"] for change in changes],
    )
    return 1 if changes else 0


def explain(opened: Opened) -> tuple[dict[str, Any], "Evaluation", bool]:
    """The explanation, the evaluation behind it, and whether a launch would happen now."""
    from controller.placement import place as fit
    from controller.placement import request_of
    from controller.plan.explain import Judged, explanation
    from controller.plan.identity import run_id
    from controller.reconcile.evaluate import evaluate_document, rerun_token
    from controller.reconcile.place import world_of

    ports, document = opened.ports, opened.document
    row = ports.store.experiment(opened.key)
    evaluation = evaluate_document(ports, document, row)
    experiment = evaluation.experiment
    world = world_of(evaluation.facts.host, ports.store, opened.settings.max_cpu, opened.settings.max_memory)
    wanted = run_id(experiment.metadata.name, row.uid if row else "", evaluation.plan.sha256, rerun_token(experiment))
    placement = fit(request_of(experiment, wanted, ""), world)
    judged = Judged(evaluation.facts.sha256(), evaluation.preflight, evaluation.ceiling, placement)
    changes = _against_newest(opened, evaluation)
    known = row is not None and ports.store.run(wanted) is not None
    launches = not known and not experiment.spec.suspend
    return explanation(document, experiment, evaluation.plan, judged, changes), evaluation, launches


def _against_newest(opened: Opened, evaluation: "Evaluation") -> "tuple[FieldChange, ...]":
    from controller.plan.diff import changes
    from controller.plan.plan import load_plan

    row = opened.ports.store.experiment(opened.key)
    newest = opened.ports.store.runs(uid=row.uid, limit=1) if row else ()
    run = opened.ports.store.run(newest[0].run_id) if newest else None
    return changes(load_plan(run.plan), evaluation.plan) if run else ()


def _text(explained: dict[str, Any], *, wide: bool) -> str:
    preflight, trust, plan = explained["preflight"], explained["trust"], explained["plan"]
    lines = [f"Experiment  {explained['experiment']}", *_plan_lines(explained, plan), ""]
    lines.append(f"Preflight   {paint(preflight['verdict'])}")
    for rule in preflight["rules"]:
        lines += _rule_lines(rule, wide=wide)
    lines += ["", f"Trust       at most {trust['level']}"]
    lines += [f"  <= {cap['level']}  {cap['reason']}: {cap['message']}" for cap in trust["caps"]]
    placement = explained["placement"]
    lines += ["", f"Placement   {placement['target']} ({placement['runtime']}): {placement['message']}"]
    if explained["changes"]:
        lines += ["", "Changes     against the newest run", _changes(explained["changes"])]
    return "\n".join(lines)


def _plan_lines(explained: dict[str, Any], plan: dict[str, Any]) -> list[str]:
    import shlex

    rows = [("Plan", explained["planSha256"]), ("Command", shlex.join(plan["command"]))]
    source = plan.get("source", {})
    if source:
        rows.append(
            ("Source", source.get("snapshot") or f"commit {(source.get('commit') or '?')[:12]} path {source['path']}")
        )
    if plan.get("parameters"):
        rows.append(("Parameters", " ".join(f"{key}={value}" for key, value in plan["parameters"].items())))
    interpreter = plan.get("environment", {}).get("interpreter")
    if interpreter:
        lock = plan["environment"].get("dependencies")
        rows.append(
            (
                "Python",
                interpreter["version"] + (f" with {lock['manifest']} {short_digest(lock['sha256'])}" if lock else ""),
            )
        )
    rows += [
        ("Dataset", f"{data['name']} {short_digest(data['sha256'])} at {data['mountPath']}")
        for data in plan.get("datasets", ())
    ]
    return [f"{name:<11} {value}" for name, value in rows]


_MARK = {"Pass": "+", "Wait": "~", "Refuse": "x"}


def _rule_lines(rule: dict[str, Any], *, wide: bool) -> list[str]:
    verdict = rule["verdict"]
    mark = paint(verdict, _MARK[verdict])
    if verdict == "Pass":
        return [f"  {mark} {rule['rule']}: {rule['message']}"]
    place = f"{rule['file']}:{rule['line']}:{rule['column']}: " if rule["line"] else ""
    lines = [f"  {mark} {rule['rule']}: {paint(verdict, rule['reason'])}: {rule['message']}"]
    lines.append(f"      {place}{rule['field']}: {rule['fix']}")
    return lines


def _changes(changes: list[dict[str, Any]]) -> str:
    return "\n".join(f"  {change['field']}: {change['old']} -> {change['new']}" for change in changes)
