"""The command group: names, lazy loading, and the one place where an exception becomes an exit code.

Promises: `ml --help` imports no command; nothing prints a traceback unless --debug. Does not: hold command logic.
"""

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.entrypoints.cli.errors import Exit, code_of, sentence_of

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("controller.entrypoints.cli.init", "Make a folder ready to use: specs, schema, key pair."),
    "validate": ("controller.entrypoints.cli.validate", "Check specs, or a run's manifest, and print every problem."),
    "explain": (
        "controller.entrypoints.cli.explain",
        "What would run, may it, and how far it can be trusted; starts nothing.",
    ),
    "diff": ("controller.entrypoints.cli.explain", "Desired against actual."),
    "run": ("controller.entrypoints.cli.run", "Reconcile one spec until its run ends; live status and log."),
    "queue": ("controller.entrypoints.cli.queue", "Strict preflight, then hand the spec to the reconciler."),
    "reconcile": ("controller.entrypoints.cli.reconcile", "The standalone reconciler: watch, reconcile, write back."),
    "status": ("controller.entrypoints.cli.status", "All experiments, or one."),
    "watch": ("controller.entrypoints.cli.status", "Follow the status until interrupted."),
    "wait": ("controller.entrypoints.cli.status", "Wait until an experiment reaches a phase."),
    "logs": ("controller.entrypoints.cli.inspect", "Print or follow the log of a run."),
    "cancel": ("controller.entrypoints.cli.inspect", "Stop a run; its record stays."),
    "info": ("controller.entrypoints.cli.inspect", "Everything known about a run or a spec."),
    "approve": ("controller.entrypoints.cli.approve", "Approve the plan of a spec as it stands now."),
    "verify": ("controller.entrypoints.cli.verify", "Prove a finished run from its files, offline."),
    "compare": ("controller.entrypoints.cli.compare", "Two runs side by side: provenance first, metrics second."),
    "reproduce": (
        "controller.entrypoints.cli.reproduce",
        "Run a recorded run again, and say field by field if it is the same.",
    ),
    "export": ("controller.entrypoints.cli.export", "One run as one file that anybody can verify."),
    "sync": ("controller.entrypoints.cli.sync", "Put a folder into an object store as a snapshot."),
    "dataset": ("controller.entrypoints.cli.dataset", "The catalogue of datasets: add, list, show, verify, export."),
    "prune": ("controller.entrypoints.cli.prune", "Remove old runs, caches and objects (dry run by default)."),
    "backup": ("controller.entrypoints.cli.backup", "Copy the store, the records and the objects to one file."),
    "restore": ("controller.entrypoints.cli.backup", "Bring a backup back."),
    "adopt": ("controller.entrypoints.cli.maintain", "Collect a run whose reconciler is gone."),
    "unlock": ("controller.entrypoints.cli.maintain", "Break the lease of a reconciler that is gone."),
    "doctor": ("controller.entrypoints.cli.doctor", "What this host can do: sandbox, interpreters, GPUs, limits."),
    "config": ("controller.entrypoints.cli.config", "Show or validate the settings in force."),
    "key": ("controller.entrypoints.cli.key", "Signing keys: new, list, rotate, revoke."),
    "hook": ("controller.entrypoints.cli.hook", "Tell the reconciler of a push: install a hook, ring its webhook."),
    "completion": ("controller.entrypoints.cli.completion", "Print shell completion."),
}
"""Command to (module, one line). The attribute in the module is the command's name, with `_command` appended."""


class LazyGroup(click.Group):
    """Loads a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """In the order of a working day."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        """Import the module that has the command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        """One line a command, from the table: no import."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Command names with their lines, from the table: no import; options as click does."""
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=line) for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a suggestion for a mistyped command."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            import difflib

            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean `ml {near[0]}`?" if near else " `ml --help` lists them."
            ctx.fail(f"there is no command {name!r}.{hint}")
        return super().resolve_command(ctx, args)


EPILOG = """\b
Start here:
  ml init my-project         a folder ready to use
  ml explain specs/x.yaml    what would run, and may it
  ml run specs/x.yaml        run it and follow it
\b
Exit codes: 0 done, 1 error, 2 usage, 3 invalid spec, 4 refused, 5 not found,
6 not allowed, 7 run failed or cancelled, 8 must wait, 124 timed out."""


@click.group(
    cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="fetchml", prog_name="ml", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Print tracebacks and log what is done.")
@click.option(
    "--base-path", help="Folder of fetchml's own records (default: .fetchml in the repository).", metavar="DIR"
)
@click.pass_context
def ml(ctx: click.Context, debug: bool, base_path: str | None) -> None:
    """Declarative, reproducible machine-learning experiments: commit a spec, get a run that can be proved."""
    if debug:
        import logging

        logging.basicConfig(level=logging.DEBUG)
    ctx.obj = {"debug": debug, "flags": {"base_path": base_path and str(Path(base_path).absolute())}}


INTERRUPTED = 130
"""128 + SIGINT, as shells say."""
PIPE_CLOSED = 141
"""128 + SIGPIPE: whoever read our output had enough (`ml status | head -1`)."""


def run(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code."""
    sys.exit(_invoke(_debug_first(sys.argv[1:] if arguments is None else arguments)))


def _debug_first(arguments: list[str]) -> list[str]:
    """--debug is understood after the command too, where people add it when something failed."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if "--debug" not in arguments[:end]:
        return arguments
    return ["--debug", *(word for word in arguments[:end] if word != "--debug"), *arguments[end:]]


def _invoke(arguments: list[str]) -> int:
    try:
        result: Any = ml.main(arguments, prog_name="ml", standalone_mode=False)
        sys.stdout.flush()
        return int(result) if isinstance(result, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except BrokenPipeError:
        return _pipe_closed()
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # click met it first
            return _pipe_closed()
        raise
    except Exception as error:
        if arguments[:1] == ["--debug"]:
            raise
        return _report(error)


def _pipe_closed() -> int:
    """Nothing more is said, not even by the interpreter when it flushes."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED


def _report(error: Exception) -> int:
    """A sentence on stderr; the exit code."""
    code = code_of(error)
    text = sentence_of(error)
    hint = " (run it again with --debug for the traceback)" if code is None else ""
    if text:
        click.echo(f"{text}{hint}", err=True)
    return Exit.ERROR if code is None else code
