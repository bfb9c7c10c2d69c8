"""What all tests share: real systems by name, and the rule that nothing is skipped where they are required.

A test marked ``@pytest.mark.needs("bwrap", "root")`` runs where those systems work. Elsewhere it is skipped with the
reason and the command that installs it; with FETCHML_REQUIRE_SYSTEMS set, a missing system is an error and any skip
fails the run.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.testbed.systems import SYSTEMS, missing

REQUIRED = bool(os.environ.get("FETCHML_REQUIRE_SYSTEMS"))


_home = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep tests away from the user's keys, settings and git identity; what they start inherits that."""
    home = config.stash[_home] = Path(tempfile.mkdtemp(prefix="fetchml-test-"))
    for name in [name for name in os.environ if name.startswith(("FETCHML_", "GIT_"))]:
        if name not in {"FETCHML_REQUIRE_SYSTEMS", "GIT_SSL_CAINFO"}:
            del os.environ[name]
    # The commands that tests start keep their bytecode, as a user's do: without it each start compiles us again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    git_config = home / "gitconfig"
    git_config.write_text("[user]\n\tname = Test\n\temail = test@example.org\n[init]\n\tdefaultBranch = main\n")
    os.environ.update(
        GIT_CONFIG_GLOBAL=str(git_config),
        GIT_CONFIG_NOSYSTEM="1",
        XDG_DATA_HOME=str(home / "data"),
        FETCHML_CONFIG=str(home / "config.toml"),
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what pytest_configure made."""
    shutil.rmtree(config.stash[_home], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A marker that names no system is a mistake in the test, wherever it runs."""
    for item in items:
        for marker in item.iter_markers("needs"):
            for name in marker.args:
                if name not in SYSTEMS:
                    raise pytest.UsageError(f"{item.nodeid} needs {name!r}; tests/testbed/systems.py lacks it")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail where systems are required, a test whose system is missing."""
    for name in dict.fromkeys(name for marker in item.iter_markers("needs") for name in marker.args):
        why = missing(name)
        if why and REQUIRED:
            pytest.fail(f"{name} is required here and missing: {why}", pytrace=False)
        if why:
            pytest.skip(f"needs {name}: {why}")


def _skip_reasons(terminal: pytest.TerminalReporter) -> Counter[str]:
    reports = terminal.stats.get("skipped", [])
    return Counter(
        str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr) for report in reports
    )


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Where systems are required, a skip is a failure."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if REQUIRED and terminal is not None and _skip_reasons(terminal) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end how many tests were skipped, and why."""
    reasons = _skip_reasons(terminalreporter)
    if not reasons:
        return
    verdict = "; nothing may be skipped where FETCHML_REQUIRE_SYSTEMS is set" if REQUIRED else ""
    terminalreporter.section(f"{reasons.total()} skipped{verdict}")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5d}  {reason.removeprefix('Skipped: ')}")
