"""The status block: written last, replaced in place, taken away without a trace."""

from pathlib import Path
from typing import Any

import pytest

from controller.api.documents import load, user_part_of, with_status
from controller.api.status import Condition, ExperimentStatus, Phase

CORPUS = Path(__file__).parents[2] / "corpus"
HEAD = b"apiVersion: fetchml.dev/v1alpha1\nkind: Experiment\nmetadata: {name: sample}\nspec:\n  command: [a]\n"
STATUS = ExperimentStatus(
    phase=Phase.RUNNING,
    observed_generation=3,
    conditions=(
        Condition(type="Ready", status="False", reason="Progressing", message="yes: it is 010 # or not\nreally"),
        Condition(type="Reconciling", status="True", reason="Running"),
    ),
    spec_sha256="sha256:" + "0" * 64,
    metrics={"loss": 1e-7, "accuracy": 0.5, "on": 1},
    outputs=({"name": "model", "size": 12, "sha256": None},),
).as_dict()
SINGLE = [p for p in sorted((CORPUS / "valid").iterdir()) if p.stem not in {"several-documents", "flow-root"}]


def test_the_block_is_readable_yaml_at_the_end() -> None:
    written = with_status(
        HEAD, {"phase": "Running", "run": {"id": "a-1", "gpus": ["0", "x"]}, "empty": [], "none": None}
    )
    assert (
        written
        == HEAD
        + b'status:\n  phase: Running\n  run:\n    id: a-1\n    gpus:\n    - "0"\n    - x\n  empty: []\n  none: null\n'
    )


@pytest.mark.parametrize("path", SINGLE, ids=lambda path: path.stem)
def test_every_valid_spec_keeps_its_user_part_and_its_meaning(path: Path) -> None:
    data = path.read_bytes()
    (before,) = load(data, path.name).documents
    written = data
    for generation in range(5):
        written = with_status(written, {**STATUS, "observedGeneration": generation})
    loaded = load(written, path.name)
    assert loaded.problems == ()
    (after,) = loaded.documents
    assert after.user_part == before.user_part == user_part_of(written) == user_part_of(data)
    assert after.spec_sha256 == before.spec_sha256
    assert after.model.status == {**STATUS, "observedGeneration": 4}


@pytest.mark.parametrize(
    "data",
    [
        HEAD,
        HEAD[:-1],
        HEAD + b"\n\n# trailing\n",
        HEAD + b"# trailing without newline",
        HEAD + b"   ",
        HEAD + b"...\n",
        HEAD + b"...\n# after the end\n",
        b"---\n" + HEAD + b"...",
        HEAD.replace(b"\n", b"\r\n"),
        HEAD.replace(b"\n", b"\r\n")[:-2],
        HEAD + b"  description: |\n    status:\n      phase: x",
        HEAD + b"  description: |+\n    kept\n\n\n",
        HEAD + b"  description: |+\n    kept\n\n ",
        b"# status: x\n" + HEAD + b"# status:\n#   phase: y\n",
        b"\xef\xbb\xbf" + HEAD,
    ],
    ids=range(15),
)
def test_odd_ends_are_restored(data: bytes) -> None:
    written = with_status(with_status(data, STATUS), {"phase": "Succeeded"})
    assert user_part_of(written) == data
    (document,) = load(written, "a.yaml").documents
    assert document.user_part == data
    assert document.model.status == {"phase": "Succeeded"}


def test_lines_end_as_the_users_lines_do() -> None:
    written = with_status(HEAD.replace(b"\n", b"\r\n"), STATUS)
    assert written.count(b"\n") == written.count(b"\r\n")


def test_a_status_block_elsewhere_moves_to_the_end() -> None:
    data = b"status:\n  phase: Old\n  more:\n  - 1\n\n# about the version\n" + HEAD
    written = with_status(data, {"phase": "New"})
    assert written == b"\n# about the version\n" + HEAD + b"status:\n  phase: New\n"
    assert user_part_of(data) == user_part_of(written)


def test_what_the_user_adds_after_the_block_is_the_users() -> None:
    written = with_status(HEAD[:-1], {"phase": "A"}) + b"\n# my note\n"
    assert user_part_of(written) == HEAD + b"\n# my note\n", "the newline that stood in for a missing one stays"
    assert user_part_of(with_status(written, {"phase": "B"})) == HEAD + b"\n# my note\n"


def test_an_inline_status_is_replaced_too() -> None:
    assert with_status(HEAD + b"status: {phase: Old}\n", {"phase": "New"}) == HEAD + b"status:\n  phase: New\n"
    assert with_status(HEAD + b"status:\n", {}) == HEAD + b"status: {}\n"


@pytest.mark.parametrize(
    "data",
    [
        (CORPUS / "valid" / "several-documents.yaml").read_bytes(),
        (CORPUS / "valid" / "flow-root.yaml").read_bytes(),
        b"- a\n",
        b"",
        b"a: [\n",
        b"a: \xff\n",
        HEAD + b"status: {}\nstatus: {}\n",
        b"status: &a {x: 1}\n" + HEAD + b"  parameters: *a\n",
    ],
    ids=["several", "flow", "list", "empty", "broken", "bytes", "two", "anchor"],
)
def test_a_document_that_cannot_hold_a_block_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="status block cannot be written"):
        with_status(data, {"phase": "A"})


@pytest.mark.parametrize("value", [float("nan"), 2**60, object(), b"x"])
def test_a_status_that_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"JSON|canonical"):
        with_status(HEAD, {"x": value})


def test_user_part_of_anything() -> None:
    several = (CORPUS / "valid" / "several-documents.yaml").read_bytes()
    documents = load(several, "a.yaml").documents
    assert user_part_of(several, 2) == documents[1].user_part
    assert user_part_of(several, 9) == b""
    assert user_part_of(b"status: [\n") == b"status: [\n"
    assert user_part_of(b"\xff status") == b"\xff status"
    assert user_part_of(b"") == b""
