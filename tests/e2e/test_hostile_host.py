"""Unlucky and clumsy operators: kills at any moment, a store or key taken away, a trust folder that was tampered with.

HOSTILE_KILLS sets how many kills (default 5); 100 and more were tried by hand.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from controller.runtimes.process import procfs, supervisor
from tests.e2e.cli import PATIENT, Repo, spec

KILLS = int(os.environ.get("HOSTILE_KILLS", "5"))
RETRY = "  scheduling: {retries: {max: 50, reasons: [SupervisorLost, RuntimeLost, NodeLost]}}\n"


def _supervisors(root: Path) -> list[int]:
    """Supervisors, and forks of them that have not become the launcher yet."""
    lines = {pid: procfs.command_line(pid) for pid in procfs.pids()}
    return [pid for pid, words in lines.items() if supervisor.MARK in words and words[-1].startswith(str(root))]


@pytest.mark.parametrize("victims", ["reconciler", "supervisors-too"])
def test_kills_at_random_moments_lose_and_double_nothing(project: Repo, victims: str) -> None:
    """After the last kill one clean pass finds every spec finished exactly once, and nothing else."""
    dice = random.Random(victims)  # noqa: S311  # no secret
    (project.root / "specs" / "first.yaml").unlink()
    texts = {
        f"k{n}": spec(f"k{n}", f"import time; print('ran'); time.sleep({n % 3 / 2})", RETRY if "too" in victims else "")
        for n in range(2 * KILLS)
    }
    for name, text in texts.items():
        project.write(f"specs/{name}.yaml", text)
    for _ in range(KILLS):
        with project.started("reconcile", "specs") as reconciler:
            started = project.folder("x").parent
            before = len(list(started.glob("*/attempts/*/attempt.json")))
            wanted = min(before + dice.randint(1, 2), len(texts))
            project.until(lambda: len(list(started.glob("*/attempts/*/attempt.json"))) >= wanted)  # noqa: B023  # called at once
            for pid in _supervisors(project.root) if "too" in victims else ():
                if dice.random() < 0.5:
                    procfs.signal_process(pid, signal.SIGKILL)
            reconciler.kill()
            reconciler.wait()
    project.ml("reconcile", "specs", "--once")
    items = project.ml("status", "-o", "json").json["items"]
    assert {item["name"]: item["phase"] for item in items} == dict.fromkeys(texts, "Succeeded")
    runs = sorted((project.root / ".fetchml" / "experiments").iterdir())
    assert [run.name.rpartition("-")[0] for run in runs] == sorted(texts)
    assert {(run / "run.log").read_text() for run in runs} == {"ran\n"}
    if victims == "reconciler":
        assert {len(json.loads((run / "run_manifest.json").read_text())["attempts"]) for run in runs} == {1}
    for name, text in texts.items():
        assert (project.root / "specs" / f"{name}.yaml").read_text().startswith(text)
    assert _supervisors(project.root) == []
    assert [path for path in project.root.rglob(".*") if _is_leftover(path)] == []


def _is_leftover(path: Path) -> bool:
    return ".git/" not in str(path) and path.name not in {".git", ".gitignore", ".fetchml"}


def test_a_restart_after_a_kill_needs_nobody(project: Repo) -> None:
    """The lease of a reconciler that was killed runs out; one that is renewed refuses the second."""
    path = project.root / "specs" / "first.yaml"
    path.write_text(spec("first", PATIENT))
    with project.started("reconcile", "specs") as first:
        run = project.running("first")
        assert "another reconciler is at work" in project.ml("reconcile", "specs", code=6).err
        first.kill()
        first.wait()
    project.go(run)
    assert f"Succeeded  {run}" in project.ml("reconcile", "specs", "--once").err
    assert len(list(project.folder(run).glob("attempts/*"))) == 1


@pytest.mark.parametrize("words", [("run", "specs/first.yaml"), ("reconcile", "specs")], ids=["run", "reconcile"])
def test_a_store_that_is_taken_away_ends_the_command(project: Repo, words: tuple[str, ...]) -> None:
    """It once tried again for ever, while it said "start again"."""
    project.write("specs/first.yaml", spec("first", PATIENT))
    with project.started(*words) as command:
        run = project.running("first")
        for path in (project.root / ".fetchml").glob("state.db*"):
            path.unlink()
        project.go(run)
        _, err = command.communicate()
        assert command.returncode == 1
    assert "state.db was removed or replaced while it was in use; nothing was written. Start again" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [("status",), ("run", "specs/first.yaml"), ("reconcile", "specs", "--once")])
def test_a_store_of_garbage_is_left_alone(project: Repo, words: tuple[str, ...]) -> None:
    store = project.root / ".fetchml" / "state.db"
    store.parent.mkdir(exist_ok=True)
    store.write_bytes(b"\x17 no database \xff" * 600)
    before = store.read_bytes()
    assert "is damaged" in project.ml(*words, code=1).err
    assert store.read_bytes() == before


def test_a_run_whose_folder_is_deleted_is_tried_again(project: Repo) -> None:
    path = project.root / "specs" / "first.yaml"
    path.write_text(spec("first", PATIENT))
    with project.started("run", str(path)) as command:
        run = project.running("first")
        shutil.rmtree(project.folder(run))
        project.until((project.folder(run) / "results").is_dir)
        assert project.running("first") == run
        project.go(run)
        _, err = command.communicate()
    assert command.returncode == 0, err
    assert f"Succeeded {run} attempt 2" in err
    assert _supervisors(project.root) == []


def test_a_supervisor_whose_folder_is_gone_ends(project: Repo) -> None:
    """It once tried to record the end every second, for ever."""
    path = project.write(
        "specs/first.yaml", spec("first", "import time; print('waiting for go', flush=True); time.sleep(1)")
    )
    with project.started("run", str(path)) as command:
        run = project.running("first")
        command.kill()
        shutil.rmtree(project.folder(run))
    project.until(lambda: not _supervisors(project.root))


def _own_key(project: Repo) -> Path:
    return next((project.root / "trust").glob("*.pub.pem"))


def _foreign(project: Repo) -> str:
    other = project.root.parent / "other"
    project.ml("init", str(other), XDG_DATA_HOME=str(project.root.parent / "data"))
    return next((other / "trust").glob("*.pub.pem")).read_text()


def test_a_tampered_trust_folder_verifies_nothing(ran: Repo, tmp_path: Path) -> None:
    """A foreign key under our name, our key under a foreign one, links, garbage, a FIFO: refused in a sentence."""
    project = Repo(tmp_path / "project")
    shutil.copytree(ran.root, project.root, symlinks=True)
    key, foreign = _own_key(project), _foreign(project)
    honest = key.read_text()
    said = []

    def verify() -> None:
        said.append(project.ml("verify", "hello", code=4))

    project.ml("verify", "hello")
    for text in (foreign, "garbage"):
        key.write_text(text)
        verify()
    key.unlink()
    key.symlink_to("/etc/passwd")
    verify()
    key.unlink()
    verify()
    key.write_text(honest)
    for name in ("renamed", "0" * 64):
        stranger = key.with_name(f"{name}.pub.pem")
        stranger.write_text(honest)
        verify()
        stranger.unlink()
    pipe = key.with_name("pipe.pub.pem")
    os.mkfifo(pipe)
    verify()
    pipe.unlink()
    assert not [result.err for result in said if "Error" in result.err]
    project.ml("verify", "hello")


IMPATIENT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, *rest):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv[1:] = ["status"]
from controller.entrypoints.cli import main
main()
"""


def test_ctrl_c_while_modules_are_imported_shows_no_traceback(project: Repo) -> None:
    done = subprocess.run([sys.executable, "-c", IMPATIENT], cwd=project.root, capture_output=True, text=True)  # noqa: PLW1510  # looked at below
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_two_commands_on_one_new_spec_start_it_once(project: Repo) -> None:
    project.write("specs/first.yaml", spec("first", PATIENT))
    with project.started("run", "specs/first.yaml") as one, project.started("run", "specs/first.yaml") as two:
        run = project.running("first")
        followers = [one, two]
        project.go(run)
        codes = [command.wait() for command in followers]
    assert codes == [0, 0]
    assert (project.folder(run) / "run.log").read_text().count("waiting for go") == 1
    assert len(list(project.folder(run).glob("attempts/*"))) == 1
