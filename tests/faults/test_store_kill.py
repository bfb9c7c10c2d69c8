"""SIGKILL at every durable step of the store, and at any system call: what was acknowledged is there, nothing half."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from controller.ports import durable
from controller.ports.source import Key
from controller.stores import migrations, sqlite_read
from controller.stores.sqlite import SqliteStore
from tests.fakes.clock import FakeClock
from tests.fixtures.store import make, writer

ROOT = Path(__file__).parents[2]
ON_OPENING = {"store.create", "store.migrate"}
STEPS = sorted(name for name in durable.STEPS if name.startswith("store."))


def start(*arguments: object, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """The writer, its acknowledgements on stdout."""
    command = [*prefix, sys.executable, "-m", "tests.fixtures.store.writer", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def run(*arguments: object, prefix: tuple[str, ...] = ()) -> tuple[int | None, list[str]]:
    """Let the writer end or be killed: its exit status, and what it acknowledged."""
    process = start(*arguments, prefix=prefix)
    output, _ = process.communicate(timeout=120)
    return process.returncode, [line.removeprefix("ack ") for line in output.splitlines()]


def look(path: Path) -> dict[str, object]:
    """The store as the next process finds it."""
    store = SqliteStore(path, FakeClock(), boot_id="boot")
    try:
        return writer.contents(store)
    finally:
        store.close()


def test_the_writer_does_all_there_is_to_do(tmp_path: Path) -> None:
    status, acknowledged = run(tmp_path / "state.db")
    assert (status, acknowledged[-1]) == (0, str(len(writer.operations())))
    assert look(tmp_path / "state.db") == writer.expected(len(writer.operations()))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", [step for step in STEPS if step not in ON_OPENING])
def test_killed_at_a_step(step: str, when: str, tmp_path: Path) -> None:
    status, acknowledged = run(tmp_path / "state.db", "--kill", when, step)
    assert status == -signal.SIGKILL, f"no operation of the writer takes {step}"
    done = int(acknowledged[-1]) + (when == "after")
    assert look(tmp_path / "state.db") == writer.expected(done)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_it_is_made(when: str, tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    assert run(path, "--kill", when, "store.create") == (-signal.SIGKILL, [])
    assert run(path)[0] == 0
    assert look(path) == writer.expected(len(writer.operations()))


MIGRATING = """
import os, signal, sys
from pathlib import Path
from controller.ports import durable
from controller.stores import migrations
from controller.stores.sqlite import SqliteStore
from tests.fakes.clock import FakeClock

def note(db): db.table("runs").add_column("note", str, not_null_default="")

migrations.STEPS = (*migrations.STEPS, ("next", note))
kill = tuple(sys.argv[2:])
durable.install_hook(lambda *now: os.kill(os.getpid(), signal.SIGKILL) if now == kill else None)
SqliteStore(Path(sys.argv[1]), FakeClock())
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["store.backup", "store.migrate"])
def test_killed_while_it_migrates(step: str, when: str, tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    make.restore((make.FOLDER / f"v{migrations.latest()}.sql").read_text(encoding="utf-8"), path)
    command = [sys.executable, "-c", MIGRATING, str(path)]
    killed = subprocess.run([*command, when, step], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(path)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        columns = [row[1] for row in connection.execute("PRAGMA table_info(runs)")]
    migrated = (step, when) == ("store.migrate", "after")
    assert (version, "note" in columns) == (migrations.latest() + migrated, migrated)
    copies = [file for file in (tmp_path / "backups").iterdir() if not file.name.startswith(".")]
    assert len(copies) == (0 if (step, when) == ("store.backup", "before") else 1)
    assert all(sqlite_read.counts(copy) == {"active": 1, "succeeded": 1} for copy in copies)
    subprocess.run(command, cwd=ROOT, check=True)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*), max(note) FROM runs").fetchone() == (2, "")


def test_killed_at_any_moment_with_many_writers(tmp_path: Path) -> None:
    """The moment is chosen by what was acknowledged so far, so that it falls anywhere in a later transaction."""
    points = 12
    for point in range(points):
        path = tmp_path / f"{point}.db"
        process = start(path, "--threads", "4")
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(5 + 17 * point)]
        process.send_signal(signal.SIGKILL)
        seen += process.communicate()[0].splitlines(keepends=True)
        acknowledged: dict[str, int] = {}
        for line in seen:
            if line.startswith("ack t") and line.endswith("\n"):
                acknowledged[line.split()[1]] = int(line.split()[2])
        store = SqliteStore(path, FakeClock())
        for name, count in acknowledged.items():
            row = store.experiment(Key("Experiment", "default", name))
            assert row is not None
            assert row.generation in {count, count + 1}
            assert row.spec_sha256 == f"sha256:{row.generation}"
        store.close()
    print(f"store: {points} kills among 4 writers, 0 acknowledged writes lost")


def strace(calls: str, number: int) -> tuple[str, ...]:
    """Run under strace and be killed on entering the `number`th of these system calls."""
    return (
        "strace",
        "-f",
        "-o",
        os.devnull,
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:signal=SIGKILL:when={number}",
    )


@pytest.mark.needs("strace")
def test_killed_at_a_system_call_and_again_while_it_recovers(tmp_path: Path) -> None:
    calls = "pwrite64,fdatasync,fsync,ftruncate,unlink"
    kills = recoveries = 0
    for number in (1, 2, 3, 5, 9, 15, 24, 38, 55, 80, 110, 150, 200, 260, 320):
        path = tmp_path / str(number) / "state.db"
        status, acknowledged = run(path, prefix=strace(calls, number))
        kills += status != 0
        done = int(acknowledged[-1]) if acknowledged else 0
        for again in (1, 2, 4, 7):
            copy = tmp_path / f"{number}-{again}"
            shutil.copytree(path.parent, copy)
            status, _ = run(copy / "state.db", "--only-open", prefix=strace(calls, again))
            recoveries += status != 0
            assert look(copy / "state.db") in [writer.expected(done), writer.expected(done + 1)]
        assert look(path) in [writer.expected(done), writer.expected(done + 1)]
    assert kills == 15
    assert recoveries > 15
    print(f"store: {kills} kills at system calls and {recoveries} more while recovering, 0 acknowledged writes lost")


def test_every_step_of_the_store_was_killed() -> None:
    """The parameters above are the registry itself; this says which they were."""
    assert {"store.commit", "store.intend", "store.finish", *ON_OPENING} <= set(STEPS)
    print(f"store: {len(STEPS)} durable steps, {2 * len(STEPS)} kills")
