"""`ml init`: a folder ready to use.

Promises: nothing that exists is overwritten; running it twice changes nothing. Does not: commit.
"""

import os
import subprocess
import sys
from pathlib import Path

import click

from controller.entrypoints.cli.errors import CommandError, Exit
from controller.entrypoints.cli.opening import settings_of
from controller.entrypoints.cli.output import examples
from controller.settings import data_home
from controller.wiring import TRUST_FOLDER, find_root

FIRST_SPEC = """\
# yaml-language-server: $schema=../schemas/experiment.schema.json
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata:
  name: first
spec:
  description: The first experiment of this repository
  source:
    git: {repo: ".", path: CODE}   # the newest commit that changed this folder or this spec
  environment: {python: "PYTHON"}   # the standard library is enough; with packages: dependencies, a hash-pinned lock
  command: [python, first.py, --lr, $(params.lr), --steps, $(params.steps), --seed, $(seed)]
  parameters: {lr: 1e-1, steps: 20}
  seed: 1
  outputs:
    - {name: model, path: model.json}
  resources: {cpu: "1", memory: 256Mi, disk: 16Mi}
"""

FIRST_CODE = '''\
"""Fit a line to noisy points by gradient descent; standard library only."""

import argparse
import json
import os
import random
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--seed", type=int, required=True)
options = parser.parse_args()

results = Path(os.environ["FETCHML_RESULTS"])
noise = random.Random(options.seed)
points = [(x / 50, 3 * x / 50 + 1 + noise.gauss(0, 0.1)) for x in range(100)]
slope = offset = 0.0
with (results / "metrics.jsonl").open("w") as metrics:
    for step in range(1, options.steps + 1):
        errors = [slope * x + offset - y for x, y in points]
        slope -= options.lr * 2 * sum(error * x for error, (x, _) in zip(errors, points)) / len(points)
        offset -= options.lr * 2 * sum(errors) / len(points)
        loss = sum(error * error for error in errors) / len(points)
        metrics.write(json.dumps({"step": step, "loss": round(loss, 6)}) + "\\n")
(results / "model.json").write_text(json.dumps({"slope": slope, "offset": offset}) + "\\n")
print(f"after {options.steps} steps: y = {slope:.3f} x + {offset:.3f}")
'''

IGNORED = ".fetchml/"


@click.command(
    "init",
    epilog=examples("ml init my-project    a new folder", "ml init               the folder you are in"),
)
@click.argument("directory", default=".", type=click.Path())
@click.pass_context
def init_command(ctx: click.Context, directory: str) -> int:
    """Make DIRECTORY a repository with specs/, a first experiment, editor schemas, .gitignore and a signing key."""
    folder = Path(directory)
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"{directory} is a file; name a folder", Exit.USAGE)
    folder.mkdir(parents=True, exist_ok=True)
    made = _repository(folder)
    top = Path(os.path.relpath(find_root(folder)))
    code = (Path(os.path.relpath(folder, top)) / "code").as_posix()
    made += [
        *_file(folder / "specs" / "first.yaml", _first_spec(code)),
        *_file(folder / "code" / "first.py", FIRST_CODE),
        *_ignore(top),
        *_schemas(folder),
        *_key(ctx, top),
    ]
    for line in made or ["everything is there already; nothing was changed"]:
        click.echo(line)
    where = "" if directory == "." else f"  cd {directory}\n"
    click.echo(
        f"\nNext:\n{where}  git add -A && git commit -m 'First experiment'\n"
        "  ml explain specs/first.yaml\n  ml run specs/first.yaml"
    )
    return Exit.OK


def _first_spec(code: str) -> str:
    return FIRST_SPEC.replace("CODE", code).replace("PYTHON", f"{sys.version_info.major}.{sys.version_info.minor}")


def _repository(root: Path) -> list[str]:
    if (find_root(root) / ".git").exists():
        return []
    try:
        subprocess.run(["git", "init", "--quiet", "--", str(root)], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CommandError("git is not installed; install it (Debian: apt-get install git)") from error
    except subprocess.CalledProcessError as error:
        raise CommandError(f"git could not make a repository in {root}: {error.stderr.strip()}") from error
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


def _key(ctx: click.Context, top: Path) -> list[str]:
    from controller.identity.keys import default_key, new_key

    home, trust = data_home(settings_of(ctx)), top / TRUST_FOLDER
    if default_key(home, trust):
        return []
    info = new_key(home, trust)
    return [
        f"made   {info.public}: who may sign (commit it)",
        f"made   {info.private}: signs; stays outside, mode 0600",
    ]
