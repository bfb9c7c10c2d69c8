"""Objects: many small files added, looked at again and checked out beside DVC; uploaded to S3 beside the bare client.

Promises: whole commands (a new process each, ours and DVC's) in turn, on the same files in the page cache, both copying
(no links); ours is durable when it ends (fsync), DVC's is not. The checkout of ours is a process that checks out every
file of a snapshot through the library, as a launch does. S3 is the server of tests/testbed/services, where it is up.
Does not: measure disks or networks.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import peers
from benchmarks.rows import QUICK_ROUNDS, Goal, Row, at_least, interleaved, spread

NAME = "data"
SMALL = 20_000
UPLOADS = 1_000
ROUNDS = 10
ROOT = Path(__file__).parent.parent

_CHECKOUT = """
import sys
from pathlib import Path
from controller.inputs.snapshots import export_snapshot
from controller.stores.objects import FileObjects
export_snapshot(FileObjects(Path(sys.argv[1])), sys.argv[2], Path(sys.argv[3]))
"""


def rows(quick: bool = False) -> tuple[Row, ...]:
    """Seconds for each piece of work; without peers in the tiny size."""
    count, rounds = (50, QUICK_ROUNDS) if quick else (SMALL, ROUNDS)
    dvc = None if quick else peers.program("dvc")
    with tempfile.TemporaryDirectory(prefix="fetchml-data-") as name:
        bench = _Bench(Path(name), count, dvc)
        return (*bench.rows(rounds), *_s3(20 if quick else UPLOADS, rounds))


class _Bench:
    """Two folders with the same files: one for us, one for DVC."""

    def __init__(self, place: Path, count: int, dvc: Path | None) -> None:
        self._count, self._dvc = count, dvc
        self._environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "XDG_DATA_HOME": str(place / "home"),
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(place / "site"),
        }
        self._ours, self._theirs = place / "ours", place / "theirs"
        for folder in (self._ours, self._theirs):
            for number in range(count):
                file = folder / "data" / f"{number % 100:02d}" / f"{number}.bin"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(b"%d" % number * 100)
        self._sha256 = ""
        if dvc:
            self._run(self._theirs, str(dvc), "init", "--no-scm", "-q")
            self._run(self._theirs, str(dvc), "config", "cache.type", "copy")

    def rows(self, rounds: int) -> tuple[Row, ...]:
        """In the order that the work has."""
        some = f"{self._count:,} small files"
        return (
            self._row(f"add {some}, never seen", rounds, self._add, self._dvc_add, 5.0, "ml sync", "dvc add"),
            self._row(f"look at {some} again", rounds, self._sync, self._dvc_status, 4.0, "ml sync", "dvc status"),
            self._row(f"check out {some}", rounds, self._checkout, self._dvc_checkout, 3.0, "export", "dvc checkout"),
        )

    def _row(
        self,
        work: str,
        rounds: int,
        ours: Callable[[], float],
        theirs: Callable[[], float],
        goal: float,
        our_command: str,
        their_command: str,
    ) -> Row:
        seen = interleaved({"ours": ours} | ({"dvc": theirs} if self._dvc else {}), rounds)
        if not self._dvc:
            return Row(work, "s", spread(seen["ours"]), note=our_command)
        ratios = [b / a for a, b in zip(seen["ours"], seen["dvc"], strict=True)]
        goals = (at_least("times as fast as DVC", statistics.median(ratios), goal, "x"), _interval(ratios))
        return Row(work, "s", spread(seen["ours"]), peers={their_command: spread(seen["dvc"])}, goals=goals)

    def _run(self, folder: Path, *words: str) -> str:
        done = subprocess.run(
            words, cwd=folder, env=self._environment, check=True, capture_output=True, text=True, timeout=900
        )
        return done.stdout

    def _ml(self) -> float:
        began = time.perf_counter()
        self._sha256 = self._run(self._ours, str(Path(sys.executable).parent / "ml"), "sync", "data").split()[0]
        return time.perf_counter() - began

    def _add(self) -> float:
        shutil.rmtree(self._ours / ".fetchml", ignore_errors=True)
        return self._ml()

    def _sync(self) -> float:
        return self._ml()

    def _checkout(self) -> float:
        target = self._ours / "out"
        shutil.rmtree(target, ignore_errors=True)
        objects = self._ours / ".fetchml" / "objects"
        began = time.perf_counter()
        self._run(self._ours, sys.executable, "-c", _CHECKOUT, str(objects), self._sha256, str(target))
        return time.perf_counter() - began

    def _dvc_does(self, *words: str) -> float:
        began = time.perf_counter()
        self._run(self._theirs, str(self._dvc), *words)
        return time.perf_counter() - began

    def _dvc_add(self) -> float:
        for name in (".dvc/cache", ".dvc/tmp"):
            shutil.rmtree(self._theirs / name, ignore_errors=True)
        (self._theirs / "data.dvc").unlink(missing_ok=True)
        shutil.rmtree(Path(self._environment["DVC_SITE_CACHE_DIR"]), ignore_errors=True)
        return self._dvc_does("add", "-q", "data")

    def _dvc_status(self) -> float:
        return self._dvc_does("status", "-q")

    def _dvc_checkout(self) -> float:
        shutil.rmtree(self._theirs / "data")
        return self._dvc_does("checkout", "-q")


def _interval(ratios: list[float]) -> Goal:
    """The 95 % interval of the median, by order statistics (values 2 to 9 of 10: 97.9 %)."""
    ordered = sorted(ratios)
    cut = max(0, int(len(ordered) / 2 - 0.98 * len(ordered) ** 0.5))
    low, high = ordered[cut], ordered[-1 - cut]
    return Goal("95 % interval of that above 1", low > 1, f"{low:.3g} to {high:.3g}")


def _s3(count: int, rounds: int) -> tuple[Row, ...]:
    """Small objects, uploaded by us and by the bare client: one after the other, and with as many threads."""
    from tests.testbed import s3

    if not s3.answers():
        print("S3 is left out: tests/testbed/services up")
        return ()
    import obstore

    from controller.stores.objects_s3 import THREADS, S3Objects
    from controller.stores.objects_s3_place import open_store

    pieces = [b"%d" % number * 500 for number in range(count)]

    def ours() -> float:
        store = S3Objects(s3.fresh_place())
        began = time.perf_counter()
        with store.batch():
            for piece in pieces:
                store.put(piece)
        return time.perf_counter() - began

    def bare(threads: int) -> float:
        store = open_store(s3.fresh_place())
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda number: obstore.put(store, f"{number:064x}", pieces[number]), range(count)))
        return time.perf_counter() - began

    in_threads = f"obstore, {THREADS} threads"
    seen = interleaved({"ours": ours, "floor": lambda: bare(1), "peer": lambda: bare(THREADS)}, rounds)
    ratio = statistics.median(b / a for a, b in zip(seen["ours"], seen["peer"], strict=True))
    return (
        Row(
            f"upload {count:,} small objects to S3",
            "s",
            spread(seen["ours"]),
            spread(seen["floor"]),
            "obstore.put in a loop",
            peers={in_threads: spread(seen["peer"])},
            goals=(at_least(f"speed of {in_threads}", ratio, 0.9, "x"),),
        ),
    )
