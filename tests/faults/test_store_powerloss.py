"""Power lost at any moment: what was acknowledged before is found afterwards, whatever became of the writes not synced.

A kill test cannot show this (the kernel keeps a killed process's writes), so the writer's system calls are recorded and
replayed onto a model of a disk, which then loses power before and after every sync and at every acknowledgement.
"""

import random
import shutil
import sys
from pathlib import Path

import pytest

from controller.ports.store import StoreError
from controller.stores import sqlite_read
from controller.stores.sqlite import SqliteStore
from tests.fakes.clock import FakeClock
from tests.fixtures.store import writer
from tests.fixtures.store.powerloss import Disk, Event, trace

ROOT = Path(__file__).parents[2]
OPERATIONS = len(writer.operations())
BACKUP = next(number for number, operation in enumerate(writer.operations(), 1) if operation is writer._backup)

pytestmark = pytest.mark.needs("strace")


def recorded(tmp_path: Path, *options: str) -> list[Event]:
    """What the writer does, from making the store to its last operation."""
    (tmp_path / "disk").mkdir()
    command = [sys.executable, "-m", "tests.fixtures.store.writer", str(tmp_path / "disk" / "state.db"), *options]
    return trace(command, tmp_path / "strace.log", ROOT)


def found(image: Path) -> object:
    """The store that comes up after the power is back, or why none does."""
    try:
        store = SqliteStore(image / "state.db", FakeClock(), boot_id="boot")
        try:
            return writer.contents(store)
        finally:
            store.close()
    except StoreError as error:
        return error


def losses(tmp_path: Path, events: list[Event]) -> tuple[int, list[str]]:
    """Lose power at every point that matters: how many there were, and what was lost."""
    disk, acknowledged, points, lost = Disk(tmp_path / "disk"), 0, 0, []
    expected = [writer.expected(count) for count in range(OPERATIONS + 1)]

    def lose(where: str) -> None:
        nonlocal points
        for chance in (None, random.Random(points)):  # noqa: S311  # seeded, so that a failure can be repeated
            points += 1
            image = tmp_path / f"image-{points}"
            disk.lose_power(image, chance)
            copy_is_there = acknowledged < BACKUP or sqlite_read.counts(image / "copy.db")
            if not copy_is_there or found(image) not in expected[acknowledged : acknowledged + 2]:
                lost.append(f"{where}, {acknowledged} acknowledged, {'synced only' if chance is None else 'torn'}")
            shutil.rmtree(image)

    for event in events:
        if event.call in {"fsync", "fdatasync"}:
            lose(f"before {event.call} of {event.strings[0]!r}")
        disk.do(event)
        if event.call in {"fsync", "fdatasync"}:
            lose(f"after {event.call} of {event.strings[0]!r}")
        if event.call == "write" and event.strings[-1].startswith(b"ack "):
            acknowledged = int(event.strings[-1].split()[1])
            lose("at an acknowledgement")
    assert acknowledged == OPERATIONS
    return points, lost


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    points, lost = losses(tmp_path, recorded(tmp_path))
    assert lost == []
    assert points > 300
    print(f"store: power lost {points} times, 0 acknowledged writes lost")


def test_the_model_sees_a_store_that_does_not_sync(tmp_path: Path) -> None:
    _, lost = losses(tmp_path, recorded(tmp_path, "--synchronous", "NORMAL"))
    assert any("at an acknowledgement" in loss for loss in lost)
