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
from typing import Any

from controller.inputs.beneath import folder
from controller.inputs.hashing import measure
from controller.inputs.statcache import StatCache, file_clock

NAME = "hashing"

LARGE = 512 << 20
SMALL = 20_000
ROUNDS = 10


def run(large: int = LARGE, small: int = SMALL, rounds: int = ROUNDS) -> dict[str, Any]:
    """One row for each case: {case: {ours, floor, ratio, spread, floor_is}} (seconds; ratio = ours / floor)."""
    place = Path(tempfile.mkdtemp(prefix="fetchml-hashing-"))
    try:
        return {**_large(place, large, rounds), **_small(place, small, rounds)}
    finally:
        shutil.rmtree(place)


def _large(place: Path, size: int, rounds: int) -> dict[str, Any]:
    file = place / "large"
    with file.open("wb") as stream:
        for _ in range(size >> 20):
            stream.write(os.urandom(1 << 20))
    openssl = ["openssl", "dgst", "-sha256", str(file)]
    return {
        f"one file of {size >> 20} MiB": _compare(
            lambda: _ours(place, ["large"], None),
            lambda: subprocess.run(openssl, check=True, capture_output=True),
            rounds,
            "openssl dgst -sha256",
        )
    }


def _small(place: Path, count: int, rounds: int) -> dict[str, Any]:
    data = place / "small"
    for number in range(count):
        file = data / f"{number % 100:02d}" / f"{number}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d" % number * 100)
    while file_clock() <= file.stat().st_ctime_ns:
        time.sleep(0.001)
    cache = StatCache(place / "cache")
    rows = {
        f"{count} small files, first": _compare(
            lambda: _ours(place, ["small"], None), lambda: _floor(data, read=True), rounds, "scandir + stat + sha256"
        )
    }
    _ours(place, ["small"], cache)
    rows[f"{count} small files, unchanged"] = _compare(
        lambda: _ours(place, ["small"], cache), lambda: _floor(data, read=False), rounds, "scandir + stat"
    )
    return rows


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


def _compare(ours: Callable[[], object], floor: Callable[[], object], rounds: int, floor_is: str) -> dict[str, Any]:
    pairs = [(_seconds(ours), _seconds(floor)) for _ in range(rounds)]
    mine, its = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
    ratios = [pair[0] / pair[1] for pair in pairs]
    spread = [round(min(ratios), 3), round(max(ratios), 3)]
    ratio = statistics.median(ratios)
    return {"ours": mine, "floor": its, "ratio": round(ratio, 3), "spread": spread, "floor_is": floor_is}


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    for case, row in run().items():
        print(case, row)
