"""What a plan holds."""

import hashlib
import json
from dataclasses import replace

import pytest

from controller.api.canonical import canonical_bytes
from controller.plan.plan import Unresolved, build_plan, load_plan
from tests.builders import COMMIT, dataset, experiment, facts, full_experiment, git, interpreter, sha

API = {"apiVersion": "fetchml.dev/v1alpha1", "kind": "Plan"}


def plan(spec, runtime="process", **changes):
    return build_plan(spec, facts(spec, **changes), runtime)


def test_the_whole_plan():
    assert plan(full_experiment()).content == {
        **API,
        "source": {"commit": COMMIT, "path": "examples/digits"},
        "environment": {
            "python": "3.11",
            "interpreter": {"implementation": "cpython", "version": "3.11.2", "platform": "linux-x86_64"},
            "dependencies": {"manifest": "requirements.lock", "sha256": sha("d")},
        },
        "command": ["python", "train.py", "--lr", "0.001", "--data", "$(data.digits)", "--seed", "7"],
        "parameters": {"lr": 0.001, "epochs": 10},
        "seed": 7,
        "env": {"OMP_NUM_THREADS": "1"},
        "secrets": [{"name": "wandb", "env": "WANDB_API_KEY"}],
        "datasets": [{"name": "digits", "sha256": sha("e"), "mountPath": "/data/digits"}],
        "outputs": [{"name": "model", "path": "model.npz", "required": True}],
        "checkpoints": True,
        "resources": {"cpuMillis": 2000, "memoryBytes": 2**31, "diskBytes": 2**30, "nodes": 1},
        "sandbox": {"network": "none"},
        "runtime": "process",
    }


def test_the_smallest_plan_in_a_container():
    image = f"python@{sha()}"
    assert plan(experiment(environment={"image": image}), "docker").content == {
        **API,
        "environment": {"image": image},
        "command": ["python", "train.py"],
        "parameters": {},
        "env": {},
        "secrets": [],
        "datasets": [],
        "outputs": [],
        "checkpoints": False,
        "resources": {"cpuMillis": 1000, "memoryBytes": 2**30, "diskBytes": 2**30, "nodes": 1},
        "sandbox": {"network": "none"},
        "runtime": "docker",
    }


def test_the_digest_is_over_the_bytes_that_rfc_8785_gives():
    built = plan(full_experiment())
    assert built.data == canonical_bytes(built.content)
    assert b'"lr":0.001' in built.data
    assert built.sha256 == "sha256:" + hashlib.sha256(built.data).hexdigest()


def test_snapshot_and_gpu():
    content = plan(
        experiment(source={"snapshot": sha("b")}, resources={"gpu": {"count": 2, "model": "a100", "memory": "40Gi"}})
    ).content
    assert content["source"] == {"snapshot": sha("b")}
    assert content["resources"]["gpu"] == {"count": 2, "vendor": "nvidia", "model": "a100", "memoryBytes": 40 * 2**30}


def test_a_stated_mount_path_is_kept():
    row = {"name": "d", "uri": "file:d", "sha256": sha("e"), "mountPath": "/data/other"}
    kept = {"name": "d", "sha256": sha("e"), "mountPath": "/data/other"}
    assert plan(experiment(datasets=[row])).content["datasets"] == [kept]


def test_null_parameters_stay():
    assert plan(experiment(parameters={"x": None, "y": {"z": None}})).content["parameters"] == {
        "x": None,
        "y": {"z": None},
    }


@pytest.mark.parametrize(
    "resources",
    [{"cpu": "2000m", "memory": "2048Mi", "disk": "1Gi"}, {"cpu": "2.0", "memory": "2147483648", "disk": "1024Mi"}],
)
def test_one_quantity_in_two_spellings_is_one_plan(resources):
    assert plan(full_experiment(resources=resources)).sha256 == plan(full_experiment()).sha256


@pytest.mark.parametrize("gpu", [{"count": 0}, {"vendor": "none"}])
def test_no_gpu_is_no_gpu(gpu):
    assert plan(experiment(resources={"gpu": gpu})).sha256 == plan(experiment()).sha256


def test_a_stated_commit_beats_what_was_found():
    other = "1" * 40
    spec = experiment(source={"git": {"repo": ".", "commit": other}})
    assert plan(spec, git=git(commit=COMMIT)).content["source"]["commit"] == other


@pytest.mark.parametrize(
    "changes",
    [
        {"git": None},
        {"git": git(commit=None)},
        {"interpreter": None},
        {"interpreter": interpreter(found=False)},
        {"lock": None},
        {"datasets": (), "secrets": ()},
    ],
)
def test_missing_facts_make_a_plan_all_the_same(changes):
    built = plan(full_experiment(), **changes)
    assert load_plan(built.data) == built


def test_huge_quantities_do_not_break_it():
    built = plan(experiment(resources={"memory": "99999999999999P", "cpu": "9999999999999999"}))
    assert built.content["resources"]["memoryBytes"] == 2**53 - 1
    assert built.content["resources"]["cpuMillis"] == 2**53 - 1


def test_forms_that_nothing_fills():
    spec = experiment(command=["a", "$(params.y)"], parameters={"x": 1}, env={"E": "$(nope)"})
    known = ("params.x", "results")
    assert plan(spec).unresolved == (
        Unresolved("spec.command[1]", "params.y", known),
        Unresolved("spec.env.E", "nope", known),
    )


def test_a_large_float_comes_back_too():
    built = plan(experiment(parameters={"x": 1e20, "y": -0.0}))
    assert b'"x":100000000000000000000,"y":0' in built.data
    assert load_plan(built.data).content["parameters"] == {"x": 1e20, "y": 0}


def test_a_plan_comes_back_from_its_bytes():
    built = plan(full_experiment())
    again = load_plan(built.data)
    assert (again, again.content, again.sha256) == (built, built.content, built.sha256)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\n",
        lambda data: data.replace(b'"lr":0.001', b'"lr":1e-3'),
        lambda data: json.dumps(json.loads(data)).encode(),
        lambda data: data.replace(b'"kind":"Plan"', b'"kind":"Plum"'),
        lambda data: data.replace(b'"lr":0.001', b'"lr":9007199254740993'),
        lambda data: b"[]",
        lambda data: b"{",
        lambda data: b"\xff",
    ],
)
def test_other_bytes_are_no_plan(change):
    data = change(plan(full_experiment()).data)
    with pytest.raises(ValueError, match=r"."):
        load_plan(data)


def test_the_plan_holds_what_was_found_not_what_was_hoped():
    spec = full_experiment()
    lock = replace(facts(spec).lock, sha256=sha("9"))
    assert plan(spec, lock=lock).content["environment"]["dependencies"]["sha256"] == sha("9")
    assert plan(spec, lock=None).content["environment"]["dependencies"]["sha256"] == sha("d")
    assert "interpreter" not in plan(spec, interpreter=interpreter(found=False)).content["environment"]


def test_a_catalogue_entry_is_pinned_by_its_digest_and_not_by_its_name():
    def planned(uri, pinned):
        of = experiment(datasets=[{"name": "d", "uri": uri}])
        return build_plan(of, facts(of, datasets=(dataset("d", pinned=pinned),)), "process")

    plan = planned("dataset:digits@1", sha("a"))
    assert plan.content["datasets"] == [{"name": "d", "sha256": sha("a"), "mountPath": "/data/d"}]
    assert plan.sha256 == planned("dataset:other@7", sha("a")).sha256, "the same bytes are the same plan"
    assert plan.sha256 != planned("dataset:digits@1", sha("b")).sha256, "an entry that moved is another"
