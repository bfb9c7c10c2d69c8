"""Ctrl-C while a dataset is hashed: it ends, and leaves no half entry in the cache."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HASH = """
import os, sys
from pathlib import Path
from controller.inputs.beneath import folder
from controller.inputs.hashing import measure
from controller.inputs.statcache import StatCache

os.sched_getaffinity = lambda pid: range(2)  # two threads, whatever machine this is

def say(done, total):
    os.write(1, b".")

with folder(sys.argv[1]) as root:
    measure(root, ["data"], StatCache(Path(sys.argv[2])), b"data", say)
"""


@pytest.mark.parametrize("files", [1, 3])
def test_an_interrupt_does_not_wait_for_the_rest_of_a_large_file(tmp_path: Path, files: int) -> None:
    (tmp_path / "data").mkdir()
    for number in range(files):
        with (tmp_path / "data" / str(number)).open("wb") as file:
            file.truncate(1 << 40)  # a hole: nothing on the disk, and a quarter of an hour to hash
    words = [sys.executable, "-c", HASH, str(tmp_path), str(tmp_path / "cache")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    try:
        assert process.stdout is not None
        assert process.stdout.read(1) == b".", "it is at work"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert said.endswith(b"KeyboardInterrupt\n")
    assert not (tmp_path / "cache").exists() or list((tmp_path / "cache").iterdir()) == []


WRITE = """
import signal, sys
from pathlib import Path
from controller.inputs import statcache

real = statcache._write
def interrupted(file, *arguments):
    real(file, *arguments)
    raise KeyboardInterrupt
statcache._write = interrupted
statcache.StatCache(Path(sys.argv[1])).save(b"place", [], b"", bytes(32), 0)
"""


def test_an_interrupt_while_the_cache_is_written_leaves_no_half_entry(tmp_path: Path) -> None:
    words = [sys.executable, "-c", WRITE, str(tmp_path / "cache")]
    done = subprocess.run(
        words, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, timeout=60
    )
    assert done.stderr.endswith(b"KeyboardInterrupt\n")
    assert list((tmp_path / "cache").iterdir()) == []
