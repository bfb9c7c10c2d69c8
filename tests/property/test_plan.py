"""Laws of plans, names, substitution, verdicts, decisions and the line, over generated values."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controller.api.experiment import Experiment
from controller.facts.facts import PolicyFacts, SandboxFacts, SecretFacts
from controller.placement import Queue, Request, World
from controller.plan.decide import ENDED, AttemptView, Desired, Kind, RunView, decide
from controller.plan.diff import changes
from controller.plan.identity import attempt_name, run_id
from controller.plan.plan import build_plan, load_plan
from controller.plan.substitute import Form, expand_params, expand_places, parse, render, value_text
from controller.preflight import evaluate
from controller.trust.levels import launch_ceiling
from tests.builders import dataset, facts, full_experiment, git, gpu, host, interpreter, sha

names = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True)
numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=5)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(names, v, max_size=3), max_leaves=5)
parameters = st.dictionaries(names, values, max_size=4)


def spec_of(experiment, **changed):
    data = experiment.model_dump(mode="json", by_alias=True, exclude_none=True)
    data["spec"].update(changed)
    return Experiment.model_validate(data)


def planned(experiment, runtime="process", **changed):
    return build_plan(experiment, facts(experiment, **changed), runtime)


# --- plans -----------------------------------------------------------------------------------------------------------

IRRELEVANT = {
    "description": st.text(max_size=5),
    "owner": names,
    "suspend": st.booleans(),
    "checkpoint": st.fixed_dictionaries({"graceSeconds": st.integers(0, 3600)}),
    "reproducibility": st.fixed_dictionaries(
        {"policy": st.sampled_from(["strict", "relaxed"]), "tolerances": st.dictionaries(names, st.floats(0, 1))}
    ),
    "scheduling": st.fixed_dictionaries(
        {"target": names, "queue": names, "priority": st.integers(0, 1000), "deadline": st.just("2h")},
        optional={
            "onSpecChange": st.sampled_from(["finish", "replace", "refuse"]),
            "retries": st.just({"max": 7, "reasons": ["NonZeroExit"]}),
        },
    ),
}


@settings(deadline=None)
@given(parameters, st.fixed_dictionaries({}, optional=IRRELEVANT), st.dictionaries(names, names, max_size=2), names)
def test_what_cannot_change_the_result_leaves_the_plan_alone(params, changed, labels, name):
    base = full_experiment(parameters={"lr": 1, **params})
    data = spec_of(base, **changed).model_dump(mode="json", by_alias=True, exclude_none=True)
    data["spec"]["parameters"] = dict(reversed(base.spec.parameters.items()))
    data["metadata"] = {"name": name, "labels": labels, "annotations": {"fetchml.dev/rerun": name}}
    other = Experiment.model_validate(data)
    assert planned(other) == planned(base)
    assert changes(planned(base), planned(other)) == ()


SPEC_CHANGES = {
    "commit": {"source": {"git": {"repo": ".", "commit": "1" * 40, "path": "examples/digits"}}},
    "path": {"source": {"git": {"repo": ".", "path": "examples/other"}}},
    "snapshot": {"source": {"snapshot": sha("5")}},
    "no source": {"source": None},
    "image": {"environment": {"image": f"a@{sha()}"}},
    "lock": {"environment": {"python": "3.11", "dependencies": {"manifest": "requirements.lock", "sha256": sha("0")}}},
    "command": {"command": ["python", "other.py"]},
    "argument order": {"command": ["train.py", "python"]},
    "parameter": {"parameters": {"lr": 2}},
    "parameter type": {"parameters": {"lr": "1"}},
    "seed": {"seed": 8},
    "no seed": {"seed": None},
    "env value": {"env": {"OMP_NUM_THREADS": "2"}},
    "env name": {"env": {"OMP": "1"}},
    "secret": {"secrets": [{"name": "other", "env": "WANDB_API_KEY"}]},
    "secret env": {"secrets": [{"name": "wandb", "env": "KEY"}]},
    "dataset": {"datasets": [{"name": "digits", "uri": "file:data/digits.csv.gz", "sha256": sha("0")}]},
    "mount": {"datasets": [{"name": "digits", "uri": "file:x", "sha256": sha("e"), "mountPath": "/data/x"}]},
    "output": {"outputs": [{"name": "model", "path": "other.npz"}]},
    "output not required": {"outputs": [{"name": "model", "path": "model.npz", "required": False}]},
    "no checkpoints": {"checkpoint": None},
    "cpu": {"resources": {"cpu": "3", "memory": "2Gi", "disk": "1Gi"}},
    "memory": {"resources": {"cpu": "2", "memory": "3Gi", "disk": "1Gi"}},
    "disk": {"resources": {"cpu": "2", "memory": "2Gi", "disk": "2Gi"}},
    "nodes": {"resources": {"cpu": "2", "memory": "2Gi", "disk": "1Gi", "nodes": 2}},
    "gpu": {"resources": {"cpu": "2", "memory": "2Gi", "disk": "1Gi", "gpu": {"count": 1}}},
    "network": {"sandbox": {"network": "full"}},
}


@pytest.mark.parametrize("what", SPEC_CHANGES)
@settings(max_examples=5, deadline=None)
@given(params=parameters)
def test_what_can_change_the_result_changes_the_plan(what, params):
    base = full_experiment(parameters={**params, "lr": 1})
    changed = planned(full_experiment(**{"parameters": {**params, "lr": 1}, **SPEC_CHANGES[what]}))
    assert changed.sha256 != planned(base).sha256
    assert changes(planned(base), changed) != ()


FACT_CHANGES = {
    "newer commit": {"git": git(commit="2" * 40)},
    "interpreter version": {"interpreter": interpreter(version="3.11.9")},
    "implementation": {"interpreter": interpreter(implementation="pypy")},
    "platform": {"interpreter": interpreter(platform="linux-aarch64")},
}


@pytest.mark.parametrize("what", FACT_CHANGES)
def test_facts_that_can_change_the_result_change_the_plan(what):
    assert planned(full_experiment(), **FACT_CHANGES[what]).sha256 != planned(full_experiment()).sha256


def test_the_runtime_class_is_part_of_the_plan_and_host_paths_are_not():
    spec = full_experiment()
    assert planned(spec, "docker").sha256 != planned(spec).sha256
    elsewhere = {
        "interpreter": interpreter(path="/opt/python", prefix="/opt"),
        "host": host(hostname="other", cpus=64),
        "datasets": (dataset(path="/mnt/digits.csv.gz", tracked=True),),
        "git": git(repo="https://example.org/r.git", ref="dev", pushed=False),
    }
    assert planned(spec, **elsewhere) == planned(spec)


@settings(deadline=None)
@given(parameters, parameters)
def test_plans_differ_exactly_when_a_change_is_listed(one, two):
    old, new = (planned(full_experiment(command=["a"], parameters=params)) for params in (one, two))
    assert (changes(old, new) == ()) == (old == new)
    assert load_plan(old.data) == old


# --- names -----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.from_regex(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True),
    st.text(max_size=40),
    st.text(max_size=40),
    st.integers(1, 99_999),
)
def test_names_are_dns_labels_that_fit(name, uid, rerun, number):
    run = run_id(name, uid, sha(), rerun)
    assert re.fullmatch(r"[a-z][-a-z0-9]*-[a-z2-7]{8}", run)
    assert len(run) <= 49
    assert len(attempt_name(run, number)) <= 63
    assert run == run_id(name, uid, sha(), rerun)


# --- substitution ----------------------------------------------------------------------------------------------------

awkward = st.text(alphabet="$()a.", max_size=6)
place_forms = st.sampled_from(["workspace", "results", "data.d"]).map(Form)
param_forms = st.sampled_from(["params.a", "params.b", "seed"]).map(Form)


def joined(tokens):
    out = []
    for token in tokens:
        if isinstance(token, str) and out and isinstance(out[-1], str):
            out[-1] += token
        elif token != "":
            out.append(token)
    return out


@settings(max_examples=300, deadline=None)
@given(st.lists(awkward | place_forms | param_forms, max_size=6))
def test_what_is_rendered_is_read_back(tokens):
    assert joined(parse(render(tokens))) == joined(tokens)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(awkward | place_forms | param_forms, max_size=6), awkward | numbers, awkward, st.integers(0, 9), awkward
)
def test_two_stages_give_exactly_the_values(tokens, a, b, seed, place):
    """Whatever values hold, they arrive as they are: none is expanded, escaped or eaten."""
    places = {"workspace": "/w", "results": place, "data.d": "/d"}
    known = {**places, "params.a": value_text(a), "params.b": b, "seed": str(seed)}
    planned_text = expand_params(render(tokens), {"a": a, "b": b}, seed)
    expected = "".join(token if isinstance(token, str) else known[token.name] for token in tokens)
    assert expand_places(planned_text, places) == expected


# --- verdicts --------------------------------------------------------------------------------------------------------

SPEC = full_experiment(resources={"cpu": "2", "memory": "2Gi", "disk": "1Gi", "gpu": {"count": 1}})
HOST = host(gpus=(gpu(),))
LOCK = facts(SPEC).lock

AXES = {
    "code": [
        {"git": None, "lock": None},
        {"git": git(found=False, exists=False), "lock": None},
        {"git": git(commit=None, exists=False), "lock": None},
        {"git": git(exists=False), "lock": None},
        {"git": git(exists=False, has_remote=False), "lock": None},
        {"git": git(reachable=False)},
        {"git": git(path_exists=False)},
        {"git": git(hostile=("link",))},
        {"git": git(dirty=("train.py",))},
        {"git": git(pushed=False)},
        {"lock": None},
        {"lock": replace(LOCK, sha256=sha("0"))},
        {"lock": replace(LOCK, unpinned=("numpy",))},
        {"lock": replace(LOCK, error="bad")},
    ],
    "interpreter": [{"interpreter": None}, {"interpreter": interpreter(version="3.12.0")}],
    "datasets": [
        {"datasets": ()},
        {"datasets": (dataset(sha256=sha("0")),)},
        {"datasets": (dataset(reason="SymlinkInDataset"),)},
        {"datasets": (dataset(found=False, reason="UnreadableDataset"),)},
    ],
    "secrets": [{"secrets": ()}, {"secrets": (SecretFacts("wandb", declared=True, allowed=False),)}],
    "host": [
        {"host": replace(HOST, cpus=1)},
        {"host": replace(HOST, memory=1)},
        {"host": replace(HOST, disk_free=1)},
        {"host": replace(HOST, gpus=())},
        {"host": replace(HOST, gpus=(gpu(healthy=False),))},
        {"host": replace(HOST, sandbox=SandboxFacts("none", False, False, False))},
    ],
    "policy": [
        {"policy": PolicyFacts(min_trust_level="L2")},
        {"policy": PolicyFacts(require_approval=True)},
    ],
    "approval": [{"approved_plans": (sha("1"),)}],
}
bad = st.sampled_from([(axis, index) for axis, options in AXES.items() for index in range(len(options))])


def verdict(chosen, policy):
    changed = {key: value for axis, index in chosen for key, value in AXES[axis][index].items()}
    spec = spec_of(SPEC, reproducibility={"policy": policy})
    seen = facts(spec, **{"host": HOST, **changed})
    return evaluate(spec, build_plan(spec, seen, "process"), seen, launch_ceiling(spec, seen, "process")).verdict


@settings(max_examples=400, deadline=None)
@given(st.lists(bad, max_size=4, unique_by=lambda pair: pair[0]), bad, st.sampled_from(["strict", "relaxed"]))
def test_a_bad_fact_never_improves_the_verdict(before, added, policy):
    before = [pair for pair in before if pair[0] != added[0]]
    assert verdict([*before, added], policy) <= verdict(before, policy)


@pytest.mark.parametrize(("axis", "index"), [(axis, i) for axis, options in AXES.items() for i in range(len(options))])
def test_each_bad_fact_alone_is_objected_to_under_strict(axis, index):
    assert str(verdict([], "strict")) == "Pass"
    assert str(verdict([(axis, index)], "strict")) in {"Refuse", "Wait"}


# --- decisions -------------------------------------------------------------------------------------------------------

PLANS = {letter: (f"d-{letter * 8}", sha(letter)) for letter in "abc"}
ORDER = ("intended", "created", "started", "exited")


class Reconciling(RuleBasedStateMachine):
    """A store and a runtime in memory; users change their minds; whatever happens, the laws hold."""

    def __init__(self):
        super().__init__()
        self.runs: list[RunView] = []  # newest first
        self.begun: list[str] = []
        self.stopped: set[str] = set()
        self.desired: Desired | None = None

    @rule(letter=st.sampled_from("abc"), on=st.sampled_from(["finish", "replace", "refuse"]), suspend=st.booleans())
    def edit(self, letter, on, suspend):
        run, plan = PLANS[letter]
        self.desired = Desired(run, plan, "", suspend, on, retries_max=1, retry_reasons=("NodeLost",))

    @rule()
    def delete(self):
        self.desired = None

    @precondition(lambda self: self._active() is not None)
    @rule()
    def cancel(self):
        self._change(cancel_requested=True)

    @precondition(lambda self: self._active() is not None and self._active().attempts[-1].state == "started")
    @rule(code=st.sampled_from([0, 1, None]), reason=st.sampled_from(["", "NodeLost"]))
    def end(self, code, reason):
        self._advance("exited", code, reason)

    @rule()
    def look(self):
        self._apply(decide(self.desired, self.runs))

    @rule()
    def settle(self):
        """Without more edits it comes to rest, within a few looks."""
        for _ in range(30):
            action = decide(self.desired, self.runs)
            if action.kind in {Kind.NOTHING, Kind.HOLD, Kind.REFUSE}:
                assert decide(self.desired, self.runs) == action
                return
            self._apply(action)
            if action.kind is Kind.FOLLOW and self._active().attempts[-1].state == "started":
                self._advance("exited", 0, "")
        raise AssertionError("it never comes to rest")

    @invariant()
    def one_active_run_and_none_begun_twice(self):
        assert sum(run.state == "active" for run in self.runs) <= 1
        assert len(self.begun) == len(set(self.begun))
        assert all(len(run.attempts) <= 2 for run in self.runs)

    def _active(self):
        return next((run for run in self.runs if run.state == "active"), None)

    def _change(self, **values):
        self.runs = [replace(run, **values) if run.state == "active" else run for run in self.runs]

    def _advance(self, state, code=None, reason=""):
        attempts = self._active().attempts
        self._change(attempts=(*attempts[:-1], AttemptView(attempts[-1].number, state, code, reason)))

    def _apply(self, action):
        if action.kind is Kind.LAUNCH:
            assert self.desired is not None
            assert not self.desired.suspend
            self.begun.append(action.run_id)
            view = RunView(action.run_id, self.desired.plan_sha256, "active", attempts=(AttemptView(1, "intended"),))
            self.runs = [view, *self.runs]
        elif action.kind is Kind.FOLLOW:
            state = self._active().attempts[-1].state
            assert state not in ENDED
            self._advance(ORDER[min(ORDER.index(state) + 1, 2)])
        elif action.kind is Kind.STOP:
            self._advance("exited", 143, "Stopped")
        elif action.kind is Kind.RETRY:
            attempts = self._active().attempts
            self._change(attempts=(*attempts, AttemptView(len(attempts) + 1, "intended")))
        elif action.kind is Kind.FINISH:
            assert self._active().attempts[-1].state in ENDED, "nothing of it runs any more"
            self._change(state=action.outcome)


TestReconciling = Reconciling.TestCase
TestReconciling.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


# --- the line --------------------------------------------------------------------------------------------------------

requests = st.builds(
    Request,
    run_id=st.sampled_from([f"r{n}" for n in range(6)]),
    owner=st.sampled_from(["alice", "bob"]),
    priority=st.integers(0, 3),
    created_at=st.sampled_from("123"),
    cpu=st.just(1000),
    memory=st.just(1),
    disk=st.just(1),
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["push", "push", "remove", "pick"]), requests), max_size=30))
def test_the_line_is_a_sorted_list(operations):
    queue, model, world = Queue(), {}, World(host())
    for operation, request in operations:
        if operation == "push":
            queue.push(request)
            model[request.run_id] = request
        elif operation == "remove":
            queue.remove(request.run_id)
            model.pop(request.run_id, None)
        else:
            expected = min(model.values(), key=lambda r: r.order, default=None)
            picked = queue.pick(world)
            assert (picked and picked[0]) == expected
            if expected:
                del model[expected.run_id]
        assert len(queue) == len(model)
        assert all(queue.ahead(r) == sum(o.order < r.order for o in model.values()) for r in model.values())
