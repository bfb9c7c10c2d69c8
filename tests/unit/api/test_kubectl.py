"""One meaning everywhere: whatever our loader accepts, kubectl reads alike (its readings are recorded in
kubectl.json)."""

import json
from pathlib import Path
from typing import Any

import pytest

from controller.api.scalars import BadScalar, resolve
from controller.api.segments import Segment
from controller.api.yaml_loader import parse

RECORDED = json.loads((Path(__file__).parent / "kubectl.json").read_text())
VALID = Path(__file__).parents[2] / "corpus" / "valid"


def _same(ours: Any, theirs: Any) -> bool:
    """Equal as JSON: 1 and 1.0 are one number, true is not 1."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(_same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_same, ours, theirs))
    return isinstance(ours, bool) == isinstance(theirs, bool) and bool(ours == theirs)


def test_a_plain_scalar_is_read_as_kubectl_reads_it_or_refused() -> None:
    refused = 0
    for text, theirs in RECORDED["scalars"]:
        ours = resolve(text)
        if isinstance(ours, BadScalar):
            refused += 1
        else:
            assert _same(ours, theirs), f"{text}: we read {ours!r}, kubectl reads {theirs!r}"
    print(f"{len(RECORDED['scalars'])} scalars, {refused} refused, 0 read differently")
    assert refused > 50


def test_text_for_kubectl_is_refused_only_where_it_nearly_is_a_number() -> None:
    refused = {
        text for text, theirs in RECORDED["scalars"] if isinstance(theirs, str) and isinstance(resolve(text), BadScalar)
    }
    assert {text for text in refused if not text.startswith("._")} == {"1e400", "1234e567"}


@pytest.mark.parametrize("name", sorted(RECORDED["files"]))
def test_a_valid_file_says_the_same_to_kubectl(name: str) -> None:
    value = parse(Segment((VALID / name).read_bytes(), 0)).value
    assert _same(value["spec"], RECORDED["files"][name])
