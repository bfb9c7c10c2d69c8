"""`ml explain -o json` and the plan's bytes, kept as files: what other programs parse must not change by accident.

After a wanted change: ``UPDATE_GOLDEN=1 pytest tests/golden/test_explain.py``, then read the diff.
"""

import json
import os
from pathlib import Path

import pytest

from controller.api.documents import load
from controller.api.experiment import Experiment
from controller.api.status import Cap
from controller.placement import Active, Request, World, place, request_of
from controller.plan.diff import changes
from controller.plan.explain import Judged, explanation
from controller.plan.plan import build_plan
from controller.preflight import evaluate
from controller.trust.levels import launch_ceiling
from tests.builders import dataset, facts, full_experiment, git, host, sha

HERE = Path(__file__).parent
BUSY = Active(Request("other-aaaaaaaa", "bob", 50, "2026-01-01T00:00:00Z", cpu=7000, memory=2**30, disk=2**30))


def golden(name: str, data: bytes) -> None:
    path = HERE / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_bytes(data)
    assert data.decode() == path.read_text(), f"{name} changed; see the docstring of this file"


def explained(old=None, relaxed=False, **change):
    text = (HERE / "digits.yaml").read_text()
    if relaxed:
        text += "  reproducibility: {policy: relaxed}\n"
    loaded = load(text.encode(), "specs/digits.yaml")
    assert loaded.problems == ()
    [document] = loaded.documents
    spec = document.model
    assert isinstance(spec, Experiment)
    seen = facts(spec, **change)
    plan = build_plan(spec, seen, "process")
    ceiling = launch_ceiling(spec, seen, "process")
    request = request_of(spec, "digits-bbbbbbbb", "2026-01-02T00:00:00Z")
    judged = Judged(
        facts_sha256=seen.sha256(),
        preflight=evaluate(spec, plan, seen, ceiling),
        trust=ceiling,
        placement=place(request, World(host(), (BUSY,)), 2),
    )
    return plan, explanation(document, spec, plan, judged, changes(old, plan) if old else ())


def test_a_wrong_checksum_an_unpushed_commit_and_a_busy_host():
    old, _ = explained()
    old = build_plan(full_experiment(parameters={"lr": 0.1, "epochs": 10}), facts(full_experiment()), "process")
    _, found = explained(old, git=git(pushed=False), datasets=(dataset(sha256=sha("9")),))
    golden("explain.json", (json.dumps(found, indent=2) + "\n").encode())
    [mismatch] = [rule for rule in found["preflight"]["rules"] if rule["reason"] == "DatasetChecksumMismatch"]
    line = (HERE / "digits.yaml").read_text().splitlines()[mismatch["line"] - 1]
    assert line.strip().startswith("sha256:")
    assert line[mismatch["column"] - 1 :].startswith(('sha256: "sha256:eee', '"sha256:eee'))
    assert found["plan"]["parameters"]["lr"] == 0.001
    assert found["plan"]["command"][3] == "0.001"


def test_the_plan_bytes():
    plan, _ = explained()
    golden("plan.json", plan.data)


def test_caps_of_relaxed_are_part_of_the_trust():
    _, found = explained(relaxed=True, git=git(dirty=("train.py",)))
    assert found["preflight"]["verdict"] == "Pass"
    assert found["trust"]["level"] == "L0"
    dirty = [cap for cap in found["trust"]["caps"] if cap["reason"] == "DirtyTree"]
    assert len(dirty) == 1, "said once, whoever found it"


def test_a_cap_that_only_preflight_knows_lowers_the_level():
    class Trust:
        level = "L2"
        caps = (Cap(level="L2", reason="ProcessRuntime", message="m"),)

    class Seen:
        verdict = "Pass"
        findings = ()
        caps = (Cap(level="L0", reason="LockMissing", message="no lock"),)

    spec = full_experiment()
    plan = build_plan(spec, facts(spec), "process")
    placed = place(request_of(spec, "r", "t"), World(host()))
    found = explanation(None, spec, plan, Judged(sha(), Seen, Trust, placed))  # type: ignore[arg-type]  # class as value
    assert found["trust"] == {
        "level": "L0",
        "caps": [
            {"level": "L2", "reason": "ProcessRuntime", "message": "m"},
            {"level": "L0", "reason": "LockMissing", "message": "no lock"},
        ],
    }
    assert found["queue"] == {"name": "default", "priority": 50, "position": 1, "ahead": 0}


@pytest.mark.parametrize("section", ["plan", "preflight", "trust", "placement", "queue", "changes"])
def test_it_is_plain_json(section):
    _, found = explained()
    assert json.loads(json.dumps(found[section])) == found[section]
