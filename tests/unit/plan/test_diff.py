"""What differs between two plans."""

from controller.plan.diff import FieldChange, changes
from controller.plan.plan import build_plan
from tests.builders import experiment, facts, full_experiment, sha


def plan(spec):
    return build_plan(spec, facts(spec), "process")


def test_nothing():
    assert changes(plan(full_experiment()), plan(full_experiment())) == ()


def test_fields_by_path():
    old = full_experiment()
    new = full_experiment(parameters={"lr": 0.01, "layers": [1, 2]}, checkpoint=None)
    assert changes(plan(old), plan(new)) == (
        FieldChange("checkpoints", True, False),
        FieldChange("command[3]", "0.001", "0.01"),
        FieldChange("parameters.epochs", 10, None),
        FieldChange("parameters.layers[0]", None, 1),
        FieldChange("parameters.layers[1]", None, 2),
        FieldChange("parameters.lr", 0.001, 0.01),
    )


def test_named_items_are_matched_by_name():
    one = {"name": "m", "uri": "file:m", "sha256": sha("1")}
    two = {"name": "a", "uri": "file:a", "sha256": sha("2")}
    found = changes(plan(experiment(datasets=[one])), plan(experiment(datasets=[two, one])))
    assert [change.field for change in found] == ["datasets[a].mountPath", "datasets[a].name", "datasets[a].sha256"]


def test_from_nothing_to_something_and_back():
    none, some = plan(experiment()), plan(experiment(outputs=[{"name": "m", "path": "m"}]))
    assert changes(none, some)[0] == FieldChange("outputs", [], None)
    assert changes(some, none)[0] == FieldChange("outputs", None, [])


def test_true_is_not_one():
    old, new = plan(experiment(parameters={"x": True})), plan(experiment(parameters={"x": 1}))
    assert changes(old, new) == (FieldChange("parameters.x", True, 1),)


def test_names_with_dots_do_not_hide_each_other():
    old = plan(experiment(parameters={"a.b": 1, "a": {"b": 1}}))
    new = plan(experiment(parameters={"a.b": 2, "a": {"b": 1}}))
    assert changes(old, new) == (FieldChange('parameters["a.b"]', 1, 2),)


def test_duplicate_names_do_not_hide_each_other():
    rows = [{"name": "m", "path": "a"}, {"name": "m", "path": "b"}]
    old, new = plan(experiment(outputs=rows)), plan(experiment(outputs=[rows[0], {"name": "m", "path": "c"}]))
    assert changes(old, new) == (FieldChange("outputs[1].path", "b", "c"),)


def test_everything_is_new_without_an_old_plan():
    found = {change.field: change for change in changes(None, plan(full_experiment()))}
    assert found["parameters.lr"].as_dict() == {"field": "parameters.lr", "old": None, "new": 0.001}
    assert found["secrets[WANDB_API_KEY].name"].new == "wandb"
    assert not {"apiVersion", "kind"} & found.keys()
