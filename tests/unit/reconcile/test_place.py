"""Room on the host: who starts, who waits, who is called, and what quotas and the operator's caps leave."""

from controller.ports.source import Key
from controller.reconcile.context import Policy
from controller.reconcile.outcome import Waiting
from controller.reconcile.place import Line, world_of
from tests.builders import gpu, host
from tests.fakes.store import FakeStore
from tests.unit.reconcile.bench import Bench, document, experiment, key


def ask(bench: Bench, name: str, cpu: str = "1", **spec: object) -> str:
    """Save a spec and settle it; its phase."""
    bench.put(experiment(name, resources={"cpu": cpu, "memory": "1Mi", "disk": "1Mi"}, **spec), f"{name}.yaml")  # type: ignore[arg-type]  # spec fields
    bench.settle(name)
    return bench.phase(name)


def head(bench: Bench) -> Key:
    """Who is called when there is room."""
    called = listen(bench)
    bench.ports.line.serve()
    return called[-1]


def listen(bench: Bench) -> list[Key]:
    called: list[Key] = []
    bench.ports.line.call = called.append
    return called


def test_what_does_not_fit_is_queued_with_its_arithmetic_and_starts_when_room_is_made(bench: Bench) -> None:
    bench.on_host(cpus=2)
    assert ask(bench, "a", "2") == "Running"
    assert ask(bench, "b", "1") == "Queued"
    assert "needs 1 CPU, 0 of 2 free" in bench.condition("QuotaReserved", "b")["message"]
    outcome = bench.settle("b")
    assert isinstance(outcome, Waiting)
    assert outcome.reason == "WaitingForCapacity"
    bench.end(0, name="a")
    bench.settle("a")
    bench.settle("b")
    assert bench.phase("b") == "Running"
    assert bench.condition("QuotaReserved", "b")["status"] == "True"


def test_a_small_late_comer_does_not_overtake_the_head(bench: Bench) -> None:
    bench.on_host(cpus=2)
    ask(bench, "a", "1")
    assert ask(bench, "b", "2") == "Queued"
    assert ask(bench, "c", "1") == "Queued"
    assert "1 ahead of you" in bench.condition("QuotaReserved", "c")["message"]
    called = listen(bench)
    bench.end(0, name="a")
    bench.settle("a")
    bench.settle("c")
    assert (bench.phase("c"), set(called)) == ("Queued", {key("b")}), "whose turn it is gets called"


def test_a_higher_priority_goes_first(bench: Bench) -> None:
    bench.on_host(cpus=1)
    ask(bench, "a", "1")
    ask(bench, "b", "1")
    ask(bench, "c", "1", scheduling={"priority": 99})
    assert head(bench) == key("c")


def test_starting_one_calls_the_next_that_fits_too(bench: Bench) -> None:
    bench.on_host(cpus=2)
    ask(bench, "a", "2")
    ask(bench, "b", "1")
    ask(bench, "c", "1")
    ask(bench, "d", "1")
    called = listen(bench)
    bench.end(0, name="a")
    bench.settle("a")
    assert called == [key("b")]
    bench.settle("b")
    assert called[-1] == key("c")
    bench.settle("c")
    assert called[-1] == key("c"), "d does not fit and is not called"


def test_waiting_keeps_the_place_over_edits_of_the_same_plan(bench: Bench) -> None:
    bench.on_host(cpus=1)
    ask(bench, "a", "1")
    ask(bench, "b", "1")
    bench.clock.advance(10)
    ask(bench, "c", "1")
    bench.clock.advance(10)
    ask(bench, "b", "1", description="x")
    assert head(bench) == key("b")
    ask(bench, "b", "1", seed=2)
    assert head(bench) == key("c"), "another plan is another arrival"
    assert len(bench.ports.line.queue) == 2


def test_quotas_of_the_folder_limit_an_owner_and_hold_back_nobody_else(bench: Bench) -> None:
    bench.put(document("Quota", "alice", {"owners": ["alice"], "runs": 1}), "quota.yaml")
    assert ask(bench, "a", owner="alice") == "Running"
    assert ask(bench, "b", owner="alice") == "Queued"
    assert "quota alice of alice: needs 1 run, 0 of 1 free" in bench.condition("QuotaReserved", "b")["message"]
    assert ask(bench, "c", owner="bob") == "Running"
    bench.put(document("Quota", "alice", {"owners": ["alice"], "runs": 2}), "quota.yaml")
    bench.settle("b")
    assert bench.phase("b") == "Running"


def test_every_quota_applies_and_one_that_is_invalid_stays_in_force(bench: Bench) -> None:
    bench.put(document("Quota", "all", {"cpu": "2"}), "all.yaml")
    bench.put(document("Quota", "few", {"runs": 1}), "few.yaml")
    assert ask(bench, "a") == "Running"
    assert ask(bench, "b") == "Queued"
    bench.put("kind: Quota\nnonsense", "few.yaml")
    bench.settle("b")
    assert bench.phase("b") == "Queued"
    bench.delete("few.yaml")
    bench.settle("b")
    assert bench.phase("b") == "Running"
    assert ask(bench, "c") == "Queued", "all.yaml still says two CPUs"


def test_the_operators_caps(bench: Bench) -> None:
    bench.policy = Policy(max_cpu=1.5, max_memory=2 * 2**20)
    bench.crash()
    assert ask(bench, "a", "1") == "Running"
    assert ask(bench, "b", "1") == "Queued"
    world = world_of(host(cpus=8), FakeStore(), 0.5, 0)
    assert (world.host.cpus, world.host.memory) == (1, 16 * 2**30)


def test_gpus_are_not_given_twice_even_after_a_restart(bench: Bench) -> None:
    bench.on_host(gpus=(gpu(0), gpu(1)))
    wanted = {"gpu": {"count": 1, "vendor": "nvidia"}, "cpu": "1", "memory": "1Mi", "disk": "1Mi"}
    for name in ("a", "b", "c"):
        bench.crash()
        bench.put(experiment(name, resources=wanted), f"{name}.yaml")
        bench.settle(name)
    assert [bench.phase(name) for name in ("a", "b", "c")] == ["Running", "Running", "Queued"]
    assert {bench.run("a").launch["gpus"][0], bench.run("b").launch["gpus"][0]} == {"GPU-0", "GPU-1"}


def test_an_empty_line_calls_nobody() -> None:
    called: list[Key] = []
    Line(call=called.append).serve()
    assert called == []


def test_the_end_of_a_run_calls_the_head_even_when_it_ended_in_the_pass_that_launched_it(bench: Bench) -> None:
    bench.on_host(cpus=1)
    ask(bench, "a", "1")
    ask(bench, "b", "1")
    bench.end(0, name="a")
    bench.settle("a")
    called = listen(bench)
    bench.runtime.outcome = 0
    ask(bench, "c", "1", scheduling={"priority": 99})
    assert bench.phase("c") == "Succeeded"
    assert key("b") in called
