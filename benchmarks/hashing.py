"""Hashing datasets: one large file beside `openssl dgst`, and many small ones beside scandir + stat (+ sha256).

Promises: ours and the floor in turn, in one run, on the same files in the page cache; medians in s and their ratio.
Does not: measure disks.
"""

import os
import shutil
import statistics
import subprocess
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


def rows(quick: bool = False) -> tuple[Row, ...]:
    """Seconds for one large file, and for many small ones: never seen, and unchanged."""
    large, small, rounds = (4 << 20, 200, QUICK_ROUNDS) if quick else (LARGE, SMALL, ROUNDS)
    place = Path(tempfile.mkdtemp(prefix="fetchml-hashing-"))
    try:
        return (_large(place, large, rounds), *_small(place, small, rounds))
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
