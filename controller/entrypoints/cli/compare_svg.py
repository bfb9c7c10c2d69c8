"""Two curves of one metric as inline SVG.

Promises: numbers only, so there is nothing to escape; any finite points, however large, flat or single, give a valid
drawing. Does not: name the metric, or thin the points (controller/plan/series.py did).
"""

from collections.abc import Iterator, Sequence

from controller.entrypoints.cli.shown import number
from controller.plan.series import Point

WIDTH, HEIGHT = 480, 220
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 28


def chart(a: Sequence[Point], b: Sequence[Point]) -> Iterator[str]:
    """The parts of one `<svg>` element."""
    points = [*a, *b]
    xs, ys = _scale([x for x, _ in points]), _scale([y for _, y in points])
    yield f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    yield from _axes(xs, ys)
    for letter, curve in (("a", a), ("b", b)):
        yield from _curve(letter, [_place(point, xs, ys) for point in curve])
    yield "</svg>"


Scale = tuple[float, float]
"""Lowest and highest value; never equal."""


def _scale(values: Sequence[float]) -> Scale:
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low == high:
        room = abs(low) * 0.05 or 1.0
        return low - room, high + room
    return low, high


def _share(value: float, scale: Scale) -> float:
    """Where the value lies, from 0 to 1; halves first, so that huge ranges do not overflow."""
    low, high = scale
    return (value / 2 - low / 2) / (high / 2 - low / 2)


def _place(point: Point, xs: Scale, ys: Scale) -> tuple[float, float]:
    x = LEFT + _share(point[0], xs) * (WIDTH - LEFT - RIGHT)
    y = HEIGHT - BOTTOM - _share(point[1], ys) * (HEIGHT - TOP - BOTTOM)
    return round(x, 1), round(y, 1)


def _axes(xs: Scale, ys: Scale) -> Iterator[str]:
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
    for share in (0.0, 0.5, 1.0):
        y = round(floor - share * (floor - TOP), 1)
        value = ys[0] * (1 - share) + ys[1] * share
        yield f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{_tick(value)}</text>'
    yield f'<text x="{LEFT}" y="{HEIGHT - 8}">{_tick(xs[0])}</text>'
    yield f'<text x="{right}" y="{HEIGHT - 8}" text-anchor="end">{_tick(xs[1])}</text>'


def _tick(value: float) -> str:
    text = number(value)
    return text if len(text) <= 8 else f"{value:.3g}"


def _curve(letter: str, places: Sequence[tuple[float, float]]) -> Iterator[str]:
    if len(places) == 1:
        yield f'<circle class="{letter}" cx="{places[0][0]}" cy="{places[0][1]}" r="3.5"/>'
    elif places:
        yield f'<polyline class="{letter}" points="{" ".join(f"{x},{y}" for x, y in places)}"/>'
