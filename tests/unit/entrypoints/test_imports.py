"""What may be imported when: a command pays for what it uses and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from controller.api import base
from controller.entrypoints.cli import opening, output
from controller.reconcile import loop
from tests.e2e.cli import make_template, spec

HEAVY = {
    *("pydantic", "pydantic_core", "yaml", "sqlite_utils", "cryptography", "securesystemslib", "rich", "watchdog"),
    *("rfc8785", "sqlite3", "click", "asyncio", "http", "xml", "tomllib"),
}
"""Modules whose import one notices."""

ALLOWED = {
    ("--version",): set(),
    ("--help",): {"click"},
    ("status",): {"click", "sqlite3"},
    ("status", "-o", "json"): {"click", "sqlite3"},
    ("status", "-o", "yaml"): {"click", "sqlite3", "rfc8785"},
    ("completion", "bash"): {"click"},
    ("config", "show"): {"click"},
    ("logs", "first"): {"click", "sqlite3", "sqlite_utils", "pydantic", "pydantic_core", "rfc8785", "yaml"},
    ("validate", "specs"): {"click", "pydantic", "pydantic_core", "yaml", "rfc8785"},
    ("explain", "specs/first.yaml"): HEAVY - {"cryptography", "securesystemslib", "rich", "asyncio", "tomllib"},
    ("diff", "specs/first.yaml"): HEAVY - {"cryptography", "securesystemslib", "rich", "asyncio", "tomllib"},
}
OURS = {
    ("--version",): {"controller", "controller.entrypoints", "controller.entrypoints.cli"},
    ("--help",): {
        *("controller", "controller.entrypoints", "controller.entrypoints.cli"),
        *("controller.entrypoints.cli.app", "controller.entrypoints.cli.errors"),
    },
}

PROBE = """
import json, sys
from controller.entrypoints.cli import main
sys.argv[0] = "ml"
try:
    main()
except SystemExit:
    pass
sys.stdout.flush()
print("\\n" + json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which something ran."""
    root = make_template(tmp_path_factory.mktemp("imports"))
    (root / "specs" / "hello.yaml").write_text(spec("hello"))
    subprocess.run([Path(sys.executable).with_name("ml"), "run", "specs/first.yaml"], cwd=root, check=True)
    return root


@pytest.mark.parametrize("words", ALLOWED, ids=" ".join)
def test_only_what_is_used_is_imported(repository: Path, words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words], cwd=repository, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("\n") > 1, done.stderr
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    assert {name.partition(".")[0] for name in modules} & HEAVY <= ALLOWED[words]
    ours = {name for name in modules if name.partition(".")[0] == "controller"}
    assert ours <= OURS.get(words, ours)


def test_the_constants_that_spare_an_import() -> None:
    assert output.API_VERSION == base.API_VERSION
    assert opening.LEASE_NAME == loop.LEASE_NAME
