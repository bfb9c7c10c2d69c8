"""The comparison of two runs as one HTML file.

Promises: self-contained (no script, no font, no image, nothing fetched: a policy in the page forbids it too); every
text that a run chose is escaped. Does not: compute anything but positions on the page.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from controller.entrypoints.cli.compare_svg import chart
from controller.entrypoints.cli.shown import harmless, percent, shown, signed
from controller.plan.series import Point

Curves = Mapping[str, Sequence[Point]]

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --a: #0b6bcb; --b: #d9480f; --differs: #f59f0026; }
@media (prefers-color-scheme: dark) { :root { --a: #6cb6ff; --b: #ffa94d; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1.2rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .5rem; } small { color: GrayText; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
td, th { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top; }
th { font-weight: 600; } td { font-family: ui-monospace, monospace; font-size: 13px; overflow-wrap: anywhere; }
.heads th:first-child { width: 2rem; }
tr.differs { background: var(--differs); } .a { color: var(--a); } .b { color: var(--b); }
.ok { color: #2b8a3e; } .bad { color: #c92a2a; font-weight: 600; } details summary { cursor: pointer; color: GrayText; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; padding: .6rem; }
figcaption { font-family: ui-monospace, monospace; font-size: 13px; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: GrayText; }
svg .grid { stroke: var(--line); } svg polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
svg .a { stroke: var(--a); } svg .b { stroke: var(--b); stroke-dasharray: 6 3; }
svg circle.a { fill: var(--a); } svg circle.b { fill: var(--b); }
"""


def page(value: Mapping[str, Any], series: Sequence[Curves]) -> str:
    """The whole file: `value` is the RunComparison, `series` the curves of a and of b."""
    title = f"{_text(value['a']['run'])} and {_text(value['b']['run'])}"
    sections = "".join(_section(name, rows) for name, rows in value["sections"].items())
    verdict = "Both ran the same plan." if value["samePlan"] else "The plans differ."
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<p>{verdict}</p>\n"
        f"{_heads(value)}{sections}{_charts(*series)}</body>\n</html>\n"
    )


def _text(value: Any, limit: int = 2000) -> str:
    return escape(shown(value, limit))


def _heads(value: Mapping[str, Any]) -> str:
    rows = "".join(_head(letter, value[letter]) for letter in ("a", "b"))
    return (
        f"<table>\n<tr><th></th><th>Run</th><th>State</th><th>Trust level</th><th>Records</th></tr>\n{rows}</table>\n"
    )


def _head(letter: str, side: Mapping[str, Any]) -> str:
    good = '<span class="ok">verified</span>'
    bad = '<span class="bad">not verified</span>' + "".join(
        f"<br>{escape(harmless(objection))}" for objection in side["objections"]
    )
    cells = (_text(side["run"]), _text(side["state"]), _text(side["trustLevel"] or "none"))
    listed = "".join(f"<td>{cell}</td>" for cell in cells)
    proof = good if side["verified"] else bad
    return f'<tr><th class="{letter}">{letter.upper()}</th>{listed}<td>{proof}</td></tr>\n'


def _section(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    differ = [row for row in rows if not row["same"]]
    same = [row for row in rows if row["same"]]
    count = f"{len(differ)} of {len(rows)} differ" if rows else "none"
    head = f"<h2>{escape(name.capitalize())} <small>{count}</small></h2>\n"
    body = _rows(name, differ) if differ else ""
    fold = f"<details><summary>{len(same)} the same</summary>\n{_rows(name, same)}</details>\n" if same else ""
    return head + body + fold


def _rows(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    numbers = "<th>B − A</th>" if name == "metrics" else ""
    lines = "".join(_row(row, numbers=bool(numbers)) for row in rows)
    return f'<table>\n<tr><th>Field</th><th class="a">A</th><th class="b">B</th>{numbers}</tr>\n{lines}</table>\n'


def _row(row: Mapping[str, Any], *, numbers: bool) -> str:
    cells = [_text(row["field"]), _text(row["a"]), _text(row["b"])]
    if numbers:
        cells.append(f"{escape(signed(row.get('delta')))} <small>{percent(row.get('ratio'))}</small>")
    mark = "" if row["same"] else ' class="differs"'
    return f"<tr{mark}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"


def _charts(a: Curves, b: Curves) -> str:
    names = list(dict.fromkeys([*a, *b]))
    figures = "".join(_figure(name, a.get(name, ()), b.get(name, ())) for name in names)
    return f'<h2>Curves</h2>\n<div class="charts">\n{figures}</div>\n' if names else ""


def _figure(name: str, a: Sequence[Point], b: Sequence[Point]) -> str:
    keys = "".join(_key(letter, points) for letter, points in (("a", a), ("b", b)))
    return f"<figure>\n<figcaption>{_text(name)}{keys}</figcaption>\n{''.join(chart(a, b))}\n</figure>\n"


def _key(letter: str, points: Sequence[Point]) -> str:
    last = shown(points[-1][1]) if points else "no points"
    return f' <span class="{letter}">{letter.upper()} {escape(last)}</span>'
