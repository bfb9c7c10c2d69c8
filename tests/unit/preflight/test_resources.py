"""The rules resources and nodes."""

import pytest

from controller.preflight import nodes, resources
from controller.preflight.resources import size
from tests.builders import experiment, facts, gpu, host
from tests.unit.preflight.judging import PASS, REFUSE, WAIT, cases, judged

ELSEWHERE = "set spec.scheduling.target to a kubernetes or slurm target"


def asks(**amounts):
    return experiment(resources=amounts)


@cases(
    ("fits", asks(cpu="8", memory="16Gi", disk="100Gi"), facts(), [(PASS, "fits on box")]),
    (
        "everything too large",
        asks(cpu="8001m", memory="17Gi", disk="101Gi"),
        facts(),
        [
            (
                REFUSE,
                "InsufficientCPU",
                "needs 8.001 CPUs, the host has 8",
                "spec.resources.cpu",
                f'write cpu: "8" or less, or {ELSEWHERE}',
            ),
            (
                REFUSE,
                "InsufficientMemory",
                "needs 17 GiB of memory, the host has 16 GiB",
                "spec.resources.memory",
                f"write memory: 16384Mi or less, or {ELSEWHERE}",
            ),
            (
                WAIT,
                "InsufficientDisk",
                "needs 101 GiB of disk, 100 GiB are free where the runs lie",
                "spec.resources.disk",
                "free space (ml prune), or ask for less",
            ),
        ],
    ),
    (
        "beyond what JSON numbers carry",
        asks(memory="99999999999P"),
        facts(),
        [
            (
                REFUSE,
                "InsufficientMemory",
                "needs 8192 TiB of memory, the host has 16 GiB",
                "spec.resources.memory",
                f"write memory: 16384Mi or less, or {ELSEWHERE}",
            )
        ],
    ),
    (
        "nothing",
        asks(cpu="0", memory="0"),
        facts(),
        [
            (REFUSE, "InvalidResources", "a run with no cpu cannot start", "spec.resources.cpu", "ask for more than 0"),
            (
                REFUSE,
                "InvalidResources",
                "a run with no memory cannot start",
                "spec.resources.memory",
                "ask for more than 0",
            ),
        ],
    ),
    ("no gpu asked", asks(gpu={"count": 0}), facts(), [(PASS, "fits on box")]),
    ("vendor none", asks(gpu={"vendor": "none"}), facts(), [(PASS, "fits on box")]),
    (
        "gpu is here",
        asks(gpu={"count": 1, "model": "a100", "memory": "40Gi"}),
        facts(host=host(gpus=(gpu(),))),
        [(PASS, "fits on box")],
    ),
    (
        "no gpu at all",
        asks(gpu={"count": 1}),
        facts(),
        [
            (
                REFUSE,
                "InsufficientGPU",
                "needs 1 nvidia GPU(s), the host has 0 (no GPU)",
                "spec.resources.gpu",
                f"ask for what is here, or {ELSEWHERE}",
            )
        ],
    ),
    (
        "another model",
        asks(gpu={"count": 2, "model": "h100", "memory": "80Gi"}),
        facts(host=host(gpus=(gpu(), gpu(1)))),
        [
            (
                REFUSE,
                "InsufficientGPU",
                "needs 2 h100 GPU(s) with 80 GiB, the host has 0 (NVIDIA A100-SXM4-40GB)",
                "spec.resources.gpu",
                f"ask for what is here, or {ELSEWHERE}",
            )
        ],
    ),
    (
        "broken ones may be repaired",
        asks(gpu={"count": 2}),
        facts(host=host(gpus=(gpu(), gpu(1, healthy=False, why="Xid 79: fell off the bus")))),
        [
            (
                WAIT,
                "InsufficientGPU",
                "needs 2 nvidia GPU(s), the host has 2 of which 1 cannot be used: Xid 79: fell off the bus",
                "spec.resources.gpu",
                "ask the operator to repair or reset it (ml doctor)",
            )
        ],
    ),
)
def test_resources(experiment, facts, expected):
    assert judged(resources, experiment, facts) == expected


def test_an_engine_decides_about_its_own_nodes():
    assert judged(resources, asks(cpu="500"), runtime="kubernetes") == [(PASS, "kubernetes decides")]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**31, "2 GiB"), (2**40, "1 TiB")]
)
def test_size(count, text):
    assert size(count) == text


def test_nodes():
    assert judged(nodes, experiment()) == [(PASS, "one node")]
    assert judged(nodes, asks(nodes=4), runtime="slurm") == [(PASS, "4 nodes on slurm")]
    assert judged(nodes, asks(nodes=4)) == [
        (
            REFUSE,
            "MultiNodeNotSupported",
            "the process runtime runs on one node, the spec asks for 4",
            "spec.resources.nodes",
            f"write nodes: 1, or {ELSEWHERE}",
        )
    ]
