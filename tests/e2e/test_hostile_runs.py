"""Programs that hide from their limits, or that leave what nobody can clear away. Each attack first works unguarded."""

import os
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.identity.run_folder import run_folder
from controller.ports import folders
from controller.ports.runtime import Observed
from controller.reconcile.collect import count_files
from controller.runtimes import measure
from controller.runtimes.process import seccomp
from tests.e2e.cli import Repo, spec
from tests.unit.runtimes.bench import LIMITS, OPEN_BOOT, Bench, log_of

MIB = 1 << 20
ROOMY = replace(LIMITS, memory=1 << 30, disk=1 << 30)
TIGHT = replace(LIMITS, memory=100 * MIB, disk=10 * MIB)
WAIT = "\nimport time; time.sleep(4)\nprint('breached')"


@pytest.fixture(
    params=[
        pytest.param("bwrap", marks=pytest.mark.needs("bwrap")),
        pytest.param("unshare", marks=pytest.mark.needs("userns")),
    ]
)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A runtime with each launcher that isolates."""
    made = Bench(tmp_path, request.param)
    yield made
    made.close()


def attack(bench: Bench, code: str, **changes: Any) -> tuple[bool, Observed]:
    """Did it get through?"""
    attempt = bench.python(code, run=f"attack-{len(bench.made):08d}", **changes)
    attempt = replace(attempt, argv=(*attempt.argv, "$(results)"))
    seen = bench.run(attempt)
    return "breached" in log_of(attempt), seen


DISK = {
    "unlinked": (
        "import os, sys\nfiles = [open(f'{sys.argv[1]}/{n}', 'wb') for n in range(6)]\n"
        "for file in files: os.unlink(file.name); file.write(b'x' * (8 << 20)); file.flush()"
    ),
    "empty": "import sys\nfor n in range(6000): open(f'{sys.argv[1]}/{n}', 'wb').close()",
    "deeper-than-a-path": (
        "import os, sys\nos.chdir(sys.argv[1])\n"
        "for _ in range(30): os.mkdir('d' * 200); os.chdir('d' * 200)\n"
        "for n in range(6): open(str(n), 'wb').write(b'x' * (8 << 20))"
    ),
}


@pytest.mark.parametrize("code", DISK.values(), ids=DISK.keys())
def test_what_a_run_hides_on_disk_counts(bench: Bench, code: str) -> None:
    limits = ROOMY if "chdir" not in code else None
    if limits is not None:
        assert attack(bench, code + WAIT.replace("4", "0"), limits=limits)[0]
    breached, seen = attack(bench, code + WAIT, limits=TIGHT)
    assert (breached, seen.exit_code, seen.reason) == (False, 137, "DiskLimitExceeded")


def test_memory_in_files_without_a_name_counts(bench: Bench) -> None:
    code = (
        "import os\nfds = [os.memfd_create(str(n)) for n in range(6)]\n"
        "for _ in range(40):\n for fd in fds: os.write(fd, b'x' * (1 << 20))"
    )
    assert attack(bench, code + WAIT.replace("4", "0"), limits=ROOMY)[0]
    breached, seen = attack(bench, code + WAIT, limits=replace(ROOMY, memory=100 * MIB))
    assert (breached, seen.exit_code, seen.reason) == (False, 137, "OutOfMemory")


@pytest.mark.parametrize("call", ["shmget(0, 4096, 0o1600)", "msgget(0, 0o1600)", "semget(0, 1, 0o1600)"])
def test_memory_that_outlives_its_mapping_is_not_given(
    bench: Bench, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"import ctypes\nif ctypes.CDLL(None).{call} >= 0: print('breached')"
    with monkeypatch.context() as open_door:
        open_door.setattr(seccomp, "program", lambda: (None, "switched off by a test"))
        assert attack(bench, code)[0]
    assert not attack(bench, code)[0]


def test_a_folder_that_cannot_be_looked_into_is_an_error(tmp_path: Path) -> None:
    """The measure says so instead of counting nothing: what hides from it ends the run."""
    _nest(tmp_path, 30, "d" * 200)
    with pytest.raises(OSError, match="too long"):
        measure.folder_bytes(str(tmp_path))


def _nest(folder: Path, depth: int, name: str = "d") -> None:
    """Folders in folders, deeper than a path can say."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("leaf", os.O_CREAT, 0o000, dir_fd=here))
    os.close(here)


def test_deep_folders_are_removed_with_few_descriptors(tmp_path: Path) -> None:
    place = tmp_path / "deep"
    place.mkdir()
    _nest(place, 3000)
    (place / "lifted-0").write_text("in the way")
    (place / "lifted-1").mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 40, hard))
    try:
        folders.remove(place)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not place.exists()


def test_removing_follows_no_link_and_opens_locked_folders(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    place = tmp_path / "place"
    (place / "locked" / "inner").mkdir(parents=True)
    (place / "link").symlink_to(precious)
    (place / "locked" / "link").symlink_to(precious)
    os.mkfifo(place / "locked" / "inner" / "fifo")
    (place / "locked" / "inner").chmod(0)
    (place / "locked").chmod(0)
    folders.remove(place)
    assert not place.exists()
    assert (precious / "file").read_text() == "kept"
    (tmp_path / "itself").symlink_to(precious)
    folders.remove(tmp_path / "itself")
    assert (precious / "file").exists()


def test_deep_folders_are_counted_and_listed(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "out.txt").write_text("x")
    _nest(tmp_path / "results", 3000)
    assert count_files(tmp_path) == 1
    assert list(run_folder(tmp_path)) == ["results/out.txt"]
    folders.remove(tmp_path / "results")


DEEP = "import os; os.chdir(os.environ[{place!r}]); [(os.mkdir('d'), os.chdir('d')) for _ in range(3000)]"


@pytest.mark.parametrize("place", ["FETCHML_RESULTS", "FETCHML_CHECKPOINTS"])
def test_a_run_that_leaves_deep_folders_ends_and_verifies(project: Repo, place: str) -> None:
    """Walking them by recursion failed for ever: the run stayed Running, and kept its room."""
    (project.root / "specs" / "first.yaml").unlink()
    project.write("specs/deep.yaml", spec("deep", DEEP.format(place=place), "  checkpoint: {}\n"))
    try:
        project.ml("reconcile", "specs", "--once")
        assert project.phase("deep") in {"Succeeded", "Failed"}  # Failed: the supervisor may look while it digs
        assert ": verified" in project.ml("verify", "deep").out
    finally:
        folders.remove(project.root / ".fetchml" / "experiments")  # pytest's own cleaning recurses


def test_a_workspace_of_deep_folders_is_removed(project: Repo) -> None:
    project.write("code/first.py", DEEP.format(place="PWD"))
    project.git("add", "-A")
    project.git("commit", "-qm", "Dig")
    text = (project.root / "specs/first.yaml").read_text()
    project.write("specs/first.yaml", text[: text.index("  outputs:")] + text[text.index("  resources:") :])
    project.git("commit", "-qam", "Ask for nothing")
    project.ml("run", "specs/first.yaml", code=None)
    assert project.phase("first") in {"Succeeded", "Failed"}  # Failed: the supervisor may look while it digs
    assert not list(project.root.glob(".fetchml/experiments/*/attempts/*/workspace"))


CONTAINED = (
    "import os\n"
    "results = os.environ['FETCHML_RESULTS']\n"
    "for name in ('run_manifest', 'attestation.dsse', 'plan'): open(f'{results}/{name}.json', 'w').write('{}')\n"
    "for change in (lambda: open(os.environ['FETCHML_PARAMS'], 'w'), lambda: os.rename(results, '/elsewhere'),\n"
    "               lambda: os.link(os.environ['FETCHML_PARAMS'], results + '/linked'), lambda: os.rmdir(results)):\n"
    "    try: change()\n"
    "    except OSError: continue\n"
    "    print('breached')"
)


@pytest.mark.needs("bwrap")
def test_records_planted_by_a_run_are_only_results(project: Repo) -> None:
    (project.root / "specs" / "first.yaml").unlink()
    project.write("specs/forger.yaml", spec("forger", f"exec({CONTAINED!r})"))
    project.ml("run", "specs/forger.yaml")
    assert "breached" not in project.ml("logs", "forger").out
    checks = project.ml("verify", "forger").out
    assert "3 result files are not covered by the statement" in checks


def test_the_guard_of_the_measure_is_what_ends_the_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the measure blinded, files without a name get through."""
    from controller.runtimes.process import runtime

    blind = OPEN_BOOT.replace(
        "namespaces.confine = lambda seccomp: None",
        "from controller.runtimes import measure; measure.unlinked_bytes = lambda members: {}",
    )
    monkeypatch.setattr(runtime, "BOOT", blind)
    assert attack(bench, DISK["unlinked"] + WAIT.replace("4", "2"), limits=TIGHT)[0]
