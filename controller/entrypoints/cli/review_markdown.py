"""A review of proposed specs as Markdown, for a comment on a pull request.

Promises: whatever comes from a spec stands in a code span, in which no renderer finds HTML, links, images or mentions;
at most MAX characters, because forges cut comments off. Does not: judge.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from controller.entrypoints.cli.shown import shown

MAX = 60_000
MARKER = "<!-- fetchml review -->"
"""First line, by which a bot finds its own comment again."""
_ICON = {"Pass": "✅", "Wait": "⏳", "Refuse": "❌", "Invalid": "❌"}
_MAX_CHANGES = 30


def code(value: Any, limit: int = 160) -> str:
    """A code span that the value cannot end: its fence is longer than any run of backticks in it."""
    text = shown(value, limit) or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if "`" in (text[0], text[-1]) else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def page(value: Mapping[str, Any]) -> str:
    """The whole comment."""
    lines = [MARKER, *_head(value)]
    size = sum(len(line) + 1 for line in lines)
    for count, item in enumerate(value["items"]):
        block = ["", *_item(item)]
        size += sum(len(line) + 1 for line in block)
        if size > MAX:
            lines += ["", f"{len(value['items']) - count} more experiments are not shown; `ml explain` lists them."]
            break
        lines += block
    return "\n".join(lines) + "\n"


def _head(value: Mapping[str, Any]) -> Iterator[str]:
    items = value["items"]
    if not items:
        yield f"### fetchml: no experiment changes against {code(value['against'])}"
        return
    starts = sum(item["launches"] for item in items)
    refused = sum(item["verdict"] in ("Refuse", "Invalid") for item in items)
    yield f"### {_ICON[value['verdict']]} fetchml: {len(items)} changed, {starts} would start a run, {refused} refused"
    yield ""
    yield f"Against {code(value['against'])}, from {code(value['base'][:12])} on. Merging starts what is listed."


def _item(item: Mapping[str, Any]) -> Iterator[str]:
    name = f"{code(item['experiment'])} " if item["experiment"] else ""
    yield f"#### {_ICON[item['verdict']]} {name}{item['change']} in {code(item['file'])}"
    yield ""
    yield item["meaning"]
    if item["trust"]:
        level = item["trust"]["level"]
        caps = [cap["reason"] for cap in item["trust"]["caps"] if cap["level"] == level]
        yield f"Trust: at most {level}" + (f" ({', '.join(dict.fromkeys(caps))})." if caps else ".")
    yield from _list("What changes in the plan:", [_change(each) for each in item["changes"]])
    yield from _list("What preflight says:", [_rule(each) for each in item["rules"]])
    yield from _list("What is wrong in the file:", [_rule(each) for each in item["problems"]])


def _list(head: str, lines: list[str]) -> Iterator[str]:
    if not lines:
        return
    yield ""
    yield head
    yield ""
    yield from (f"- {line}" for line in lines[:_MAX_CHANGES])
    if len(lines) > _MAX_CHANGES:
        yield f"- and {len(lines) - _MAX_CHANGES} more"


def _change(each: Mapping[str, Any]) -> str:
    return f"{code(each['field'])}: {code(each['old'])} → {code(each['new'])}"


def _rule(rule: Mapping[str, Any]) -> str:
    place = f"line {rule['line']}: " if rule["line"] else ""
    return f"{place}**{rule['reason']}**: {code(rule['message'], 400)}; {code(rule['fix'], 400)}"
