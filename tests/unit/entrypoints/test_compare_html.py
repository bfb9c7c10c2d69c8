"""The comparison as one file: what a run chose is text in it and nothing else; any finite curve can be drawn."""

import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from controller.entrypoints.cli.compare import text
from controller.entrypoints.cli.compare_html import page
from controller.entrypoints.cli.compare_svg import chart
from controller.entrypoints.cli.shown import percent, shown

HOSTILE = (
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' onmouseover='x", "</style><b>", "&lt;b&gt;",
    "\x1b]0;title\x07\x1b[2J", "\u202ereversed", "a\nb\r\nc", "<!--", "]]>", "javascript:alert(1)", "\ud800",
)  # fmt: skip
ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "small", "span", "br", "div", "details"),
    *("summary", "table", "tr", "th", "td", "figure", "figcaption", "svg", "line", "text", "polyline", "circle"),
}


class Reader(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.attributes: set[tuple[str, str]] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_data(self, data: str) -> None:
        self.text += data


def comparison(hostile: str = "x") -> dict[str, Any]:
    row = {"field": hostile, "a": hostile, "b": [hostile, {hostile: 1}], "same": False}
    head = {"experiment": hostile, "state": hostile, "trustLevel": hostile, "verified": False, "objections": [hostile]}
    sections = {name: [row] for name in ("provenance", "parameters", "environment", "outputs")}
    metric = {"field": hostile, "a": 1.5, "b": 1e300, "same": False, "delta": 1e300, "ratio": 6e299}
    return {
        "a": {"run": hostile, **head}, "b": {"run": hostile, **head}, "samePlan": False,
        "sections": {**sections, "metrics": [metric]},
    }  # fmt: skip


def read(page_text: str) -> Reader:
    reader = Reader()
    reader.feed(page_text)
    reader.close()
    assert reader.open == []
    return reader


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_a_run_chose_is_only_text(hostile: str) -> None:
    curves = {hostile: ((0.0, 1.0), (1.0, 2.0))}
    found = read(page(comparison(hostile), [curves, curves]))
    assert found.tags <= ALLOWED
    names = {name for name, _ in found.attributes}
    assert not [name for name in names if name.startswith("on") or name in ("src", "href", "srcdoc", "action")]
    assert shown(hostile, 2000) in found.text
    assert all(character.isprintable() or character == "\n" for character in found.text)


def test_nothing_is_fetched() -> None:
    text_of_page = page(comparison(), [{"loss": ((0.0, 1.0),)}, {}])
    assert "default-src 'none'" in text_of_page
    assert not re.search(r"https?://|url\(|@import|<script|<link", text_of_page)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_the_terminal_gets_no_control_characters(hostile: str) -> None:
    out = text(comparison(hostile), wide=True)
    assert all(line.isprintable() for line in out.split("\n"))


EXTREMES: dict[str, list[tuple[float, float]]] = {
    "none": [], "one": [(3.0, 5.0)], "flat": [(0.0, 2.0), (1.0, 2.0)], "zero": [(0.0, 0.0)],
    "the whole range": [(-1.7e308, -1.7e308), (1.7e308, 1.7e308)], "tiny": [(0.0, 5e-324), (1.0, 1e-323)],
    "huge and flat": [(1.7e308, 1.7e308)], "negative": [(-5.0, -1e9), (-4.0, -1e-9)],
}  # fmt: skip


@pytest.mark.parametrize("name", EXTREMES)
def test_any_finite_curve_lies_inside_the_drawing(name: str) -> None:
    drawing = "".join(chart(EXTREMES[name], [(0.0, 1.0)]))
    read(drawing)
    places = [pair.split(",") for points in re.findall(r'points="([^"]*)"', drawing) for pair in points.split()]
    places += re.findall(r'cx="([^"]*)" cy="([^"]*)"', drawing)
    assert places
    for x, y in places:
        assert 0 <= float(x) <= 480
        assert 0 <= float(y) <= 220
    assert not re.search(r"nan|inf", drawing)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "-"), (True, "true"), (0.1, "0.1"), (1e-7, "1e-07"), (2.0, "2"), (10**40, "1e+40"), (-3, "-3"),
        ("a\tb", "a\N{REPLACEMENT CHARACTER}b"), ({"k": 1}, '{"k": 1}'), ("x" * 500, "x" * 71 + "…"),
        (1.7976931348623157e308, "1.79769e+308"),
    ],
)  # fmt: skip
def test_values_as_text(value: Any, expected: str) -> None:
    assert shown(value) == expected


def test_a_ratio_that_means_nothing_is_not_printed() -> None:
    assert [percent(ratio) for ratio in (None, 0.0, 1e-9, 1e9, math.nan)] == [""] * 5
    assert percent(-0.5) == "-50.00 %"
