"""Values of a run as text for a person: parameters, metric names, paths, messages.

Promises: what a run or a spec chose never steers a terminal, breaks a line or fills the screen. Does not: decide what
is shown.
"""

import json
from typing import Any

LIMIT = 72
"""Characters of one value in a table."""


def shown(value: Any, limit: int = LIMIT) -> str:
    """One line: texts as they are, other values as JSON, absent as "-"; control characters replaced, cut at `limit`."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else number(value) if is_number(value) else _json(value)
    text = harmless(text[: 4 * limit])
    return text if len(text) <= limit else text[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def harmless(text: str) -> str:
    """Control and other unprintable characters replaced, line breaks too."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def is_number(value: Any) -> bool:
    """A JSON number (true is none)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: float) -> str:
    """At most six significant digits for what is not whole."""
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e15):
        text = str(int(value))
        return text if len(text) <= 20 else f"{float(value):.6g}"
    return f"{value:.6g}"


def signed(value: float | None) -> str:
    """A difference with its sign; nothing for None."""
    return "" if value is None else ("+" if value > 0 else "") + number(value)


def percent(ratio: float | None) -> str:
    """A relative difference; nothing for None or for one too small or too large to mean anything."""
    return "" if ratio is None or not 5e-5 <= abs(ratio) < 1e4 else f"{100 * ratio:+.2f} %"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
