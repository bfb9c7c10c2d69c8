"""`make generate`: writes schemas/ and crds/ from the models; `--check` only says which files are stale.

Promises: touches no file whose bytes are right already. Does not: decide what the files say (api/schema.py does).
"""

import argparse
import sys
from pathlib import Path

from controller.api import schema


def stale(root: Path) -> list[str]:
    """The generated files beneath `root` that are missing or differ, by path."""
    return [path for path, data in schema.files().items() if _read(root / path) != data]


def write(root: Path) -> list[str]:
    """Write what is stale; returns those paths."""
    generated = schema.files()
    changed = stale(root)
    for path in changed:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(generated[path])
    return changed


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 when everything is (now) current, 1 when `--check` found stale files."""
    parser = argparse.ArgumentParser(prog="make generate", description="Write schemas/ and crds/ from the models.")
    parser.add_argument("root", nargs="?", type=Path, default=Path(), help="the repository's root")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
    options = parser.parse_args(arguments)
    changed = stale(options.root) if options.check else write(options.root)
    for path in changed:
        sys.stdout.write(f"{'stale' if options.check else 'wrote'} {path}\n")
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    raise SystemExit(main())
