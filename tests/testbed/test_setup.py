"""Setting up names what is missing and the command that installs it."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("sh", "dirname", "env")


def _setup(folder: Path, programs: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """tools/setup in an empty project with only these programs: name to shell text ("" = the real one)."""
    (folder / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "setup", folder / "tools" / "setup")
    programs_folder = folder / "bin"
    programs_folder.mkdir()
    for name, text in {**dict.fromkeys(NEEDED, ""), **programs}.items():
        if text:
            (programs_folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (programs_folder / name).chmod(0o755)
        else:
            (programs_folder / name).symlink_to(shutil.which(name) or name)
    environment = {"PATH": str(programs_folder)}
    command = [str(folder / "tools" / "setup"), "runtime", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        ({"python3": ""}, "git is missing: apt-get install git"),
        ({"git": ""}, "python3 is missing: apt-get install python3-venv"),
        (
            {"git": "", "python3": 'case "$2" in *ensurepip*) exit 1;; esac'},
            "python3-venv is missing: apt-get install python3-venv",
        ),
        (
            {"git": "", "python3": 'case "$1$2" in --version) echo Python 3.9.2;; *version_info*) exit 1;; esac'},
            "Python 3.11 or newer is missing: found Python 3.9.2",
        ),
    ],
)
def test_a_missing_program_is_named_with_its_command(tmp_path: Path, programs: dict[str, str], said: str) -> None:
    result = _setup(tmp_path, programs)
    assert result.returncode == 1
    assert said in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_locks_pin_every_requirement_by_hash_and_name_no_index() -> None:
    locks = [*sorted((ROOT / "requirements").glob("*.txt")), *sorted((ROOT / "examples").rglob("*.lock"))]
    assert len(locks) >= 3
    for lock in locks:
        text = lock.read_text()
        requirements = text.replace("\\\n", " ").splitlines()
        assert requirements
        assert all("==" in line and "--hash=sha256:" in line for line in requirements), lock
        assert "://" not in text
        assert "--index" not in text


def test_the_dev_lock_holds_the_runtime_lock() -> None:
    runtime, dev = ((ROOT / "requirements" / f"{name}.txt").read_text().splitlines() for name in ("runtime", "dev"))
    assert {line for line in runtime if "==" in line} <= {line for line in dev if "==" in line}
