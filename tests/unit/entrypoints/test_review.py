"""A review of proposed specs: what each change means, and formats in which a spec can only be text."""

import json
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from markdown_it import MarkdownIt

from controller.api.problems import Position, Problem
from controller.entrypoints.cli import review_junit, review_markdown, review_sarif
from controller.entrypoints.cli.review_text import text
from controller.plan.diff import FieldChange
from controller.plan.review import Outlook, invalid, removed, reviewed, worst

HOSTILE = (
    "<script>alert(1)</script>", "`</code><img src=x>", "``` `` `", "[x](javascript:alert(1))", "![x](http://evil/p.png)",
    "@everyone", "# title\n\n- a", "|a|b|", "*b* _i_ ~~s~~", "]]>", "&lt;b&gt;", "\x1b[2J\x00\x0b",
    "\ufffe\ud800", "a\r\nb",
    "<!-- fetchml review -->", "http://evil.example", "`", " ", "::error::x",
)  # fmt: skip


def rule(verdict: str, reason: str = "DatasetNotFound", **changes: Any) -> dict[str, Any]:
    found = {
        "rule": "datasets", "verdict": verdict, "reason": reason, "message": "nothing lies there", "field": "spec.x",
        "file": "specs/x.yaml", "line": 6, "column": 3, "fix": "put it there",
    }  # fmt: skip
    return {**found, **changes}


def outlook(verdict: str = "Pass", before: str | None = "sha256:a", after: str = "sha256:b", **changes: Any) -> Outlook:
    explanation = {
        "preflight": {"verdict": verdict, "rules": [rule("Pass"), rule(verdict)]},
        "trust": {"level": "L1", "caps": [{"level": "L1", "reason": "ProcessRuntime", "message": "m"}]},
        "planSha256": after,
    }
    given = {"changes": (FieldChange("parameters.lr", 0.1, 0.2),), **changes}
    return Outlook(explanation, before, **given)


def meaning(found: Outlook) -> str:
    item = reviewed("default/x", "specs/x.yaml", "changed", found)
    return f"{item['launches']}: {item['meaning']}"


def test_what_a_change_means() -> None:
    assert meaning(outlook()) == "True: A new run, 1 field changed in the plan, starts."
    assert meaning(outlook(before=None)) == "True: A first run starts."
    assert meaning(outlook(after="sha256:a")) == "False: Nothing starts: the plan stays the same."
    assert meaning(outlook(done="x-abc")) == "False: Nothing starts: this plan ran already, as x-abc."
    assert meaning(outlook(suspended=True)) == "False: Nothing starts: the spec is suspended."
    assert meaning(outlook("Wait", None)) == "True: A first run starts once it may: DatasetNotFound."
    refused = "False: A new run, 1 field changed in the plan, is refused: DatasetNotFound."
    assert meaning(outlook("Refuse")) == refused


def problem(message: str = "wrong", file: str = "specs/y.yaml") -> Problem:
    return Problem(file, Position(3, 4), "spec.y", message, "write z", "UnknownField")


def test_the_worst_decides() -> None:
    items = [
        removed("default/x", "a"),
        reviewed("default/x", "a", "added", outlook("Wait")),
        reviewed("default/x", "a", "added", outlook("Refuse")),
        invalid("a", [problem()]),
    ]
    assert [worst(items[: count + 1]) for count in range(4)] == ["Pass", "Wait", "Refuse", "Invalid"]
    assert worst([]) == "Pass"


def review(hostile: str) -> dict[str, Any]:
    found = outlook("Refuse", changes=(FieldChange(hostile, hostile, [hostile]),))
    found.explanation["preflight"]["rules"] = [
        rule("Refuse", message=hostile, fix=hostile, field=hostile, file=hostile),
        rule("Wait", message=hostile, fix=hostile, field=hostile, file=hostile),
    ]
    items = [
        reviewed("default/x", hostile, "changed", found),
        invalid(hostile, [problem(hostile, hostile)]),
        removed("default/gone", hostile),
    ]
    return {"against": hostile, "base": "c" * 40, "verdict": worst(items), "items": items}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.loose = ""
        self._code = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self._code += tag == "code"
        assert not attrs, attrs

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag == "code"

    def handle_data(self, data: str) -> None:
        self.loose += "" if self._code else data


@pytest.mark.parametrize("hostile", HOSTILE)
def test_in_markdown_a_spec_is_only_code(hostile: str) -> None:
    page = review_markdown.page(review(hostile))
    assert page.startswith(review_markdown.MARKER + "\n")
    html = MarkdownIt("gfm-like", {"linkify": False}).render(page.removeprefix(review_markdown.MARKER))
    tags = Tags()
    tags.feed(html)
    assert tags.seen <= {"h3", "h4", "p", "ul", "li", "code", "strong"}
    assert not re.search(r"@|http|javascript|script|everyone", tags.loose)
    assert html.count("<h4>") == 3


def test_a_comment_is_never_longer_than_forges_take() -> None:
    item = reviewed("default/x", "specs/x.yaml", "changed", outlook("Refuse"))
    page = review_markdown.page({"against": "main", "base": "c" * 40, "verdict": "Refuse", "items": [item] * 3000})
    assert len(page) <= review_markdown.MAX + 200
    assert "more experiments are not shown" in page


@pytest.mark.parametrize("hostile", HOSTILE)
def test_junit_is_well_formed_whatever_a_spec_holds(hostile: str) -> None:
    root = Xml.fromstring(review_junit.page(review(hostile)))  # noqa: S314  # our own output
    assert {element.tag for element in root.iter()} <= {
        *("testsuites", "testsuite", "testcase", "failure", "skipped", "system-out")
    }
    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("4", "2", "1")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_sarif_has_a_place_for_every_objection(hostile: str) -> None:
    document = json.loads(review_sarif.page(review(hostile)))
    run = document["runs"][0]
    assert [result["level"] for result in run["results"]] == ["error", "warning", "error"]
    ids = [each["id"] for each in run["tool"]["driver"]["rules"]]
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", place["artifactLocation"]["uri"])
        assert place["region"]["startLine"] in (3, 6)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_the_terminal_gets_no_control_characters(hostile: str) -> None:
    out = text(review(hostile), wide=True)
    assert all(line.isprintable() for line in out.split("\n"))
