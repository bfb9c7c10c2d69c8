"""How commands print: tables for people, JSON and YAML for programs, names for shells.

Promises: stable JSON; plain text when NO_COLOR is set or the output is not a terminal; progress on stderr only.
Does not: import what a format that was not asked for needs.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

API_VERSION = "fetchml.dev/v1alpha1"
"""controller.api.base.API_VERSION, whose import would bring pydantic; a test compares them."""
FORMATS = ("table", "wide", "json", "yaml", "name")
Rows = Sequence[Sequence[str]]
F = Callable[..., Any]


def examples(*lines: str) -> str:
    """The end of a command's help."""
    return "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)])


def output_option(function: F) -> F:
    """Add -o/--output and its alias --json to a read command."""
    return output_option_with()(function)


def output_option_with(*more: str) -> Callable[[F], F]:
    """The same, for a command that can print in `more` formats."""

    def add(function: F) -> F:
        function = click.option("--json", "output", flag_value="json", help="The same as -o json.")(function)
        kinds = click.Choice((*FORMATS, *more))
        return click.option("-o", "--output", type=kinds, default="table", show_default=True, help="How to print.")(
            function
        )

    return add


def is_plain(stream: Any = None) -> bool:
    """No colour, no cursor movement: NO_COLOR, TERM=dumb, or not a terminal."""
    stream = stream or sys.stdout
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb" or not stream.isatty()


def report(kind: str, **fields: Any) -> dict[str, Any]:
    """An object that a read command prints."""
    return {"apiVersion": API_VERSION, "kind": kind, **fields}


def emit(
    value: Mapping[str, Any], output: str, *, table: Callable[[bool], str], names: Callable[[], Sequence[str]] = tuple
) -> None:
    """Print a value in the asked-for format; `table(wide)` and `names()` are called only when needed."""
    if output == "json":
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    elif output == "yaml":
        from controller.api.yaml_writer import lines

        click.echo("\n".join(lines(value)))
    elif output == "name":
        for name in names():
            click.echo(name)
    else:
        click.echo(table(output == "wide"))


def columns(header: Sequence[str], rows: Rows) -> str:
    """A plain table as kubectl prints it: upper-case header, two spaces between columns."""
    widths = [max(len(row[index]) for row in (header, *rows)) for index in range(len(header))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    )
    return "\n".join(lines)


COLOURS = {
    "Succeeded": "green", "Running": "cyan", "Launching": "cyan", "Failed": "red", "Blocked": "red",
    "Cancelled": "yellow", "Waiting": "yellow", "Queued": "yellow",
    "Pass": "green", "Refuse": "red", "Wait": "yellow", "ok": "green", "FAILED": "red", "Invalid": "red",
}  # fmt: skip


def paint(word: str, shown: str | None = None) -> str:
    """A status word in its colour on a terminal."""
    text = word if shown is None else shown
    return text if is_plain() or word not in COLOURS else click.style(text, fg=COLOURS[word])


def one_line(value: object) -> str:
    """A value of a spec on one line: line ends and what could steer a terminal or imitate our lines are escaped."""
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def command_line(words: Sequence[str]) -> str:
    """A command as a shell would read it, on one line; bash's $'...' where a word has line ends or tabs."""
    import shlex

    return " ".join(shlex.quote(word) if word.isprintable() else _dollar_quoted(word) for word in words)


def _dollar_quoted(word: str) -> str:
    return "$'" + one_line(word.replace("\\", "\\\\").replace("'", "\\'")) + "'"


def age(seconds: float) -> str:
    """12s, 5m, 3h, 9d, as kubectl prints ages."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(max(seconds, 0))}s"


def short_digest(digest: str | None) -> str:
    """The first 12 hex digits."""
    return digest.removeprefix("sha256:")[:12] if digest else "-"


class ProgressLine:
    """One line on stderr that is rewritten on a terminal, and printed rarely elsewhere; quiet for the first second."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._last = 0.0
        self._shown = False

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Progress of one piece of work: bytes or files done of total (0 = unknown)."""
        now = time.monotonic()
        pause = 5.0 if is_plain(sys.stderr) else 0.1
        if now - self._started < 1.0 or now - self._last < pause:
            return
        self._last = now
        self._write(f"{what}: {_amount(done, total, now - self._started)}")

    def clear(self) -> None:
        """Remove the line."""
        if self._shown and not is_plain(sys.stderr):
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        self._shown = False

    def _write(self, text: str) -> None:
        if is_plain(sys.stderr):
            sys.stderr.write(text + "\n")
        else:
            sys.stderr.write("\r\x1b[K" + text[: os.get_terminal_size(sys.stderr.fileno()).columns - 1])
        sys.stderr.flush()
        self._shown = True


def _amount(done: int, total: int, elapsed: float) -> str:
    if not done and not total:
        return "..."
    rate = done / elapsed if elapsed > 0 else 0.0
    is_bytes = max(total, done) > 2**20
    size = f"{done / 2**20:,.0f} MiB, {rate / 2**20:,.0f} MiB/s" if is_bytes else f"{done:,}"
    if not total:
        return size
    left = f", {age((total - done) / rate)} left" if rate > 0 and done else ""
    return f"{100 * done // total}% ({size}{left})"
