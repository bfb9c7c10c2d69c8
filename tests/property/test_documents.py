"""Laws of the loader and of status blocks, over generated documents, statuses and bytes."""

from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.api import yaml_writer
from controller.api.checks import references
from controller.api.documents import load, user_part_of, with_status
from controller.api.segments import Segment, segments
from controller.api.yaml_loader import MAX_DEPTH, parse
from controller.plan.substitute import forms

_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\ufeff\ufffe\uffff"), max_size=12
)
_WORDS = st.sampled_from(
    [
        "yes",
        "no",
        "010",
        "1e3",
        "~",
        "null",
        "1_000",
        "- a",
        "# x",
        "a: b",
        "",
        " ",
        "status",
        "0x1",
        "\t",
        "a\nb",
        "...",
        "---",
        "<<",
        "*a",
        "!x",
        "'",
        '"',
    ]
)
_NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXT | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT | _WORDS, inner, max_size=3),
    max_leaves=12,
)
_STATUS = st.dictionaries(_TEXT, _JSON, max_size=4)

_COMMENTS = st.sampled_from(["", "# note\n", "\n", "   # indented\n", "# status: x\n", "\n\n", "  \n"])
_EXTRAS = st.sampled_from(
    [
        "",
        "  description: |\n    status:\n      phase: x\n",
        "  description: |+\n    kept\n\n",
        "  description: >-\n    folded\n    text\n",
        "  env: {A: 'status: y'}\n",
        "  seed: 7   # seven\n",
        "  parameters:\n    status: 1\n    a:   [1,\n      2]\n",
        "  suspend:   false\n",
    ]
)
_STATUS_BLOCKS = st.sampled_from(
    [
        "",
        "status:\n  phase: Old\n",
        "status: {a: 1}\n",
        "status:\n- a\n- b\n",
        "status:\n",
        '"status":\n  x: 1\n\n  y: 2\n',
    ]
)
_ENDS = st.sampled_from(["", "...\n", "...\n# end\n", "...", "# end", "   ", "\n\n"])


@st.composite
def _documents(draw: st.DrawFn) -> bytes:
    """A valid experiment in one of many shapes."""
    parts = [
        "apiVersion: fetchml.dev/v1alpha1\n",
        "kind: Experiment\n",
        "metadata:\n  name: sample\n",
        "spec:\n  command: [a]\n" + draw(_EXTRAS),
    ]
    parts.insert(draw(st.integers(0, 4)), draw(_STATUS_BLOCKS))
    text = (
        draw(st.sampled_from(["", "---\n", "\ufeff"])) + "".join(part + draw(_COMMENTS) for part in parts) + draw(_ENDS)
    )
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return (text if draw(st.booleans()) else text.rstrip("\r\n")).encode()


@given(_documents(), st.lists(_STATUS, min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_status_writes_leave_the_user_part_and_the_meaning(data: bytes, statuses: list[dict[str, Any]]) -> None:
    loaded = load(data, "a.yaml").documents  # none where the status is a list: it is replaced all the same
    before_part = loaded[0].user_part if loaded else user_part_of(data)
    written = data
    for status in statuses:
        written = with_status(written, status)
        assert user_part_of(written) == before_part
    (after,) = load(written, "a.yaml").documents
    assert after.user_part == before_part
    assert after.model.status == statuses[-1]
    assert not loaded or after.spec_sha256 == loaded[0].spec_sha256


@given(_documents(), _STATUS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_hundred_updates_leave_every_byte(data: bytes, status: dict[str, Any]) -> None:
    written = data
    for generation in range(100):
        written = with_status(written, {"observedGeneration": generation, **status})
    assert user_part_of(written) == user_part_of(data)


@given(_STATUS)
@settings(deadline=None)
def test_what_is_written_loads_back_equal_here_and_in_yaml_1_1(value: dict[str, Any]) -> None:
    text = "".join(f"{line}\n" for line in yaml_writer.lines({"status": value})).encode()
    tree = parse(Segment(text, 0))
    assert tree.faults == ()
    assert tree.value == {"status": value}
    stock = yaml.load(text, Loader=yaml.CSafeLoader)
    assert _as_yaml_1_1(stock) == _as_yaml_1_1({"status": value})


def _as_yaml_1_1(value: Any) -> Any:
    """The stock reader takes 1e-7 for text, which is its bug; every other value must be the same."""
    if isinstance(value, dict):
        return {key: _as_yaml_1_1(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_yaml_1_1(item) for item in value]
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="replace")))
@settings(max_examples=500, deadline=None)
def test_no_bytes_raise(data: bytes) -> None:
    loaded = load(data, "a.yaml")
    assert loaded.documents or loaded.problems
    assert all(problem.fix and problem.message for problem in loaded.problems)
    user_part_of(data)


@given(_documents(), st.data())
@settings(max_examples=300, deadline=None)
def test_no_cut_or_changed_spec_raises(data: bytes, draws: st.DataObject) -> None:
    start = draws.draw(st.integers(0, len(data)))
    end = draws.draw(st.integers(start, min(len(data), start + 20)))
    middle = draws.draw(
        st.sampled_from(
            [
                b"",
                b"\t",
                b"[",
                b"{",
                b'"',
                b"'",
                b"*a",
                b"&a ",
                b"!!str ",
                b"<<: ",
                b": ",
                b"- ",
                b"\n",
                b"\n---\n",
                b"%",
                b"|",
            ]
        )
    )
    changed = data[:start] + middle + data[end:]
    loaded = load(changed, "a.yaml")
    assert loaded.documents or loaded.problems
    for problem in loaded.problems:
        assert 1 <= problem.position.line <= changed.count(b"\n") + 2
        assert problem.position.column >= 1
    assert b"".join(segment.data for segment in segments(changed)) == changed


@given(
    st.lists(
        st.sampled_from(["a: 1\n", "---\n", "...\n", "# c\n", "\n", "--- x\n", "...x\n", "---x: 1\n"]), max_size=12
    )
)
def test_segments_join_to_the_file_and_hold_one_document_each(parts: list[str]) -> None:
    data = "".join(parts).encode()
    found = segments(data)
    assert b"".join(segment.data for segment in found) == data
    for segment in found:
        assert segment.line == data[: data.index(segment.data)].count(b"\n") or segment.line >= 0
        faults = parse(segment).faults
        assert not any("another document" in fault.message for fault in faults)


@given(st.text("$()ab.", max_size=20))
def test_references_are_the_forms_of_the_plan(text: str) -> None:
    assert tuple(name for name, _ in references(text)) == forms(text)


@given(st.integers(1, 2 * MAX_DEPTH), st.sampled_from(["[", "- "]))
def test_nesting_is_allowed_up_to_the_limit(depth: int, opener: str) -> None:
    text = opener * depth + ("]" * depth if opener == "[" else "x")
    reasons = {fault.reason for fault in parse(Segment(text.encode(), 0)).faults}
    assert reasons == ({"TooDeep"} if depth > MAX_DEPTH else set())
