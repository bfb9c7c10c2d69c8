"""`python -m benchmarks [NAME ...]`: us beside the peers and the floor.

Promises: every module of this package with NAME and rows() is found; JSON goes to benchmarks/out/NAME.json (and to
--json). A benchmark that fails is said and ends the command with 1; a lost goal is printed as lost and ends it with 0:
seconds gate nothing, counters do (tests/unit/benchmarks).
"""

import argparse
import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import benchmarks
from benchmarks.report import chart, machine, table, text, to_json
from benchmarks.rows import Row

OUT = Path(__file__).parent / "out"
Rows = Callable[[bool], tuple[Row, ...]]


def found() -> dict[str, Rows]:
    """Name to the function that measures (its argument: quick)."""
    modules = (importlib.import_module(f"benchmarks.{item.name}") for item in pkgutil.iter_modules(benchmarks.__path__)
               if not item.name.startswith("_"))  # fmt: skip
    return {module.NAME: module.rows for module in modules if hasattr(module, "NAME") and hasattr(module, "rows")}


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    # A user's commands keep their bytecode; without it ours would be compiled at each start, the peers' would not.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    known = found()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Us beside the peers and the floor.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(known)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and two rounds: does it work at all?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE.md", help="write all rows as a table")
    parser.add_argument("--chart", type=Path, metavar="FILE.svg", help="draw all rows")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    where = machine()
    print(where, flush=True)
    named: list[tuple[str, Row]] = []
    failed = 0
    for name in options.names or known:
        print(f"\n== {name}", flush=True)
        try:
            mine = known[name](options.quick)
        except Exception:  # noqa: BLE001  # the others are still measured
            traceback.print_exc()
            failed += 1
            continue
        print("\n".join(map(text, mine)), flush=True)
        _write(OUT / f"{name}.json", to_json(mine, where))
        named += [(name, row) for row in mine]
    rows = [row for _, row in named]
    if options.json:
        _write(options.json, to_json(rows, where))
    if options.markdown:
        _write(options.markdown, table(named))
    if options.chart:
        _write(options.chart, chart(rows, where))
    lost = sum(1 for row in rows for goal in row.goals if not goal.met)
    print(f"\n{sum(len(row.goals) for row in rows)} goals, {lost} lost; JSON in {OUT}")
    return 1 if failed else 0


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


if __name__ == "__main__":
    sys.exit(main())
