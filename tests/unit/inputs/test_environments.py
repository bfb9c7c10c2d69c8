"""Virtual environments, built by the real pip from wheels made here; the index is a folder."""

import hashlib
import os
import signal
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controller.facts.facts import InterpreterFacts
from controller.inputs.environments import Environments, explain_pip, read_record
from controller.inputs.interpreters import Interpreters
from controller.ports.inputs import EnvironmentBuildError, no_progress

ROOT = Path(__file__).parents[3]


@pytest.fixture
def interpreter(tmp_path: Path) -> InterpreterFacts:
    """The running one."""
    return Interpreters(tmp_path / "interpreters.json").facts(None)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip takes for its index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel(folder: Path, name: str, requires: str = "") -> str:
    """A wheel of one module that says its name; its sha256 (hex)."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": f"NAME = {name!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(file, content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lock_of(**hashes: str) -> bytes:
    """A lock of these wheels."""
    return "".join(f"{name}==1.0 --hash=sha256:{digest}\n" for name, digest in hashes.items()).encode()


def _run(environment: Path, code: str) -> str:
    done = subprocess.run([environment / "bin/python", "-I", "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_lock_becomes_an_environment_once(tmp_path: Path, interpreter: InterpreterFacts, wheels: Path) -> None:
    lock = lock_of(alpha=wheel(wheels, "alpha"))
    environments = Environments(tmp_path / "envs")
    assert not environments.ready(lock, interpreter)
    place = environments.build(lock, interpreter, no_progress)
    assert environments.ready(lock, interpreter)
    assert _run(place, "import alpha; print(alpha.NAME)") == "alpha"
    assert list(read_record(place)["packages"]) == ["alpha==1.0"]
    for left in wheels.iterdir():
        left.unlink()
    assert environments.build(lock, interpreter, no_progress) == place
    assert not environments.ready(lock + b"# other bytes\n", interpreter)


def test_what_is_installed_is_read_only_and_has_no_pip(
    tmp_path: Path, interpreter: InterpreterFacts, wheels: Path
) -> None:
    place = Environments(tmp_path / "envs").build(lock_of(alpha=wheel(wheels, "alpha")), interpreter, no_progress)
    writable = [path for path in place.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o222]
    assert writable == []
    assert _run(place, "import importlib.util as u; print(u.find_spec('pip'))") == "None"


def test_without_a_lock_the_environment_is_bare(tmp_path: Path, interpreter: InterpreterFacts) -> None:
    place = Environments(tmp_path / "envs").build(None, interpreter, no_progress)
    assert _run(place, "import sys; print(sys.version.split()[0], sys.prefix != sys.base_prefix)") == (
        f"{interpreter.version} True"
    )
    assert read_record(place)["packages"] == {}


def test_a_wrong_hash_is_final_and_leaves_nothing_ready(
    tmp_path: Path, interpreter: InterpreterFacts, wheels: Path
) -> None:
    wheel(wheels, "alpha")
    environments, lock = Environments(tmp_path / "envs"), lock_of(alpha="0" * 64)
    with pytest.raises(EnvironmentBuildError, match="DO NOT MATCH THE HASHES") as caught:
        environments.build(lock, interpreter, no_progress)
    assert not caught.value.retryable
    assert not environments.ready(lock, interpreter)


def test_a_dependency_that_the_lock_leaves_out_is_final(
    tmp_path: Path, interpreter: InterpreterFacts, wheels: Path
) -> None:
    wheel(wheels, "beta")
    lock = lock_of(alpha=wheel(wheels, "alpha", "Requires-Dist: beta\n"))
    with pytest.raises(EnvironmentBuildError, match="beta") as caught:
        Environments(tmp_path / "envs").build(lock, interpreter, no_progress)
    assert not caught.value.retryable


def test_a_source_distribution_is_never_built(tmp_path: Path, interpreter: InterpreterFacts, wheels: Path) -> None:
    source = wheels / "alpha-1.0.tar.gz"
    source.write_bytes(b"not even looked at")
    with pytest.raises(EnvironmentBuildError, match="No matching distribution") as caught:
        Environments(tmp_path / "envs").build(
            lock_of(alpha=hashlib.sha256(source.read_bytes()).hexdigest()), interpreter, no_progress
        )
    assert not caught.value.retryable


def test_an_index_that_cannot_be_reached_may_be_tried_again(
    tmp_path: Path, interpreter: InterpreterFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(EnvironmentBuildError) as caught:
        Environments(tmp_path / "envs").build(lock_of(alpha="0" * 64), interpreter, no_progress)
    assert caught.value.retryable


def test_options_in_a_lock_never_reach_pip(tmp_path: Path, interpreter: InterpreterFacts, wheels: Path) -> None:
    lock = b"--find-links /nowhere\n" + lock_of(alpha=wheel(wheels, "alpha"))
    with pytest.raises(EnvironmentBuildError, match="--find-links") as caught:
        Environments(tmp_path / "envs").build(lock, interpreter, no_progress)
    assert not caught.value.retryable
    assert not (tmp_path / "envs").exists() or not list((tmp_path / "envs").rglob("venv"))


def test_the_users_pip_settings_cannot_move_what_is_installed(
    tmp_path: Path, interpreter: InterpreterFacts, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    place = Environments(tmp_path / "envs").build(lock_of(alpha=wheel(wheels, "alpha")), interpreter, no_progress)
    assert _run(place, "import alpha; print(alpha.NAME)") == "alpha"
    assert not (tmp_path / "elsewhere").exists()


def test_builders_that_come_together_build_once(tmp_path: Path, interpreter: InterpreterFacts, wheels: Path) -> None:
    lock = lock_of(alpha=wheel(wheels, "alpha"))
    begun: list[str] = []

    def note(what: str, done: int, _total: int) -> None:
        if (what, done) == ("environment", 0):
            begun.append(what)

    with ThreadPoolExecutor(4) as pool:
        places = set(pool.map(lambda _: Environments(tmp_path / "envs").build(lock, interpreter, note), range(4)))
    assert len(places) == 1
    assert begun == ["environment"]


KILLED = """
import os, signal, sys
from pathlib import Path
from controller.inputs.environments import Environments
from controller.inputs.interpreters import Interpreters
from controller.ports import durable
from controller.ports.inputs import no_progress

def die(when, name):
    if (when, name) == ("before", "inputs.environment_ready"):
        os.kill(os.getpid(), signal.SIGKILL)

durable.install_hook(die)
base, lock = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
Environments(base).build(lock, Interpreters(base / "python.json").facts(None), no_progress)
"""


def test_a_build_that_was_killed_is_begun_again(tmp_path: Path, interpreter: InterpreterFacts, wheels: Path) -> None:
    lock = lock_of(alpha=wheel(wheels, "alpha"))
    (tmp_path / "lock").write_bytes(lock)
    words = [sys.executable, "-c", KILLED, str(tmp_path / "envs"), str(tmp_path / "lock")]
    killed = subprocess.run(words, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert killed.returncode == -signal.SIGKILL
    environments = Environments(tmp_path / "envs")
    assert not environments.ready(lock, interpreter)
    (half,) = (tmp_path / "envs").rglob("alpha.py")
    half.parent.chmod(0o755)
    half.unlink()
    assert _run(environments.build(lock, interpreter, no_progress), "import alpha; print(alpha.NAME)") == "alpha"


@pytest.mark.parametrize(
    ("errors", "retryable"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", True),
        ("WARNING: Retrying (Retry(total=0)) after connection broken\nERROR: No matching distribution found", True),
        ("ERROR: HTTP error 503 while getting x", True),
        ("ERROR: HTTP error 404 while getting x", False),
        ("ERROR: No matching distribution found for numpy==99", False),
    ],
)
def test_what_may_be_tried_again(errors: str, retryable: bool) -> None:
    error = explain_pip("", errors)
    assert error.retryable is retryable
    assert "WARNING" not in str(error)
