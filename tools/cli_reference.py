"""Write docs/cli.md from the command tree, so that the reference cannot go stale.

Promises: `reference()` is the whole file as text, the same in every terminal.
Does not: describe anything that `--help` lacks.
"""

from collections.abc import Iterator
from pathlib import Path

import click

from controller.entrypoints.cli.app import ml

TARGET = Path("docs/cli.md")
WIDTH = 100

HEAD = """\
# Command line

What every command says with `--help`. Written by `make generate`; a test compares it with the code.
Exit codes and reasons are explained in [reasons.md](reasons.md).
"""


def _contexts(command: click.Command, name: str, parent: click.Context | None) -> Iterator[click.Context]:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH)
    yield context
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None and not found.hidden:
                yield from _contexts(found, child, context)


def _section(context: click.Context) -> str:
    text = "\n".join(line.rstrip() for line in context.get_help().splitlines())
    return f"## {context.command_path}\n\n```text\n{text}\n```\n"


def reference() -> str:
    """The command line reference as Markdown."""
    return "\n".join([HEAD, *(_section(context) for context in _contexts(ml, "ml", None))])


if __name__ == "__main__":
    TARGET.write_text(reference())
