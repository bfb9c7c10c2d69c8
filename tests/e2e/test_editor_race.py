"""People save a spec while its status is written all the time: no save and no status may be lost.

The editor is a process of its own. Each save carries the next number and must be there before the next is made; once
everybody is quiet the file holds the last save, whole, with the last status below it.
"""

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from controller.inventory.clock import SystemClock
from controller.ports.source import Key
from controller.sources import exchange
from controller.sources.folder import FolderSource
from tests.fakes.source import spec

SAVES = int(os.environ.get("RACE_SAVES", "600"))
MEETINGS = 12  # status writes that must have got through between two saves: fewer would be no race
KEY = Key("Experiment", "default", "raced")

EDITOR = r'''
import os, random, re, sys, time

path, how, saves, enough = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
lost = number = 0
give_up = time.monotonic() + 120


def body(number):
    with open(path, "rb") as file:
        return re.sub(rb"seed: \d+", b"seed: %d" % number, file.read())


def save_in_place(number):
    file = open(path, "r+b")  # reads and writes through one descriptor, so that nothing falls between
    data = re.sub(rb"seed: \d+", b"seed: %d" % number, file.read())
    file.seek(0)
    file.truncate()
    file.write(data[: len(data) // 2])
    file.flush()
    if number % 7 == 0:
        time.sleep(0.001)
    file.write(data[len(data) // 2 :])
    file.close()


def save_truncating(number):
    data = body(number)
    with open(path, "wb") as file:
        file.write(data)


def save_by_rename(number):
    data = body(number)
    with open(path + "~new", "wb") as file:
        file.write(data)
    os.rename(path + "~new", path)


def save_with_backup(number):
    """vim's default: the old file becomes a backup, a new one is written under the name."""
    data = body(number)
    os.rename(path, path + "~")
    with open(path, "wb") as file:
        file.write(data)


def is_there(number):
    """For an instant the file may be the one from before the save, on its way to be exchanged back."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        with open(path, "rb") as file:
            if b"seed: %d\n" % number in file.read():
                return True
    return False


ways = {"place": save_in_place, "truncate": save_truncating, "rename": save_by_rename, "backup": save_with_backup}
rounds = list(ways.values()) if how == "mixed" else [ways[how]]
while number < saves or not (os.path.exists(enough) or time.monotonic() > give_up):
    number += 1
    rounds[number % len(rounds)](number)
    time.sleep(random.random() * 0.006)
    if not is_there(number):
        lost += 1
        print("lost", number, file=sys.stderr)
print(lost, number)
'''


def _write_status_until(source: FolderSource, stop: threading.Event, enough: Path) -> tuple[int, int]:
    """(begun, got through) while the editor saves; `enough` appears once the race was one, however slow the machine."""
    written = 0
    tried = 0
    while not stop.is_set():
        source.poll(frozenset({"raced.yaml"}))
        for document in source.get(KEY):
            tried += 1
            written += source.write_status(document, {"phase": "Running", "run": {"id": f"r{tried}"}})
        if written >= MEETINGS:
            enough.touch()
    return tried, written


@pytest.mark.needs("linux")
@pytest.mark.parametrize("how", ["rename", "place", "truncate", "backup", "mixed"])
def test_no_save_and_no_status_is_lost(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    collisions: list[int] = []
    put_back = exchange._put_back
    monkeypatch.setattr(exchange, "_put_back", lambda *names: (collisions.append(1), put_back(*names))[1])
    folder, enough = tmp_path / "specs", tmp_path / "enough"
    folder.mkdir()
    path = folder / "raced.yaml"
    path.write_text(spec("raced", extra="  seed: 0\n  description: " + "x" * 2000 + "\n"))
    source = FolderSource(folder, SystemClock())
    source.poll()
    command = [sys.executable, "-c", EDITOR, str(path), how, str(SAVES), str(enough)]
    stop = threading.Event()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as editor:
        ended = threading.Thread(target=lambda: (editor.wait(), stop.set()))
        ended.start()
        tried, written = _write_status_until(source, stop, enough)
        ended.join()
        assert editor.stdout is not None
        assert editor.stderr is not None
        said = editor.stderr.read()
        lost, saves = editor.stdout.read().split()
    print(
        f"{how}: {saves} saves, {tried} status writes begun, {written} written, "
        f"{len(collisions)} saves met in the exchange and put back, {lost} saves lost"
    )
    assert (lost, said) == ("0", "")
    assert written >= MEETINGS, "the race was no race"
    _the_last_word_is_there(source, path, f"seed: {saves}\n")


def _the_last_word_is_there(source: FolderSource, path: Path, last: str) -> None:
    """After the dust has settled: the last save, whole, and the status of now."""
    deadline = time.monotonic() + 30
    done = False
    while not done and time.monotonic() < deadline:
        source.poll()
        done = any(source.write_status(document, {"phase": "Succeeded"}) for document in source.get(KEY))
    text = path.read_text()
    assert last in text
    assert "description: " + "x" * 2000 + "\n" in text
    assert re.findall(r"phase: (\w+)", text) == ["Succeeded"]
    visible = {item.name for item in path.parent.iterdir()} - {"raced.yaml~"}
    assert visible == {"raced.yaml"}
