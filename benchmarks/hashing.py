"""Hashing datasets: one large file beside `openssl dgst`, and many small ones beside scandir + stat (+ sha256).

Promises: ours and the floor in turn, in one run, on the same files in the page cache; medians in s and their ratio.
Does not: measure disks.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from benchmarks.rows import QUICK_ROUNDS, Row, at_most, interleaved, spread
from controller.inputs.beneath import folder
from controller.inputs.hashing import measure
from controller.inputs.statcache import StatCache, file_clock

NAME = "hashing"

LARGE = 2 << 30
SMALL = 20_000
ROUNDS = 10

_PEAK = """
import re, sys
from pathlib import Path
from benchmarks.hashing import _ours
from controller.inputs.statcache import StatCache
_ours(Path(sys.argv[1]), ["data"], StatCache(Path(sys.argv[2])))
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""
"""VmHWM, because ru_maxrss of a new process begins with that of its parent."""


def rows(quick: bool = False) -> tuple[Row, ...]:
    """Seconds for one large file, and for many small ones: never seen, and unchanged."""
    large, small, rounds = (4 << 20, 200, QUICK_ROUNDS) if quick else (LARGE, SMALL, ROUNDS)
    place = Path(tempfile.mkdtemp(prefix="fetchml-hashing-"))
    try:
        return (_large(place, large, rounds), *_small(place, small, rounds), _memory(place, quick))
    finally:
        shutil.rmtree(place)


def _large(place: Path, size: int, rounds: int) -> Row:
    file = place / "large"
    with file.open("wb") as stream:
        for _ in range(size >> 20):
            stream.write(os.urandom(1 << 20))
    openssl = ["openssl", "dgst", "-sha256", str(file)]
    return _compare(
        f"hash one file of {size >> 20} MiB",
        lambda: _ours(place, ["large"], None),
        lambda: subprocess.run(openssl, check=True, capture_output=True),
        (rounds, "openssl dgst -sha256", 1 / 0.95),
    )


def _small(place: Path, count: int, rounds: int) -> tuple[Row, Row]:
    data = place / "small"
    for number in range(count):
        file = data / f"{number % 100:02d}" / f"{number}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d" % number * 100)
    while file_clock() <= file.stat().st_ctime_ns:
        time.sleep(0.001)
    cache = StatCache(place / "cache")
    first = _compare(
        f"hash {count:,} small files, never seen",
        lambda: _ours(place, ["small"], None),
        lambda: _floor(data, read=True),
        (rounds, "scandir + stat + sha256", None),
    )
    _ours(place, ["small"], cache)
    again = _compare(
        f"verify {count:,} small files, unchanged",
        lambda: _ours(place, ["small"], cache),
        lambda: _floor(data, read=False),
        (rounds, "scandir + stat", 2.0),
    )
    return first, again


def _memory(place: Path, quick: bool) -> Row:
    """Bytes that each further file of one folder costs, at the peak, while it is hashed for the first time."""
    few, many = (100, 1_000) if quick else (10_000, 100_000)
    for count in (few, many):
        data = place / str(count) / "data"
        data.mkdir(parents=True)
        for number in range(count):
            (data / f"{number:07d}").write_bytes(b"x")

    def peak(count: int) -> int:
        words = [sys.executable, "-c", _PEAK, str(place / str(count)), str(place / f"cache-{count}")]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
        shutil.rmtree(place / f"cache-{count}", ignore_errors=True)
        return int(subprocess.run(words, check=True, capture_output=True, env=environment).stdout) * 1024

    each = [(peak(many) - peak(few)) / (many - few) for _ in range(QUICK_ROUNDS)]
    goals = () if quick else (at_most("memory of a file", statistics.median(each), 150, " B"),)
    return Row(f"memory for each of {few:,} to {many:,} files, never seen", "B", spread(each), goals=goals)


def _ours(place: Path, parts: list[str], cache: StatCache | None) -> None:
    with folder(str(place)) as root:
        measure(root, parts, cache, "/".join(parts).encode(), lambda _done, _total: None)


def _floor(place: Path, *, read: bool) -> None:
    with os.scandir(place) as listing:
        for entry in listing:
            if entry.is_dir(follow_symlinks=False):
                _floor(Path(entry.path), read=read)
                continue
            entry.stat(follow_symlinks=False)
            if read:
                with open(entry.path, "rb") as file:  # noqa: PTH123  # the floor makes no Path objects
                    sha256(file.read()).digest()


def _compare(
    work: str, ours: Callable[[], object], floor: Callable[[], object], against: tuple[int, str, float | None]
) -> Row:
    """`against`: rounds, what the floor is, and how many times it we may take."""
    rounds, floor_is, limit = against
    seen = interleaved({"ours": lambda: _seconds(ours), "floor": lambda: _seconds(floor)}, rounds)
    ratio = statistics.median(a / b for a, b in zip(seen["ours"], seen["floor"], strict=True))
    goals = (at_most("ratio to the floor", ratio, limit, "x"),) if limit else ()
    return Row(work, "s", spread(seen["ours"]), spread(seen["floor"]), floor_is, goals=goals)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
