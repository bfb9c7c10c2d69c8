"""Several processes and one lease: exactly one of them acts, and one that lost it cannot write."""

import signal
import subprocess
import sys
from pathlib import Path

from controller.inventory.clock import SystemClock
from controller.ports.source import Key
from controller.stores import sqlite_lock
from controller.stores.sqlite import SqliteStore
from controller.stores.sqlite_read import lease_row

ROOT = Path(__file__).parents[2]

WORKER = """
import sys
from pathlib import Path
from controller.inventory.clock import SystemClock
from controller.ports.source import Key
from controller.ports.store import FencedError
from controller.stores.sqlite import SqliteStore

path, holder, ttl = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
store = SqliteStore(path, SystemClock())
print("ready", flush=True)
for line in sys.stdin:
    if line == "acquire\\n":
        lease = store.acquire("reconciler", holder, ttl)
        store.set_fence(lease)
        print("holds" if lease else "waits", flush=True)
    else:
        try:
            store.observe(Key("Experiment", "default", "digits"), holder, "x")
            print("wrote", flush=True)
        except FencedError as error:
            print(f"fenced: {error}", flush=True)
"""


class Worker:
    """A reconciler of its own process that does what it is told."""

    def __init__(self, path: Path, holder: str, ttl: float) -> None:
        command = [sys.executable, "-c", WORKER, str(path), holder, str(ttl)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        self.send("")

    def send(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, text: str) -> str:
        self.send(f"{text}\n")
        return self.answer()

    def end(self) -> None:
        self.process.communicate()


def test_of_many_at_once_exactly_one_holds_the_lease(tmp_path: Path) -> None:
    workers = [Worker(tmp_path / "state.db", f"worker-{number}", 3600) for number in range(4)]
    assert [worker.answer() for worker in workers] == ["ready"] * 4
    for _ in range(5):
        for worker in workers:
            worker.send("acquire\n")
        first = [worker.answer() for worker in workers]
        assert sorted(first) == ["holds", "waits", "waits", "waits"]
    for worker in workers:
        worker.end()


def test_a_holder_that_hangs_keeps_it_until_somebody_breaks_it_and_then_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    sleeper = Worker(path, "sleeper", 0.05)
    assert (sleeper.answer(), sleeper.ask("acquire"), sleeper.ask("write")) == ("ready", "holds", "wrote")
    sleeper.process.send_signal(signal.SIGSTOP)
    successor = Worker(path, "successor", 3600)
    assert (successor.answer(), successor.ask("acquire")) == ("ready", "waits")
    row = lease_row(path, "reconciler")
    assert row is not None
    store = SqliteStore(path, SystemClock())
    store.release(row)
    sqlite_lock.remove(sqlite_lock.file_of(path, "reconciler"))
    assert (successor.ask("acquire"), successor.ask("write")) == ("holds", "wrote")
    sleeper.process.send_signal(signal.SIGCONT)
    assert sleeper.ask("write").startswith("fenced: the lease 'reconciler' of sleeper was taken over by successor")
    assert sleeper.ask("acquire") == "waits"
    sleeper.end()
    successor.end()
    found = store.experiment(Key("Experiment", "default", "digits"))
    assert found is not None
    assert (found.spec_sha256, found.generation) == ("successor", 2)
    store.close()


def test_a_killed_holder_blocks_nobody(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    holder = Worker(path, "holder", 3600)
    assert (holder.answer(), holder.ask("acquire")) == ("ready", "holds")
    holder.process.kill()
    holder.process.communicate()
    store = SqliteStore(path, SystemClock())
    lease = store.acquire("reconciler", "next", 30)
    assert lease is not None
    assert lease.token == 2
    store.close()
