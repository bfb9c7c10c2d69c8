"""Rows as text, JSON and a chart.

Promises: a goal that was lost is printed as lost; the machine and its load are named first. Does not: measure.
"""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.rows import Row, Spread

_WIDTH, _BAR, _LEFT = 760, 16, 330


def machine() -> str:
    """One line: what this was measured on and how busy it is."""
    cpu = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ": unknown CPU")
    memory = next((line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "MemTotal: 0 kB")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{cpu.partition(': ')[2]}, {os.cpu_count()} CPUs, {int(memory.split()[1]) / 2**20:.0f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, load {load}"
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def text(row: Row) -> str:
    """A few lines for a terminal."""
    lines = [f"{row.work}", f"  ours   {_spread(row.ours, row.unit)}"]
    if row.floor is not None:
        ratio = f"  ours is {row.ratio:.2f}x" if row.ratio else ""
        lines.append(f"  floor  {_spread(row.floor, row.unit)}  {row.floor_is}{ratio}")
    for name, values in row.peers.items():
        lines.append(f"  peer   {_spread(values, row.unit)}  {name}, {values.median / row.ours.median:.2f}x ours")
    lines += [f"  {'met ' if goal.met else 'LOST'}   {goal.text}: {goal.value}" for goal in row.goals]
    lines += [f"  count  {name}: {value}" for name, value in row.counters.items()]
    return "\n".join([*lines, *([f"  note   {row.note}"] if row.note else [])])


def _spread(values: Spread, unit: str) -> str:
    return (
        f"{_number(values.median)} {unit} (lowest {_number(values.low)}, p99 {_number(values.p99)}, "
        f"highest {_number(values.high)}, n={values.rounds})"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def to_json(rows: Iterable[Row], where: str) -> str:
    """Everything, for other programs."""
    return json.dumps({"machine": where, "rows": [_plain(row) for row in rows]}, indent=2) + "\n"


def _plain(row: Row) -> dict[str, Any]:
    return asdict(row) | {"ratio": row.ratio}


def table(named: Iterable[tuple[str, Row]]) -> str:
    """A Markdown table: one line for each row, with the command that prints it."""
    lines = ["| work | ours (lowest to highest) | floor | peer | goals | command |", "|---|---|---|---|---|---|"]
    for name, row in named:
        ours = f"{_number(row.ours.median)} {row.unit} ({_number(row.ours.low)} to {_number(row.ours.high)})"
        floor = f"{_number(row.floor.median)}: {row.floor_is}" if row.floor else ""
        peers = "; ".join(f"{_number(values.median)}: {peer}" for peer, values in row.peers.items())
        goals = [f"{'met' if goal.met else '**lost**'}: {goal.text} ({goal.value})" for goal in row.goals]
        goals += [f"counted: {what} = {value}" for what, value in row.counters.items()]
        cells = (row.work, ours, floor, peers, "<br>".join(goals).replace("|", "/"), f"`make bench NAME={name}`")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def chart(rows: Sequence[Row], where: str) -> str:
    """An SVG: for each row a bar for ours, the floor and every peer, each row on its own scale."""
    parts, top = [], 40
    for row in rows:
        bars = [("ours", row.ours, "#2563eb")]
        bars += [("floor", row.floor, "#9ca3af")] if row.floor else []
        bars += [(name, values, "#d97706") for name, values in row.peers.items()]
        parts.append(_label(10, top + 12, f"{row.work} ({row.unit})", bold=True))
        longest = max(values.high for _, values, _ in bars) or 1
        for number, (name, values, colour) in enumerate(bars, 1):
            parts.append(_bar(top + number * (_BAR + 4), name, values, colour, longest))
        top += (len(bars) + 1) * (_BAR + 4) + 14
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" font-family="sans-serif">'
    return "\n".join(
        [head, '<rect width="100%" height="100%" fill="white"/>', _label(10, 22, where), *parts, "</svg>\n"]
    )


def _bar(y: int, name: str, values: Spread, colour: str, longest: float) -> str:
    scale = (_WIDTH - _LEFT - 90) / longest
    width = max(values.median * scale, 1)
    low, high = _LEFT + values.low * scale, _LEFT + values.high * scale
    return "\n".join(
        (
            _label(24, y + 12, name),
            f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>',
            f'<path d="M{low:.1f} {y + _BAR / 2}H{high:.1f}" stroke="#111827" stroke-width="1.5"/>',
            _label(int(max(_LEFT + width, high)) + 6, y + 12, _number(values.median)),
        )
    )


def _label(x: int, y: int, what: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" font-size="12" fill="#111827"{weight}>{escape(what)}</text>'
