"""A review of proposed specs for a terminal.

Promises: one block for each experiment; what a spec says never steers the terminal. Does not: judge.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from controller.entrypoints.cli.output import paint
from controller.entrypoints.cli.shown import harmless, shown

MARKS = {"Pass": "+", "Wait": "~", "Refuse": "x", "Invalid": "x"}


def text(value: Mapping[str, Any], *, wide: bool) -> str:
    """The whole review."""
    items = value["items"]
    if not items:
        return f"no experiment changes against {harmless(value['against'])}"
    starts = sum(item["launches"] for item in items)
    head = f"{len(items)} experiment(s) change against {harmless(value['against'])}; {starts} would start a run"
    return "\n\n".join([head, *("\n".join(_item(item, wide=wide)) for item in items)])


def _item(item: Mapping[str, Any], *, wide: bool) -> Iterator[str]:
    mark = "Refuse" if item["verdict"] == "Invalid" else item["verdict"]
    name = item["experiment"] or "?"
    yield f"{paint(mark, MARKS[item['verdict']])} {name}  {item['change']}  {harmless(item['file'])}"
    yield f"  {harmless(item['meaning'])}"
    limit = 200 if wide else 48
    listed = item["changes"] if wide else item["changes"][:12]
    yield from (f"    {shown(c['field'])}: {shown(c['old'], limit)} -> {shown(c['new'], limit)}" for c in listed)
    if len(listed) < len(item["changes"]):
        yield f"    and {len(item['changes']) - len(listed)} more (-o wide)"
    for rule in (*item["rules"], *item["problems"]):
        place = ":".join(str(part) for part in (rule["file"], rule["line"], rule["column"]) if part)
        yield f"    {harmless(place)}: {rule['reason']}: {harmless(rule['message'])}; {harmless(rule['fix'])}"
    if item["trust"]:
        yield f"  Trust at most {item['trust']['level']}"
