"""The spec that runs a recorded run again.

Promises: everything that its plan pinned is written out (commit, lock digest), so that the same host builds the same
plan; tolerances, policy and limits stay those that the original declared. A pure function of the recorded spec and
plan. Does not: decide whether this host may run it (preflight does), or where its datasets lie.
"""

from collections.abc import Callable, Mapping
from typing import Any

from controller.api.experiment import Experiment

ANNOTATION = "fetchml.dev/reproduces"
HIGHEST = "L1"
"""What a re-run may demand of itself: its spec was written by a program, which nobody signed or reviewed."""


def rerun_spec(
    experiment: Experiment, plan: Mapping[str, Any], run: str, locate: Callable[[str], str]
) -> dict[str, Any]:
    """The new spec as a JSON value.

    Args:
        experiment: the spec as it stood at the launch.
        plan: content of the recorded plan.
        run: id of the run that is repeated.
        locate: a dataset's uri as this host finds it.
    """
    value: dict[str, Any] = experiment.desired()
    spec = value["spec"]
    value["metadata"] = {**value["metadata"], "annotations": {ANNOTATION: run}}
    _pin(spec, plan)
    spec["suspend"] = False
    spec["datasets"] = [{**dataset, "uri": locate(dataset["uri"])} for dataset in spec.get("datasets", ())]
    spec["reproducibility"]["minTrustLevel"] = min(experiment.spec.reproducibility.required_level, HIGHEST)
    return value


def _pin(spec: dict[str, Any], plan: Mapping[str, Any]) -> None:
    """What the plan resolved, stated."""
    commit = plan.get("source", {}).get("commit")
    if commit and spec.get("source", {}).get("git"):
        spec["source"]["git"]["commit"] = commit
    lock = plan.get("environment", {}).get("dependencies", {}).get("sha256")
    if lock and spec["environment"].get("dependencies"):
        spec["environment"]["dependencies"]["sha256"] = lock
