"""`ml init`: a folder ready to use.

Promises: nothing that exists is overwritten; running it twice changes nothing. Does not: commit.
"""

import subprocess
from pathlib import Path

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import settings_of
from controller.settings import data_home

FIRST_SPEC = """\
# yaml-language-server: $schema=../schemas/experiment.schema.json
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata:
  name: first
spec:
  description: The first experiment of this repository
  command:
    - python
    - -c
    - |
      import json, os, pathlib, random
      random.seed(int(os.environ["FETCHML_SEED"]))
      results = pathlib.Path(os.environ["FETCHML_RESULTS"])
      with (results / "metrics.jsonl").open("w") as metrics:
          for step in range($(params.steps)):
              metrics.write(json.dumps({"step": step, "loss": random.random() / (step + 1)}) + "\\n")
      (results / "done.txt").write_text("done\\n")
      print("ran", $(params.steps), "steps")
  parameters: {steps: 10}
  seed: 1
  outputs:
    - {name: done, path: done.txt}
  resources: {cpu: "1", memory: 256Mi, disk: 16Mi}
"""

IGNORED = ".fetchml/"


@click.command("init", epilog="\b\nExample:\n  ml init my-project && cd my-project && ml run specs/first.yaml")
@click.argument("directory", default=".", type=click.Path())
@click.pass_context
def init_command(ctx: click.Context, directory: str) -> int:
    """Make DIRECTORY a repository with specs/, a first experiment, editor schemas, .gitignore and a signing key."""
    root = Path(directory)
    if root.exists() and not root.is_dir():
        raise CommandError(f"{directory} is a file; name a folder", Exit.USAGE)
    root.mkdir(parents=True, exist_ok=True)
    made = [
        *_repository(root),
        *_file(root / "specs" / "first.yaml", FIRST_SPEC),
        *_ignore(root),
        *_schemas(root),
        *_key(ctx, root),
    ]
    for line in made or ["everything is there already; nothing was changed"]:
        click.echo(line)
    where = "" if directory == "." else f"cd {directory} && "
    click.echo(
        f"\nNext:\n  {where}git add -A && git commit -m 'First experiment'\n  ml explain specs/first.yaml\n  ml run specs/first.yaml"
    )
    return Exit.OK


def _repository(root: Path) -> list[str]:
    if any((folder / ".git").exists() for folder in (root.absolute(), *root.absolute().parents)):
        return []
    try:
        subprocess.run(["git", "init", "--quiet", str(root)], check=True, capture_output=True)
    except FileNotFoundError as error:
        raise CommandError("git is not installed; install it (Debian: apt-get install git)") from error
    return [f"made   a git repository in {root}"]


def _file(path: Path, text: str) -> list[str]:
    if path.exists():
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return [f"made   {path}"]


def _ignore(root: Path) -> list[str]:
    path = root / ".gitignore"
    text = path.read_text() if path.exists() else ""
    if IGNORED in text.splitlines():
        return []
    path.write_text(text + ("" if text.endswith("\n") or not text else "\n") + IGNORED + "\n")
    return [f"added  {IGNORED} to {path}"]


def _schemas(root: Path) -> list[str]:
    import json

    from controller.api.schema import json_schemas

    made = []
    for name, schema in json_schemas().items():
        made += _file(root / "schemas" / name, json.dumps(schema, indent=2) + "\n")
    return made


def _key(ctx: click.Context, root: Path) -> list[str]:
    from controller.identity.keys import default_key, new_key

    home = data_home(settings_of(ctx))
    if default_key(home, root / "trust"):
        return []
    info = new_key(home, root / "trust")
    return [f"made   signing key {info.key_id[:16]} (private: {info.private}; public: {info.public})"]
