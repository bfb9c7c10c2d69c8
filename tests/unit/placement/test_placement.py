"""Order, room, quota, and the arithmetic that is said."""

from dataclasses import replace

import pytest

from controller.api.catalog import Quota
from controller.placement import Active, GpuAsk, Limit, Placement, Queue, Request, World, limits_of, place, request_of
from tests.builders import experiment, gpu, host

GIB = 2**30


def request(run_id="a", **overrides):
    good = Request(run_id, "alice", 50, "2026-01-01T00:00:00Z", cpu=4000, memory=4 * GIB, disk=GIB)
    return replace(good, **overrides)


def world(*active, limits=(), **of_host):
    return World(host(**of_host), tuple(a if isinstance(a, Active) else Active(a) for a in active), limits)


BUSY = request("busy", owner="bob", cpu=7000, memory=GIB)


def no(reason, message, ahead=0):
    return Placement(fits=False, reason=reason, message=message, ahead=ahead)


@pytest.mark.parametrize(
    ("asked", "seen", "ahead", "expected"),
    [
        (request(), world(), 0, Placement(fits=True, reason="Fits", message="needs 4 CPUs, 8 of 8 free")),
        (request(cpu=1000), world(BUSY), 0, Placement(fits=True, reason="Fits", message="needs 1 CPU, 1 of 8 free")),
        (request(), world(BUSY), 2, no("InsufficientCPU", "needs 4 CPUs, 1 of 8 free, 2 ahead of you", 2)),
        (request(), world(), 1, no("BehindInQueue", "needs 4 CPUs, 8 of 8 free, 1 ahead of you", 1)),
        (
            request(memory=16 * GIB),
            world(BUSY, cpus=64),
            0,
            no("InsufficientMemory", "needs 16 GiB of memory, 15 of 16 free"),
        ),
        (
            request(disk=100 * GIB),
            world(BUSY, cpus=64),
            0,
            no("InsufficientDisk", "needs 100 GiB of disk, 99 of 100 free"),
        ),
        (
            request(disk=GIB // 2),
            world(disk_free=GIB // 4),
            0,
            no("InsufficientDisk", "needs 0.5 GiB of disk, 0.25 of 0.25 free"),
        ),
        (request(), world(BUSY, cpus=4), 0, no("InsufficientCPU", "needs 4 CPUs, 0 of 4 free")),
        (request(gpu=GpuAsk(1)), world(), 0, no("InsufficientGPU", "needs 1 GPU, 0 of 0 free")),
        (
            request(gpu=GpuAsk(2)),
            world(Active(request("x", cpu=1), ("GPU-0",)), gpus=(gpu(), gpu(1))),
            0,
            no("InsufficientGPU", "needs 2 GPUs, 1 of 2 free"),
        ),
        (
            request(gpu=GpuAsk(1)),
            world(gpus=(gpu(healthy=False),)),
            0,
            no("InsufficientGPU", "needs 1 GPU, 0 of 1 free"),
        ),
    ],
)
def test_place(asked, seen, ahead, expected):
    assert place(asked, seen, ahead) == expected


def test_the_smallest_gpus_that_suit_are_given():
    cards = (gpu(0, memory=80 * GIB), gpu(1), gpu(2, vendor="amd"), gpu(3, memory=GIB), gpu(4))
    asked = request(gpu=GpuAsk(2, memory=40 * GIB, model="A100"))
    assert place(asked, world(gpus=cards)).gpus == ("GPU-1", "GPU-4")
    assert place(asked, world(Active(request("x", cpu=1), ("GPU-1",)), gpus=cards)).gpus == ("GPU-4", "GPU-0")


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (Limit("q", runs=1), "quota q of alice: needs 1 run, 0 of 1 free"),
        (Limit("q", cpu=7000), "quota q of alice: needs 4 CPUs, 3 of 7 free"),
        (Limit("q", memory=6 * GIB), "quota q of alice: needs 4 GiB of memory, 2 of 6 free"),
        (Limit("q", gpus=0), "quota q of alice: needs 1 GPU, 0 of 0 free"),
        (Limit("q", ("alice", "bob"), runs=0), "quota q of alice: needs 1 run, 0 of 0 free"),
    ],
)
def test_quota(limit, message):
    seen = world(request("running"), limits=(limit,), gpus=(gpu(),))
    assert place(request(gpu=GpuAsk(1)), seen) == no("QuotaExceeded", message)


@pytest.mark.parametrize(
    "limit",
    [
        Limit("q", ("bob",), runs=0),
        Limit("q", runs=2),
        Limit("q"),
        Limit("q", cpu=8000, memory=8 * GIB, gpus=0),
    ],
)
def test_quota_that_leaves_room(limit):
    assert place(request(), world(request("running"), limits=(limit,))).fits


def test_an_owner_is_counted_alone():
    assert place(request(), world(request("b", owner="bob"), limits=(Limit("q", runs=1),))).fits


def test_nobody_is_an_owner_too():
    seen = world(limits=(Limit("q", runs=0),))
    assert place(request(owner=""), seen).message == "quota q of nobody: needs 1 run, 0 of 0 free"


def test_requests_and_limits_come_from_objects():
    spec = experiment(
        owner="alice",
        resources={
            "cpu": "500m",
            "memory": "1Gi",
            "disk": "2Gi",
            "gpu": {"count": 2, "model": "a100", "memory": "40Gi"},
        },
        scheduling={"priority": 7},
    )
    assert request_of(spec, "d-1", "t") == Request(
        "d-1", "alice", 7, "t", 500, GIB, 2 * GIB, GpuAsk(2, "nvidia", "a100", 40 * GIB)
    )
    assert request_of(experiment(resources={"gpu": {"vendor": "none"}}), "d", "t").gpu == GpuAsk()
    quota = {
        "apiVersion": "fetchml.dev/v1alpha1",
        "kind": "Quota",
        "metadata": {"name": "team"},
        "spec": {"owners": ["alice"], "cpu": "1500m", "memory": "1Gi", "gpus": 1, "runs": 2},
    }
    assert limits_of([Quota.model_validate(quota), Quota.model_validate({**quota, "spec": {}})]) == (
        Limit("team", ("alice",), 1500, GIB, 1, 2),
        Limit("team"),
    )


def picked(queue, seen):
    found = queue.pick(seen)
    return found and found[0].run_id


def test_priority_then_age_then_name():
    queue = Queue(
        [
            request("young", created_at="2026-01-02T00:00:00Z"),
            request("old-b"),
            request("old-a"),
            request("urgent", priority=90, created_at="2026-01-03T00:00:00Z", owner="bob"),
        ]
    )
    assert [picked(queue, world()) for _ in range(5)] == ["urgent", "old-a", "old-b", "young", None]


def test_the_head_is_not_overtaken_by_a_smaller_one():
    queue = Queue(
        [
            request("large", cpu=8000),
            request("small", cpu=1000, priority=1),
            request("other", owner="bob", cpu=1, priority=1),
        ]
    )
    assert picked(queue, world(BUSY)) is None
    assert len(queue) == 3
    assert picked(queue, world()) == "large"


def test_an_owner_without_quota_does_not_hold_back_the_others():
    queue = Queue([request("mine", priority=99), request("mine-too"), request("theirs", owner="bob", priority=1)])
    full = world(limits=(Limit("q", ("alice",), runs=0),))
    assert [picked(queue, full), picked(queue, full)] == ["theirs", None]
    assert "mine" in queue
    assert picked(queue, world()) == "mine"


def test_a_pick_carries_its_placement():
    asked = request(gpu=GpuAsk(1))
    assert Queue([asked]).pick(world(gpus=(gpu(),))) == (
        asked,
        Placement(fits=True, reason="Fits", message="needs 4 CPUs, 8 of 8 free", gpus=("GPU-0",)),
    )


def test_a_run_is_in_line_once_with_its_newest_request():
    queue = Queue([request("a"), request("b")])
    queue.push(request("b"))
    queue.push(request("b", priority=90))
    queue.push(request("b", priority=90, cpu=1000))
    assert len(queue) == 2
    found = queue.pick(world())
    assert found is not None
    assert (found[0].run_id, found[0].cpu) == ("b", 1000)
    assert [picked(queue, world()), picked(queue, world())] == ["a", None]


def test_a_change_of_owner_leaves_no_ghost():
    queue = Queue([request("a")])
    queue.push(request("a", owner="bob"))
    assert [picked(queue, world()), picked(queue, world())] == ["a", None]


def test_removed_is_gone_and_may_come_back():
    queue = Queue([request("a"), request("b")])
    queue.remove("a")
    queue.remove("never")
    assert [picked(queue, world()), picked(queue, world()), len(queue)] == ["b", None, 0]
    queue.push(request("a"))
    assert picked(queue, world()) == "a"


def test_ahead_counts_those_before():
    queue = Queue([request("a"), request("b"), request("c", priority=90)])
    assert [queue.ahead(request(name)) for name in ("a", "b")] == [1, 2]
    assert queue.ahead(request("c", priority=90)) == 0
    assert queue.ahead(request("d")) == 3


def test_picking_costs_the_same_in_a_long_line(monkeypatch):
    """Counted, not timed: how many requests a pick looks at."""
    import controller.placement.queue as module

    looked = []
    monkeypatch.setattr(module, "quota_shortage", lambda asked, seen: looked.append(asked))
    for length in (1_000, 10_000):
        looked.clear()
        queue = Queue(request(f"r{n}", owner=f"o{n % 5}") for n in range(length))
        assert picked(queue, world()) is not None
        assert len(looked) == 1


def test_a_long_line_gives_back_what_was_taken():
    """Beyond the slack, so that the taken part of the line is dropped in bulk while it is used."""
    runs = [f"r{n:05d}" for n in range(2500)]
    queue = Queue(request(run) for run in runs)
    taken = [picked(queue, world()) for _ in range(1400)]
    queue.push(request("urgent", priority=99))
    assert queue.ahead(request("r01400")) == 1
    assert [*taken, *(picked(queue, world()) for _ in range(1101))] == [*runs[:1400], "urgent", *runs[1400:]]
    assert len(queue) == 0
    assert queue._lines == {}, "nothing is kept for an owner who does not wait"
