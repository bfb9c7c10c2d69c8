"""`ml hook`: tell a reconciler at once that something was pushed.

Promises: a post-receive hook that is not ours is never overwritten; ours never fails or delays a push. Does not: start
a reconciler.
"""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.output import examples

_OURS = "# Installed by `ml hook install`: tells the reconciler that something was pushed. It never fails a push."


@click.group("hook", epilog=examples("ml hook install /srv/lab.git", "ml hook ring http://127.0.0.1:8765/ --help"))
def hook_command() -> None:
    """News of a push, for `ml reconcile REPO`."""


@hook_command.command(
    "install",
    epilog=examples(
        "ml hook install /srv/lab.git                 a reconciler on this host hears of each push",
        "ml hook install /srv/lab.git --url http://127.0.0.1:8765/ --secret-file /etc/fetchml/hook.secret",
    ),
)
@click.argument("repo", type=click.Path())
@click.option("--url", help="Tell a reconciler elsewhere too: where its --webhook listens.")
@click.option("--secret-file", type=click.Path(), help="The secret that signs the news, readable by whoever pushes.")
def install_command(repo: str, url: str | None, secret_file: str | None) -> int:
    """Install a post-receive hook in a bare repository on this host. Twice is once."""
    from controller.inputs.addresses import is_bare
    from controller.reconcile.files import write_atomic

    folder = Path(repo)
    if not is_bare(folder):
        raise CommandError(f"{repo} is no bare repository on this host; make one with: git init --bare", Exit.NOT_FOUND)
    if bool(url) != bool(secret_file):
        raise CommandError("--url and --secret-file belong together: unsigned news is refused", Exit.USAGE)
    hook = _hooks_folder(folder) / "post-receive"
    text = _script(url, secret_file and str(Path(secret_file).absolute()))
    if hook.exists() and _OURS not in hook.read_text(errors="replace"):
        line = text.splitlines()[-1]
        raise CommandError(f"{hook} exists and is not ours; add this line to it: {line}", Exit.NOT_ALLOWED)
    hook.parent.mkdir(exist_ok=True)
    write_atomic(hook, text.encode())
    hook.chmod(0o755)
    click.echo(f"installed {hook}; `ml reconcile {repo}` looks at each push at once")
    return Exit.OK


def _hooks_folder(repository: Path) -> Path:
    """Where git looks for the hooks of this repository: its own setting counts, and the user's."""
    words = ["git", "-C", str(repository), "rev-parse", "--git-path", "hooks"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise CommandError(f"git cannot read {repository}: {done.stderr.strip()}", Exit.ERROR)
    return repository / done.stdout.rstrip("\n")


def _script(url: str | None, secret_file: str | None) -> str:
    from controller.inputs.refs import BELL

    ring = f': > "$(git rev-parse --git-dir)/{BELL}"'
    if url and secret_file:
        ml = shutil.which("ml") or str(Path(sys.executable).with_name("ml"))
        words = [ml, "hook", "ring", url, "--secret-file", secret_file]
        ring += f"; {shlex.join(words)} </dev/null >/dev/null 2>&1 &"
    return f"#!/bin/sh\n{_OURS}\n{ring}\n"


@hook_command.command(
    "ring", epilog=examples("ml hook ring http://127.0.0.1:8765/ --secret-file /etc/fetchml/hook.secret")
)
@click.argument("url")
@click.option("--secret-file", required=True, type=click.Path(), help="The secret that signs the news.")
def ring_command(url: str, secret_file: str) -> int:
    """Tell a reconciler's webhook that something was pushed."""
    from controller.entrypoints.webhook import read_secret, ring_at

    try:
        secret = read_secret(Path(secret_file))
    except ValueError as error:
        raise CommandError(str(error), Exit.NOT_ALLOWED) from error
    try:
        code = ring_at(url, secret)
    except (OSError, ValueError) as error:
        raise CommandError(f"{url}: {error}", Exit.ERROR) from error
    if code != 202:
        raise CommandError(f"{url} answered {code}; is it a reconciler's, and the secret the same?", Exit.NOT_ALLOWED)
    click.echo("told")
    return Exit.OK
