"""RFC 8785 bytes: the fast way and the reference are one."""

from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from controller.api.canonical import canonical_bytes, digest_value, hex_of, number_text

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(_JSON)
def test_bytes_are_those_of_the_reference(value: Any) -> None:
    assert canonical_bytes(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "value",
    [0.001, 1e-5, 1e-4, 1e16, 1e15, 123.0, -0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 2**53 - 1, "\x7f\u2028"],
)
def test_numbers_and_characters_at_the_edges(value: Any) -> None:
    assert canonical_bytes({"b": [value], "a": value}) == rfc8785.dumps({"b": [value], "a": value})


def test_keys_sort_by_utf16() -> None:
    assert canonical_bytes({"\ufb33": 1, "\U0001f600": 2}) == rfc8785.dumps({"\ufb33": 1, "\U0001f600": 2})


@pytest.mark.parametrize(
    "value", [2**53, float("nan"), float("inf"), {1: 2}, {None: 1}, object(), {"a": {2}}, "\ud800"]
)
def test_what_is_no_canonical_json_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        canonical_bytes(value)


def test_digests_and_numbers() -> None:
    assert digest_value({}) == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert number_text(1e-3) == "0.001"
    assert number_text(100.0) == "100"
    with pytest.raises(ValueError, match="not a sha256"):
        hex_of("sha1:" + "0" * 64)
