"""What a user of the loader sees: values, positions, identity, limits and sentences."""

from pathlib import Path
from typing import Any

import pytest

from controller.api.documents import Document, load
from controller.api.experiment import Experiment
from controller.api.problems import Position

VALID = Path(__file__).parents[2] / "corpus" / "valid"
HEAD = b"apiVersion: fetchml.dev/v1alpha1\nkind: Experiment\nmetadata:\n  name: sample\nspec:\n"


def one(data: bytes) -> Document:
    loaded = load(data, "specs/sample.yaml")
    assert loaded.problems == ()
    (document,) = loaded.documents
    return document


def spec_of(name: str) -> Any:
    model = one((VALID / name).read_bytes()).model
    assert isinstance(model, Experiment)
    return model.spec


def sentences(data: bytes) -> list[str]:
    return [str(problem) for problem in load(data, "a.yaml").problems]


def test_the_classic_bug_is_a_number() -> None:
    parameters = spec_of("numbers.yaml").parameters
    assert parameters["small"] == 0.001
    assert parameters["hexadecimal"] == 31
    assert (parameters["date"], parameters["time"], parameters["version"]) == ("2026-01-31", "12:30:45", "1.2.3")


def test_block_scalars_and_unicode_keep_their_text() -> None:
    spec = spec_of("block-scalars.yaml")
    assert spec.parameters == {"folded": "one line", "kept": "two lines at the end\n\n"}
    assert spec.env == {"LAST": "done\n"}
    assert spec_of("unicode.yaml").command == ("a", "é", "é", "tab\there", "line\\n")


def test_status_in_text_is_no_status_block() -> None:
    document = one((VALID / "status-words.yaml").read_bytes())
    assert document.model.status is None
    assert document.user_part == document.text


def test_a_final_newline_changes_no_meaning() -> None:
    data = (VALID / "no-final-newline.yaml").read_bytes()
    assert one(data).spec_sha256 == one(data + b"\n").spec_sha256
    assert one(data).user_sha256 != one(data + b"\n").user_sha256


def test_line_ends_change_no_meaning() -> None:
    crlf, lf = one((VALID / "crlf.yaml").read_bytes()), one((VALID / "comments.yaml").read_bytes())
    assert crlf.spec_sha256 == lf.spec_sha256


def test_spec_sha256_covers_labels_but_neither_annotations_nor_how_defaults_are_written() -> None:
    plain = one(HEAD + b"  command: [a]\n")
    annotated = one(HEAD.replace(b"spec:", b"  annotations: {c: d}\nspec:") + b"  command: [a]\n")
    labelled = one(HEAD.replace(b"spec:", b"  labels: {a: b}\nspec:") + b"  command: [a]\n")
    with_defaults = one(HEAD + b"  command: [a]\n  suspend: false\n  resources: {cpu: '1'}\n")
    changed = one(HEAD + b"  command: [b]\n")
    assert plain.spec_sha256 == annotated.spec_sha256 == with_defaults.spec_sha256 != changed.spec_sha256
    assert labelled.spec_sha256 not in {plain.spec_sha256, changed.spec_sha256}


def test_a_null_parameter_counts() -> None:
    assert (
        one(HEAD + b"  command: [a]\n  parameters: {x: null}\n").spec_sha256
        != one(HEAD + b"  command: [a]\n").spec_sha256
    )


@pytest.mark.parametrize("name", ["dataset.yaml", "trust-policy.yaml", "quota.yaml"])
def test_every_kind_has_a_digest_and_an_identity(name: str) -> None:
    document = one((VALID / name).read_bytes())
    assert document.spec_sha256.startswith("sha256:")
    assert document.kind.lower() == name.removesuffix(".yaml").replace("-", "")
    assert document.namespace == "default"
    assert document.name in {"digits", "team"}


def test_positions_of_values_keys_and_what_is_absent() -> None:
    data = HEAD + b"  command: [python, train.py]\n  env: {A: x}\n  datasets:\n  - name: d\n    uri: file:a\n"
    document = one(data)
    assert document.position("spec.command[1]") == Position(6, 21)
    assert document.position("spec.env.A") == Position(7, 12)
    assert document.position("spec.datasets[0].uri") == Position(10, 10)
    assert document.position("spec.datasets[0].sha256") == Position(9, 5), "an absent field: where its item begins"
    assert document.position("spec.env.B") == Position(7, 3), "an absent field: its parent's key"
    assert document.position("spec.sandbox.network") == Position(5, 1)
    assert document.position("spec.datasets[7]") == Position(8, 3)
    assert document.position("") == Position(1, 1)


def test_positions_of_keys_with_dots_in_both_spellings() -> None:
    data = (
        HEAD.replace(b"spec:", b"  annotations:\n    fetchml.dev/rerun: '2'\n    fetchml: x\nspec:")
        + b"  command: [a]\n"
    )
    document = one(data)
    assert document.position("metadata.annotations[fetchml.dev/rerun]") == Position(6, 24)
    assert document.position("metadata.annotations.fetchml.dev/rerun") == Position(6, 24)
    assert document.position("metadata.annotations.fetchml") == Position(7, 14)


def test_positions_in_a_later_document() -> None:
    loaded = load((VALID / "several-documents.yaml").read_bytes(), "a.yaml")
    first, second = loaded.documents
    assert (first.index, second.index, second.of) == (0, 2, 4)
    assert (first.name, second.name) == ("sample", "other")
    assert second.position("spec.command") == Position(16, 12)
    assert second.text.startswith(b"---\napiVersion")


def test_flow_roots_are_told_apart() -> None:
    assert one((VALID / "flow-root.yaml").read_bytes()).flow
    assert not one((VALID / "minimal.yaml").read_bytes()).flow


def test_documents_join_to_the_file() -> None:
    for path in sorted(VALID.iterdir()):
        loaded = load(path.read_bytes(), path.name)
        if loaded.documents[0].of == 1:
            assert loaded.documents[0].text == path.read_bytes()


SENTENCES = [
    ("comand: [a]", "6:3: spec.comand: comand is no field of spec; did you mean command?"),
    ("gpu: {}", "6:3: spec.gpu: gpu is no field of spec; move it to spec.resources"),
    (
        "suspend: yes",
        '6:12: spec.suspend: yes is read as true by some YAML readers (kubectl among them); quote it: "yes"',
    ),
    (
        "resources: {cpu: 2}",
        '6:20: spec.resources.cpu: must be text, but this is a number: 2; quote it: "2"',
    ),
    (
        "command: python train.py",
        "6:12: spec.command: must be a list, but this is text: python train.py; write a list such as [a, b]",
    ),
    (
        "seed: '7'",
        '6:9: spec.seed: must be a whole number, but this is text: "7"; write 7 without quotes',
    ),
    (
        "parameters: {lr: 1}\n  env: {A: $(params.rl)}",
        "7:12: spec.env.A: $(params.rl) names nothing in spec.parameters; did you mean lr?",
    ),
    (
        "datasets: [{name: d, uri: data/x}]",
        "6:29: spec.datasets[0].uri: has no scheme; write file:data/x",
    ),
    (
        "datasets: [{name: d, uri: file:a, mountPath: /etc}]",
        "6:48: spec.datasets[0].mountPath: '/etc' is reserved; mount beneath /data",
    ),
    (
        "scheduling: {deadline: 2 hours}",
        '6:26: spec.scheduling.deadline: "2 hours" is no duration; write one such as 90s, 30m, 2h or 1h30m',
    ),
    (
        "resources: {gpu: {vendor: nvida}}",
        (
            "6:29: spec.resources.gpu.vendor: must be one of nvidia, amd, apple, none, but this is text: nvida; did you"
            " mean nvidia?"
        ),
    ),
    (
        "environment:",
        (
            "6:3: spec.environment: must be a mapping, but it is empty; "
            "write fields beneath it, such as image, or delete the line"
        ),
    ),
    (
        "source: {git: {repo: 'ext::sh -c id'}}",
        (
            "6:24: spec.source.git.repo: is no address of a repository that may be read; "
            'write ".", a relative folder, https://host/path, ssh://git@host/path or git@host:path'
        ),
    ),
]


@pytest.mark.parametrize(("body", "sentence"), SENTENCES, ids=[body.split(":")[0] for body, _ in SENTENCES])
def test_sentences_say_what_is_wrong_and_what_to_write(body: str, sentence: str) -> None:
    assert f"a.yaml:{sentence}" in sentences(HEAD + f"  {body}\n".encode())


def test_problems_come_in_order_of_their_lines() -> None:
    problems = load(HEAD + b"  suspend: yes\n  seed: -1\n  command: [a]\n  zebra: 1\n", "a.yaml").problems
    assert [problem.position.line for problem in problems] == [6, 7, 9]


def test_a_fault_of_the_text_brings_no_second_problem_with_it() -> None:
    (problem,) = load(HEAD + b"  command: [a, $(seed)]\n  seed: 010\n", "a.yaml").problems
    assert problem.reason == "AmbiguousScalar"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"#" + b"x" * (1 << 20), "DocumentTooLarge"),
        (HEAD + b"  command: [a]\n  description: " + b"x" * (1 << 20), "DocumentTooLarge"),
        (b"#" * (10 << 20) + b"x", "FileTooLarge"),
        (b"---\na: 1\n" * 1001, "TooManyDocuments"),
        (b"\x00" * 100, "ControlCharacter"),
        (b"\x89PNG\r\n\x1a\n", "NotUTF8"),
    ],
)
def test_limits_of_size(data: bytes, reason: str) -> None:
    (problem,) = load(data, "a.yaml").problems
    assert problem.reason == reason
    assert problem.fix


def test_a_document_just_below_the_limit_loads() -> None:
    filler = b"# " + b"x" * 97 + b"\n"
    data = HEAD + b"  command: [a]\n"
    data += filler * (((1 << 20) - len(data)) // 100)
    assert one(data).name == "sample"


def test_one_document_reports_at_most_a_hundred_problems() -> None:
    assert len(load(HEAD + b"  command: [a, " + b"yes, " * 5000 + b"]\n", "a.yaml").problems) == 100
    assert (
        len(load(HEAD + b"  command: [a]\n" + b"".join(b"  f%d: 1\n" % i for i in range(5000)), "a.yaml").problems)
        == 100
    )


@pytest.mark.parametrize("opener", ["[", "{a: ", "- ", "? - "])
def test_no_depth_of_nesting_crashes(opener: str) -> None:
    for count in (1_000, 200_000):
        loaded = load((opener * count).encode(), "a.yaml")
        assert not loaded.documents
        assert loaded.problems


def test_a_hundred_levels_are_allowed() -> None:
    nested = "[" * 97 + "]" * 97
    assert one(HEAD + f"  command: [a]\n  parameters: {{x: {nested}}}\n".encode()).name == "sample"
