"""The architecture as checks: import contracts, one room per vendor library, small modules and functions, docstrings.

Each rule is also tried on a source that breaks it, so that a rule which can no longer fail is noticed.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "controller"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60

PURE_ROOMS = ("api", "facts", "plan", "preflight", "trust", "placement")

# Vendor library -> the rooms that may import it. A library that is missing here may be imported nowhere.
VENDORS = {
    "click": ("entrypoints",),
    "cryptography": ("identity", "trust"),
    "obstore": ("stores",),
    "docker": ("runtimes",),
    "jsonschema": ("api",),
    "kopf": ("entrypoints",),
    "lightkube": ("runtimes", "sources"),
    "pathspec": ("inputs",),
    "pydantic": ("api",),
    "pydantic_core": ("api",),
    "pynvml": ("inventory",),
    "pyseccomp": ("runtimes",),
    "requests": ("runtimes",),  # docker's SDK lets its errors and urllib3's through
    "rfc8785": ("api",),
    "rich": ("entrypoints",),
    "securesystemslib": ("identity", "trust"),
    "sqlite3": ("stores",),
    "sqlite_utils": ("stores",),
    "watchdog": ("sources",),
    "urllib3": ("runtimes",),
    "yaml": ("api",),
}

# What a decision may not touch: the world is given to it as facts.
IMPURE_MODULES = frozenset(
    {
        *(
            "asyncio",
            "ctypes",
            "fcntl",
            "glob",
            "http",
            "importlib",
            "io",
            "logging",
            "multiprocessing",
            "os",
            "random",
        ),
        *(
            "secrets",
            "select",
            "shutil",
            "signal",
            "socket",
            "sqlite3",
            "ssl",
            "subprocess",
            "sys",
            "tempfile",
            "threading",
        ),
        *("threading", "time", "urllib"),
    }
)
IMPURE_CALLS = frozenset(
    {
        *("open", "input", "print", "exec", "eval", "breakpoint"),
        *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    }
)
IMPURE_METHODS = frozenset(
    {
        *("read_text", "read_bytes", "write_text", "write_bytes"),
        *("unlink", "mkdir", "exists", "is_file", "is_dir", "stat"),
    }
)


def _room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {
            "importlib.import_module",
            "import_module",
            "__import__",
        }:
            yield from ((node.lineno, name.value) for name in node.args if isinstance(name, ast.Constant))


def foreign_imports(room: str, source: str) -> list[str]:
    """Vendor libraries that this room may not import, as "line: library"."""
    found = []
    for line, name in _imports(ast.parse(source)):
        top = name.partition(".")[0]
        if top == "controller" or (top in sys.stdlib_module_names and top not in VENDORS):
            continue
        if room not in VENDORS.get(top, ()):
            found.append(f"{line}: {top}")
    return found


def impurities(source: str) -> list[str]:
    """Imports and calls that do I/O or read the clock or the environment, as "line: name"."""
    tree = ast.parse(source)
    found = [f"{line}: import {name}" for line, name in _imports(tree) if name.partition(".")[0] in IMPURE_MODULES]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if name in IMPURE_CALLS or ".".join(name.split(".")[-2:]) in IMPURE_CALLS or method in IMPURE_METHODS:
                found.append(f"{node.lineno}: {name}()")
    return found


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def oversized(source: str) -> list[str]:
    """A module or functions that are too long, as sentences."""
    lines = source.count("\n")
    found = [f"{lines} lines, {MAX_MODULE_LINES} allowed"] if lines > MAX_MODULE_LINES else []
    for function in _functions(ast.parse(source)):
        length = (function.end_lineno or 0) - function.lineno + 1
        if length > MAX_FUNCTION_LINES:
            found.append(f"{function.lineno}: {function.name} has {length} lines, {MAX_FUNCTION_LINES} allowed")
    return found


def undocumented(source: str) -> list[str]:
    """The module, public classes and public functions without a docstring (overriding methods inherit theirs)."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) else ["the module has no docstring"]
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            found.append(f"{node.lineno}: {node.name} has no docstring")
    return found


def unexplained_silencers(source: str) -> list[str]:
    """Comments that silence a checker without a code and a reason."""
    found = []
    for number, line in enumerate(source.splitlines(), start=1):
        for mark, coded in (("# noqa", "# noqa: "), ("# type: ignore", "# type: ignore[")):
            _, present, rest = line.partition(mark)
            if present and (coded not in line or "#" not in rest):
                found.append(f"{number}: {line.strip()}")
    return found


def _report(problems: dict[Path, list[str]]) -> str:
    return "\n".join(f"{path.relative_to(ROOT)}:{problem}" for path, found in problems.items() for problem in found)


def _check(check: object, modules: list[Path]) -> None:
    assert callable(check)
    problems = {path: found for path in modules if (found := check(path.read_text()))}
    assert not problems, _report(problems)


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    linter = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    return subprocess.run(linter, cwd=folder, capture_output=True, text=True, check=False)


def test_import_contracts_hold() -> None:
    result = _lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_each_vendor_library_is_imported_in_its_room_only() -> None:
    problems = {path: found for path in MODULES if (found := foreign_imports(_room(path), path.read_text()))}
    assert not problems, _report(problems)


def test_pure_rooms_do_no_io() -> None:
    _check(impurities, [path for path in MODULES if _room(path) in PURE_ROOMS])


def test_modules_and_functions_are_small() -> None:
    _check(oversized, MODULES)


def test_functions_are_a_few_lines_in_the_middle() -> None:
    lengths = sorted(
        (function.end_lineno or 0) - function.body[0].lineno + 1
        for path in MODULES
        for function in _functions(ast.parse(path.read_text()))
    )
    assert lengths[len(lengths) // 2] <= 10


def test_modules_and_public_names_are_documented() -> None:
    _check(undocumented, [path for path in MODULES if path.read_text().strip()])


def test_silenced_checks_name_code_and_reason() -> None:
    _check(unexplained_silencers, MODULES + sorted((ROOT / "tools").glob("*.py")))


BROKEN = [
    (lambda source: foreign_imports("plan", source), "import docker\n"),
    (lambda source: foreign_imports("runtimes", source), "from sqlite_utils import Database\n"),
    (lambda source: foreign_imports("api", source), "import some_new_library\n"),
    (lambda source: foreign_imports("plan", source), "import importlib\nimportlib.import_module('docker')\n"),
    (impurities, "import os.path\n"),
    (impurities, "from subprocess import run\n"),
    (impurities, "import datetime\nx = datetime.datetime.now()\n"),
    (impurities, "from datetime import datetime\nx = datetime.now()\n"),
    (impurities, "def f(p):\n    return p.read_text()\n"),
    (impurities, "x = open('a')\n"),
    (oversized, "\n" * (MAX_MODULE_LINES + 1)),
    (oversized, "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES),
    (undocumented, "x = 1\n"),
    (undocumented, '"""Module."""\ndef f(): ...\n'),
    (undocumented, '"""Module."""\nclass C: ...\n'),
    (unexplained_silencers, "x = 1  # noqa\n"),
    (unexplained_silencers, "x = 1  # type: ignore[arg-type]\n"),
]


@pytest.mark.parametrize(("check", "source"), BROKEN)
def test_each_rule_can_fail(check: object, source: str) -> None:
    assert callable(check)
    assert check(source)


def test_a_silencer_with_its_reason_passes() -> None:
    assert not unexplained_silencers("x = f()  # noqa: S603  # the command is a constant\n")
    assert not unexplained_silencers("x = f()  # type: ignore[no-any-return]  # the stub is wrong\n")


ADAPTERS = ("inputs", "identity", "runtimes", "sources", "stores", "inventory")
ROOMS = (*PURE_ROOMS, *ADAPTERS, "ports", "settings", "reconcile")


@pytest.mark.parametrize(
    ("room", "line", "said"),
    [
        ("wiring", "import controller.stores", ""),
        ("api", "import controller.facts", "controller.api -> controller.facts"),
        ("stores", "import controller.reconcile", "controller.stores -> controller.reconcile"),
        ("runtimes", "import controller.identity", "controller.runtimes -> controller.identity"),
        ("plan", "import subprocess", "controller.plan -> subprocess"),
        ("stray", "", "controller.stray"),
    ],
)
def test_the_import_contracts_are_in_force(tmp_path: Path, room: str, line: str, said: str) -> None:
    """A copy of the rooms, empty, passes; one upward or sideways import, or a room without a layer, does not."""
    for name in {*ROOMS, "wiring", "entrypoints", room}:
        folder = tmp_path / "controller" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(f"{line}\n" if name == room else "")
    (tmp_path / "controller" / "__init__.py").write_text("")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    result = _lint_imports(tmp_path)
    assert result.returncode == (1 if said else 0), result.stdout
    assert said in result.stdout
