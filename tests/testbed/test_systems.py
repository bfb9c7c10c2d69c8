"""What a missing system does to a run: a skip with its reason, or a failure where systems are required."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest
from tests.testbed import systems
systems.SYSTEMS["dragon"] = systems.System(lambda: False, "apt-get install dragon")
systems.SYSTEMS["broken"] = systems.System(lambda: int("x"), "mend it")
"""
CASES = {
    "present": '@pytest.mark.needs("linux")\ndef test_it(): pass\n',
    "missing": '@pytest.mark.needs("dragon")\ndef test_it(): raise AssertionError\n',
    "raising": '@pytest.mark.needs("broken")\ndef test_it(): raise AssertionError\n',
    "unknown": '@pytest.mark.needs("unicorn")\ndef test_it(): pass\n',
    "plain skip": '@pytest.mark.skip(reason="no reason")\ndef test_it(): pass\n',
}


def _pytest(folder: Path, case: str, *, required: bool) -> subprocess.CompletedProcess[str]:
    test = folder / "test_case.py"
    test.write_text(TESTS + CASES[case])
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "FETCHML", "COV"))}
    if required:
        environment["FETCHML_REQUIRE_SYSTEMS"] = "1"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.conftest"]
    options = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), str(test)]
    return subprocess.run(
        [*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    ("case", "required", "code", "said"),
    [
        ("present", False, 0, "1 passed"),
        ("present", True, 0, "1 passed"),
        ("missing", False, 0, "    1  needs dragon: apt-get install dragon"),
        ("missing", True, 1, "dragon is required here and missing: apt-get install dragon"),
        ("raising", False, 0, "mend it"),
        ("raising", True, 1, "mend it"),
        ("unknown", False, 4, "needs 'unicorn'"),
        ("plain skip", False, 0, "1 skipped"),
        ("plain skip", True, 1, "nothing may be skipped"),
    ],
)
def test_missing_systems(tmp_path: Path, case: str, required: bool, code: int, said: str) -> None:
    result = _pytest(tmp_path, case, required=required)
    assert (result.returncode, said in result.stdout + result.stderr) == (code, True), result.stdout + result.stderr
