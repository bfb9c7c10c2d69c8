"""The rules paths, secrets and sandbox."""

import pytest

from controller.facts.facts import PolicyFacts, SecretFacts
from controller.preflight import paths, sandbox, secrets
from tests.builders import experiment, facts, full_experiment, sha
from tests.unit.preflight.judging import PASS, REFUSE, judged


def datasets(*mounts, names=("a", "b", "c")):
    rows = [{"name": n, "uri": "file:x", "sha256": sha("e")} for n, _ in zip(names, mounts, strict=False)]
    return experiment(
        datasets=[{**row, **({"mountPath": m} if m else {})} for row, m in zip(rows, mounts, strict=True)]
    )


def reasons(found):
    return [(row[1], row[3]) if row[0] is not PASS else PASS for row in found]


def test_distinct_names_pass():
    assert judged(paths, full_experiment()) == [(PASS, "names and mounts are distinct")]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (datasets(None, "/data/x/y", "/data/x-y"), [PASS]),
        (datasets("/data/b", None), [("MountOverlap", "spec.datasets[1].mountPath")]),
        (datasets("/data/x", "/data/x/y"), [("MountOverlap", "spec.datasets[1].mountPath")]),
        (datasets("/data/x/y", "/data/x"), [("MountOverlap", "spec.datasets[1].mountPath")]),
        (datasets("/data", "/data/x"), [("MountOverlap", "spec.datasets[1].mountPath")]),
        (datasets("/workspace/data"), [("MountReserved", "spec.datasets[0].mountPath")]),
        (datasets("/results/x"), [("MountReserved", "spec.datasets[0].mountPath")]),
        (datasets("/resultsx"), [PASS]),
        (
            datasets(None, "/data/z", names=("a", "a")),
            [("DuplicateName", "spec.datasets[1].name")],
        ),
        (
            experiment(outputs=[{"name": "m", "path": "a"}, {"name": "m", "path": "b"}]),
            [("DuplicateName", "spec.outputs[1].name")],
        ),
        (
            experiment(secrets=[{"name": "a", "env": "K"}, {"name": "b", "env": "K"}]),
            [("DuplicateName", "spec.secrets[1].env")],
        ),
        (experiment(secrets=[{"name": "a", "env": "K"}], env={"K": "1"}), [("DuplicateName", "spec.secrets[0].env")]),
        (experiment(outputs=[{"name": "m", "path": "."}]), [("InvalidOutputPath", "spec.outputs[0].path")]),
        (experiment(outputs=[{"name": "m", "path": "a//b"}]), [("InvalidOutputPath", "spec.outputs[0].path")]),
        (experiment(outputs=[{"name": "m", "path": "a/"}]), [("InvalidOutputPath", "spec.outputs[0].path")]),
        (experiment(env={"LD_PRELOAD": "x"}), [("ReservedVariable", "spec.env.LD_PRELOAD")]),
        (experiment(env={"FETCHML_SEED": "1"}), [("ReservedVariable", "spec.env.FETCHML_SEED")]),
        (experiment(secrets=[{"name": "a", "env": "LD_AUDIT"}]), [("ReservedVariable", "spec.secrets[0].env")]),
        (experiment(env={"PYTHONPATH": "$(workspace)/src", "OLD_PATH": "x"}), [PASS]),
    ],
)
def test_paths(spec, expected):
    assert reasons(judged(paths, spec)) == expected


def test_a_fix_names_the_plain_path():
    [(*_, fix)] = judged(paths, experiment(outputs=[{"name": "m", "path": "./a//b"}]))
    assert fix == "write path: a/b"
    [(*_, fix)] = judged(paths, experiment(outputs=[{"name": "m", "path": "."}]))
    assert fix == "write path: m"


SECRET = experiment(secrets=[{"name": "wandb", "env": "K"}])


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ((SecretFacts("wandb", declared=True, allowed=True),), [(PASS, "1 allowed")]),
        (
            (SecretFacts("wandb", declared=True, allowed=False),),
            [
                (
                    REFUSE,
                    "SecretNotAllowed",
                    "this namespace and owner may not use the secret 'wandb'",
                    "spec.secrets[0].name",
                    "ask the operator to allow it for this namespace and owner",
                )
            ],
        ),
        (
            (SecretFacts("other", declared=True, allowed=True),),
            [
                (
                    REFUSE,
                    "SecretNotDeclared",
                    "no secret 'wandb' is declared in the operator's settings",
                    "spec.secrets[0].name",
                    "ask the operator to declare it, or correct the name",
                )
            ],
        ),
    ],
    ids=["allowed", "not allowed", "not known"],
)
def test_secrets(known, expected):
    assert judged(secrets, SECRET, facts(secrets=known)) == expected


def test_no_secrets():
    assert judged(secrets, experiment()) == [(PASS, "no secrets")]


def test_network():
    online = experiment(sandbox={"network": "full"})
    assert judged(sandbox, experiment()) == [(PASS, "no network")]
    allowed = facts(policy=PolicyFacts(network_full_allowed=True))
    assert judged(sandbox, online, allowed) == [(PASS, "network allowed by policy")]
    assert judged(sandbox, online) == [
        (
            REFUSE,
            "NetworkNotAllowed",
            "no policy allows network: full here",
            "spec.sandbox.network",
            "write network: none and pin downloads as datasets, or ask for a TrustPolicy rule with allowNetwork",
        )
    ]
