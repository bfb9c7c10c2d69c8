"""What only a real engine can show, and the contract does not ask: lost answers, strangers, strays."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.ports.runtime import RuntimeRefusedError, RuntimeState
from controller.runtimes.container import request as requests
from controller.runtimes.container.engine import Engine, EngineError
from tests.testbed import engines
from tests.unit.runtimes.container.bench import ContainerBench, log_of

ENGINES = [
    pytest.param("docker", marks=pytest.mark.needs("docker")),
    pytest.param("podman", marks=pytest.mark.needs("podman")),
]


@pytest.fixture(params=ENGINES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ContainerBench]:
    """A runtime on each engine in turn."""
    made = ContainerBench(tmp_path, request.param)
    yield made
    made.close()


@pytest.mark.parametrize("method", ["create", "start"])
def test_an_answer_that_is_lost_is_looked_up(
    bench: ContainerBench, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    real = getattr(Engine, method)

    def lossy(self: Engine, *words: Any) -> None:
        real(self, *words)
        raise EngineError("the connection broke off")

    monkeypatch.setattr(Engine, method, lossy)
    attempt = bench.shell("echo began")
    assert bench.run_it(attempt).exit_code == 0
    assert log_of(attempt) == "began\n"


def test_a_container_of_somebody_else_is_never_touched(bench: ContainerBench) -> None:
    attempt = bench.shell("true")
    bench.engine.create(attempt.name, {"Image": engines.image("BUSYBOX"), "Cmd": ["true"]})
    try:
        with pytest.raises(RuntimeRefusedError) as refusal:
            bench.runtime.create(attempt)
        assert refusal.value.reason == "NotOurs"
        bench.runtime.list(bench.store_id)
        bench.runtime.stop(attempt.name, attempt.run_dir, grace=0)
        bench.runtime.remove(attempt.name, attempt.run_dir)
        assert bench.engine.inspect(attempt.name)["State"]["Status"] in ("created", "configured")
    finally:
        bench.engine.remove(attempt.name)


def test_a_stray_with_our_label_is_seen_and_stopped(bench: ContainerBench) -> None:
    attempt = bench.shell("sleep 300")
    words = {"Image": attempt.image, "Cmd": ["sleep", "300"], "Labels": requests.labels(attempt)}
    limits = [{"Name": name, "Soft": 1024, "Hard": 1024} for name in ("nofile", "nproc")]
    bench.engine.create(attempt.name, words | {"HostConfig": {"NetworkMode": "none", "Ulimits": limits}})
    bench.engine.start(attempt.name)
    [seen] = bench.runtime.list(bench.store_id)
    assert (seen.name, seen.state, seen.run_id) == (attempt.name, RuntimeState.RUNNING, attempt.run_id)
    bench.runtime.stop(attempt.name, attempt.run_dir, grace=0)
    assert bench.runtime.list(bench.store_id) == ()
    assert not bench.engine.running(attempt.name)
