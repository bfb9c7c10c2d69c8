"""The name rule."""

from dataclasses import replace

from controller.preflight import name
from tests.builders import experiment, facts
from tests.unit.preflight.judging import PASS, REFUSE, cases, judged

SPEC = experiment()
ALONE = [(PASS, "no other file has it")]


@cases(
    ("unknown", SPEC, facts(), ALONE),
    ("one", SPEC, replace(facts(), places=("a.yaml",)), ALONE),
    (
        "two",
        SPEC,
        replace(facts(), places=("a.yaml", "b.yaml")),
        [
            (
                REFUSE,
                "NameClash",
                "default/digits stands in 2 files: a.yaml, b.yaml",
                "metadata.name",
                "rename or remove one; none of them starts before",
            )
        ],
    ),
)
def test_name(experiment, facts, expected):
    assert judged(name, experiment, facts) == expected
