"""The spec of a re-run: all that was resolved is stated, and what the original declared stays."""

from typing import Any

import pytest

from controller.api.documents import load
from controller.api.experiment import Experiment
from controller.api.yaml_writer import lines
from controller.plan.rerun import ANNOTATION, rerun_spec

SPEC: dict[str, Any] = {
    "command": ["python", "train.py", "--lr", "$(params.lr)"],
    "source": {"git": {"path": "code"}},
    "environment": {"python": "3.11", "dependencies": {"manifest": "requirements.lock"}},
    "parameters": {"lr": 1e-3, "note": "yes: no", "nested": {"a": [1, None, True, 1e20]}},
    "datasets": [{"name": "d", "uri": "file:data/d.csv", "sha256": "sha256:" + "d" * 64}],
    "reproducibility": {"tolerances": {"acc": 0.01}, "minTrustLevel": "L2"},
    "suspend": True,
}
PLAN = {
    "source": {"commit": "c" * 40, "path": "code"},
    "environment": {"dependencies": {"manifest": "requirements.lock", "sha256": "sha256:" + "e" * 64}},
}


def experiment(**changes: Any) -> Experiment:
    metadata = {"name": "x", "labels": {"team": "a"}, "annotations": {"fetchml.dev/rerun": "3"}}
    head = {"apiVersion": "fetchml.dev/v1alpha1", "kind": "Experiment", "metadata": metadata}
    return Experiment.model_validate({**head, "spec": {**SPEC, **changes}})


def rerun(found: Experiment, plan: dict[str, Any] = PLAN) -> Experiment:
    """As the loader reads what is written."""
    value = rerun_spec(found, plan, "x-abcdefgh", lambda uri: uri.replace("data/", "/elsewhere/"))
    loaded = load("".join(line + "\n" for line in lines(value)).encode(), "rerun.yaml")
    assert not loaded.problems, loaded.problems
    model = loaded.documents[0].model
    assert isinstance(model, Experiment)
    return model


def test_what_was_resolved_is_stated() -> None:
    spec = rerun(experiment()).spec
    assert spec.source is not None
    assert spec.source.git is not None
    assert spec.source.git.commit == "c" * 40
    assert spec.environment.dependencies is not None
    assert spec.environment.dependencies.sha256 == "sha256:" + "e" * 64
    assert spec.datasets[0].uri == "file:/elsewhere/d.csv"
    assert spec.datasets[0].sha256 == "sha256:" + "d" * 64


def test_what_the_original_declared_stays() -> None:
    before, after = experiment(), rerun(experiment())
    assert after.spec.reproducibility.tolerances == {"acc": 0.01}
    for name in ("command", "parameters", "seed", "env", "outputs", "resources", "sandbox", "scheduling"):
        assert getattr(after.spec, name) == getattr(before.spec, name)
    assert after.metadata.annotations == {ANNOTATION: "x-abcdefgh"}, "not the original's rerun token"
    assert after.spec.suspend is False


@pytest.mark.parametrize(("asked", "expected"), [("L0", "L0"), ("L1", "L1"), ("L2", "L1"), ("L4", "L1"), (None, "L1")])
def test_it_asks_for_no_more_than_a_program_can_give(asked: str | None, expected: str) -> None:
    reproducibility = {"minTrustLevel": asked} if asked else {}
    assert rerun(experiment(reproducibility=reproducibility)).spec.reproducibility.required_level == expected


def test_without_source_or_lock_there_is_nothing_to_pin() -> None:
    bare = experiment(source=None, environment={"python": "3.11"}, datasets=[])
    assert rerun(bare, {"environment": {"python": "3.11"}}).spec.source is None
