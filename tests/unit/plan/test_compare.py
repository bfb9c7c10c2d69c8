"""Two runs side by side: every field once, provenance first, deltas where both are numbers."""

from typing import Any

import pytest

from controller.api.canonical import canonical_bytes
from controller.plan.compare import SECTIONS, Row, Side, compare, same_plan
from controller.plan.plan import load_plan
from tests.fakes.signed_run import content, manifest_of

PLAN: dict[str, Any] = {
    "apiVersion": "fetchml.dev/v1alpha1", "kind": "Plan", "command": ["python", "train.py"], "seed": 7,
    "parameters": {"lr": 0.001, "layers": [8, 16]}, "env": {"OMP_NUM_THREADS": "1"}, "runtime": "process",
    "datasets": [{"name": "digits", "sha256": "sha256:" + "d" * 64, "mountPath": "/data/digits"}],
    "source": {"commit": "c" * 40, "path": "code"}, "environment": {"python": "3.11"}, "sandbox": {"network": "none"},
    "resources": {"cpuMillis": 1000}, "outputs": [], "secrets": [], "checkpoints": False,
}  # fmt: skip


def side(plan: dict[str, Any] | None = None, *, level: str = "L1", **manifest: Any) -> Side:
    found = load_plan(canonical_bytes({**PLAN, **(plan or {})}))
    return Side(manifest_of(content(), plan_sha256=found.sha256, **manifest), found, level)


def differing(a: Side, b: Side) -> dict[str, tuple[Any, Any]]:
    found = compare(a, b)
    return {f"{name}/{row.field}": (row.a, row.b) for name, rows in found.items() for row in rows if not row.same}


def test_a_run_does_not_differ_from_itself() -> None:
    found = compare(side(), side())
    assert tuple(found) == SECTIONS
    assert differing(side(), side()) == {}
    assert same_plan(found)
    assert all(found.values())


def test_every_field_is_in_exactly_one_section() -> None:
    fields = [row.field for rows in compare(side(), side()).values() for row in rows]
    assert len(fields) == len(set(fields))
    assert {"source.commit", "parameters.lr", "environment.python", "loss", "model.npz", "trustLevel"} <= set(fields)


def test_what_changed_stands_in_its_section() -> None:
    other = side(
        {"parameters": {"lr": 0.01, "layers": [8, 16]}, "source": {"commit": "a" * 40, "path": "code"},
         "env": {"OMP_NUM_THREADS": "2"}, "datasets": []},
        level="L0",
        metrics={"sha256": "sha256:" + "1" * 64, "size": 9, "lines": 1, "last": {"loss": 0.25, "acc": 1}},
    )  # fmt: skip
    assert not same_plan(compare(side(), other))
    found = differing(side(), other)
    assert found.pop("provenance/planSha256") != ()
    assert found == {
        "provenance/trustLevel": ("L1", "L0"),
        "provenance/source.commit": ("c" * 40, "a" * 40),
        "provenance/datasets[digits].name": ("digits", None),
        "provenance/datasets[digits].sha256": ("sha256:" + "d" * 64, None),
        "provenance/datasets[digits].mountPath": ("/data/digits", None),
        "provenance/datasets": (None, []),
        "parameters/parameters.lr": (0.001, 0.01),
        "environment/env.OMP_NUM_THREADS": ("1", "2"),
        "metrics/loss": (0.5, 0.25),
        "metrics/acc": (None, 1),
    }


def test_an_input_that_changed_during_one_run_shows() -> None:
    after = [{"name": "digits", "uri": "file:d", "sha256": "sha256:" + "d" * 64, "sha256_after": "sha256:" + "e" * 64}]
    assert "provenance/datasets[digits].sha256After" in differing(side(), side(datasets=after))


def test_a_run_that_does_not_verify_differs_from_one_that_does() -> None:
    bad = side()
    bad = Side(bad.manifest, bad.plan, bad.level, ("signature: the key is revoked",))
    assert differing(side(), bad) == {"provenance/verified": (True, False)}


@pytest.mark.parametrize(
    ("a", "b", "delta", "ratio"),
    [
        (0.5, 0.25, -0.25, -0.5), (0, 1, 1.0, None), (-2, -1, 1.0, 0.5), (1, 1, 0.0, 0.0),
        (1e308, -1e308, None, None), ("0.5", 1, None, None), (True, 1, None, None), (None, 1, None, None),
    ],
)  # fmt: skip
def test_deltas(a: Any, b: Any, delta: float | None, ratio: float | None) -> None:
    metrics = {"sha256": "sha256:" + "1" * 64}
    one = side(metrics={**metrics, "last": {"m": a}})
    other = side(metrics={**metrics, "last": {"m": b}})
    (row,) = compare(one, other)["metrics"]
    assert (row.delta, row.ratio) == (delta, ratio)
    assert row.as_dict().get("delta") == delta


def test_true_is_not_one() -> None:
    assert not Row("x", True, 1).same
    assert Row("x", 1, 1.0).same
