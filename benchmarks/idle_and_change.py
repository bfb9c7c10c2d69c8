"""A folder of 1,000, 10,000 and 100,000 specs: one change, an idle rescan, and memory.

Promises: one process for each size, asked in turn, so that a busy machine disturbs all of them alike; medians and
spread of at least ten rounds; counts (specs parsed, files read) beside the times. A change is measured from the moment
the file is saved until its document is in the caller's hands (poll with the hint of the watcher, then get). The floor
of a rescan is scandir and stat of the same files.
Does not: measure what is decided about the document, or how fast the kernel tells of a save.
"""

import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.rows import QUICK_ROUNDS, ROUNDS, Row, Spread, at_most, spread
from controller.api.experiment import Experiment
from controller.inventory.clock import SystemClock
from controller.ports.source import Key
from controller.sources import files
from controller.sources.folder import FolderSource

NAME = "idle_and_change"
SIZES = (1_000, 10_000, 100_000)
GOAL_CHANGE_SECONDS = 0.05
GOAL_RATIO = 1.5
GOAL_MEMORY = 50 * 2**20
GOAL_IDLE_CPU = 0.01
RESCAN_SECONDS = 60
PER_FOLDER = 1_000
_SPEC = """\
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata: {{name: digits-{n}, labels: {{project: vision}}}}
spec:
  command: [python, train.py, --lr, $(params.lr)]
  parameters: {{lr: 1e-3}}
  seed: {seed}
"""


def _path(number: int) -> str:
    return f"team-{number // PER_FOLDER:03d}/digits-{number:06d}.yaml"


def _make(root: Path, size: int) -> None:
    for number in range(size):
        path = root / _path(number)
        if number % PER_FOLDER == 0:
            path.parent.mkdir()
        path.write_text(_SPEC.format(n=number, seed=0))


def _rss() -> int:
    gc.collect()
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


class _Child:
    """What runs in the process of one size."""

    def __init__(self, root: Path, size: int) -> None:
        self.root, self.size, self.reads, self.round = root, size, 0, 0
        self.source = FolderSource(root, SystemClock())
        read_all = files.read_all

        def counted(descriptor: int) -> bytes:
            self.reads += 1
            return read_all(descriptor)

        files.read_all = counted

    def cold(self) -> dict[str, Any]:
        """The first look; a second one reads again what was written within the tick of the first."""
        seconds, change = _timed(self.source.poll)
        self.source.poll()
        return {"parsed": change.parsed, "seconds": seconds, "rss": _rss()}

    def change(self) -> dict[str, Any]:
        """Save one spec; poll with its path; get its document."""
        self.round += 1
        number = self.round * 37 % self.size
        path, key = _path(number), Key("Experiment", "default", f"digits-{number}")
        (self.root / path).write_text(_SPEC.format(n=number, seed=self.round))
        self.reads = 0
        seconds, parsed = _timed(lambda: self._decide(path, key))
        return {"seconds": seconds, "parsed": parsed, "reads": self.reads}

    def _decide(self, path: str, key: Key) -> int:
        change = self.source.poll(frozenset({path}))
        (document,) = self.source.get(key)
        assert change.keys == {key}
        assert isinstance(document.model, Experiment)
        assert document.model.spec.seed == self.round
        return change.parsed

    def settle(self) -> dict[str, Any]:
        """After the changes: what was read within the tick of its save is read once more."""
        time.sleep(0.1)
        self.source.poll()
        return {}

    def rescan(self) -> dict[str, Any]:
        """Look at everything; nothing changed."""
        self.reads = 0
        seconds, change = _timed(self.source.poll, time.process_time)
        floor, _ = _timed(lambda: _stat_all(self.root), time.process_time)
        return {"seconds": seconds, "floor": floor, "parsed": change.parsed, "reads": self.reads, "rss": _rss()}


def _stat_all(root: Path) -> int:
    found = 0
    for folder in os.scandir(root):
        for item in os.scandir(folder):
            found += item.stat(follow_symlinks=False).st_size
    return found


def _timed(work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> tuple[float, Any]:
    start = clock()
    result = work()
    return clock() - start, result


def _serve(root: Path, size: int) -> None:
    child = _Child(root, size)
    for line in sys.stdin:
        print(json.dumps(getattr(child, line.strip())()), flush=True)


class _Process:
    """The other end."""

    def __init__(self, folder: Path, size: int) -> None:
        root = folder / str(size)
        root.mkdir()
        _make(root, size)
        command = [sys.executable, "-m", "benchmarks.idle_and_change", str(root), str(size)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what: str) -> dict[str, Any]:
        """Do one thing there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def rows(quick: bool = False) -> tuple[Row, ...]:
    """One change, an idle rescan, and memory, at every size."""
    sizes, rounds = ((20, 60, 100), QUICK_ROUNDS) if quick else (SIZES, ROUNDS)
    shm = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fetchml-bench-", dir=shm if shm.is_dir() else None))
    try:
        processes = {size: _Process(folder, size) for size in sizes}
        for process in processes.values():
            process.ask("cold")
        changes = _rounds(processes, "change", rounds)
        _rounds(processes, "settle", 1)
        rescans = _rounds(processes, "rescan", rounds)
        for process in processes.values():
            process.close()
    finally:
        shutil.rmtree(folder)
    return (*_changes(changes), _idle(rescans), _memory(rescans))


Measured = dict[int, list[dict[str, Any]]]


def _rounds(processes: dict[int, _Process], what: str, rounds: int) -> Measured:
    found: Measured = {size: [] for size in processes}
    for number in range(rounds + 1):
        for size, process in processes.items():
            answer = process.ask(what)
            if number:  # the first round warms up
                found[size].append(answer)
    return found


def _middle(measured: list[dict[str, Any]], what: str) -> float:
    return float(statistics.median(one[what] for one in measured))


def _milliseconds(measured: list[dict[str, Any]], what: str) -> Spread:
    return spread([one[what] * 1000 for one in measured])


def _changes(changes: Measured) -> tuple[Row, ...]:
    small, *others = changes
    parsed = {size: {one["parsed"] for one in changes[size]} for size in changes}
    return tuple(
        Row(
            f"one changed spec of {size:,}: save -> its document at hand",
            "ms",
            _milliseconds(changes[size], "seconds"),
            _milliseconds(changes[small], "seconds"),
            f"ours, of {small:,}",
            goals=(
                at_most("p50", _middle(changes[size], "seconds") * 1000, GOAL_CHANGE_SECONDS * 1000, " ms"),
                at_most(
                    f"cost of that at {small:,}",
                    _middle(changes[size], "seconds") / _middle(changes[small], "seconds"),
                    GOAL_RATIO,
                    "x",
                ),
            ),
            counters={"specs parsed for one change (most)": max(parsed[size])},
        )
        for size in others
    )


def _idle(rescans: Measured) -> Row:
    size = list(rescans)[1]
    return Row(
        f"rescan of {size:,} unchanged specs, once a minute",
        "ms CPU",
        _milliseconds(rescans[size], "seconds"),
        _milliseconds(rescans[size], "floor"),
        "scandir + stat",
        goals=(at_most("CPU", 100 * _middle(rescans[size], "seconds") / RESCAN_SECONDS, 100 * GOAL_IDLE_CPU, " %"),),
        counters={what: max(one[what] for one in rescans[size]) for what in ("parsed", "reads")},
    )


def _memory(rescans: Measured) -> Row:
    small, *_, large = rescans
    more = (rescans[large][-1]["rss"] - rescans[small][-1]["rss"]) / 2**20
    return Row(
        f"memory of {large:,} specs above that of {small:,}",
        "MiB",
        spread([more]),
        goals=(at_most("memory", more, GOAL_MEMORY / 2**20, " MiB"),),
        note=f"{more * 2**20 / (large - small):.0f} bytes a spec; Flux: about 0.16 MiB an object (published)",
    )


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]))
