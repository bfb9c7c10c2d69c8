"""The work queue, as client-go's: deduplicated, never twice at once, and with delays."""

import threading

from controller.ports.source import Key
from controller.reconcile.queue import WorkQueue
from tests.fakes.clock import FakeClock
from tests.unit.reconcile.bench import key

A, B = key("a"), key("b")


def queue() -> tuple[WorkQueue, FakeClock]:
    clock = FakeClock()
    return WorkQueue(clock.monotonic), clock


def take(waiting: WorkQueue) -> Key | None:
    """What is ready now."""
    return waiting.get(timeout=0)


def test_a_key_that_is_added_twice_is_worked_on_once() -> None:
    waiting, _ = queue()
    waiting.add(A)
    waiting.add(A)
    waiting.add(B)
    assert [take(waiting), take(waiting), take(waiting)] == [A, B, None]


def test_a_key_that_is_added_while_it_is_worked_on_comes_once_more_afterwards() -> None:
    waiting, _ = queue()
    waiting.add(A)
    assert take(waiting) == A
    waiting.add(A)
    waiting.add(A)
    assert take(waiting) is None, "never twice at once"
    waiting.done(A)
    assert take(waiting) == A
    waiting.done(A)
    assert take(waiting) is None
    assert not waiting.busy()


def test_the_earliest_of_several_times_counts() -> None:
    waiting, clock = queue()
    waiting.add_after(A, 10)
    waiting.add_after(A, 5)
    waiting.add_after(A, 20)
    assert take(waiting) is None
    clock.advance(5)
    assert take(waiting) == A
    waiting.done(A)
    clock.advance(60)
    assert take(waiting) is None, "the later times are forgotten"


def test_now_overtakes_later() -> None:
    waiting, clock = queue()
    waiting.add_after(A, 10)
    waiting.add(A)
    assert take(waiting) == A
    waiting.done(A)
    clock.advance(11)
    assert take(waiting) is None


def test_what_is_planned_for_later_does_not_count_as_busy() -> None:
    waiting, _ = queue()
    waiting.add_after(A, 10)
    assert not waiting.busy()
    waiting.add_after(B, 0)
    assert waiting.busy()


def test_close_wakes_who_waits() -> None:
    waiting = WorkQueue(FakeClock().monotonic)
    got: list[object] = []
    thread = threading.Thread(target=lambda: got.append(waiting.get(timeout=60)))
    thread.start()
    waiting.close()
    thread.join(timeout=30)
    assert got == [None]
    waiting.add(A)
    assert waiting.get(timeout=60) is None
