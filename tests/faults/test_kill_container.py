"""SIGKILL of the reconciler at every durable step of a run in a container, then one resync: 0 lost, 0 twice, 0 left.

The run is real and so is the engine. What an attempt did is seen in its results folder, and what is left on the engine
by the label of the store.
"""

import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.runtimes.container.engine import Engine
from tests.faults.world import SPEC, World, check_after_recovery
from tests.testbed import engines
from tests.unit.runtimes.container.bench import eventually

KILLED = -signal.SIGKILL
STEPS = ("record", "create", "claim", "start", "begin", "exit", "remove")
PODMAN = ("after:container.create", "after:container.start", "before:container.exit", "before:container.remove")
POINTS = [
    *(
        pytest.param("docker", f"{phase}:container.{step}", marks=pytest.mark.needs("docker"))
        for step in STEPS
        for phase in ("before", "after")
    ),
    *(pytest.param("podman", point, marks=pytest.mark.needs("podman")) for point in PODMAN),
]


@dataclass
class ContainerWorld(World):
    """A repository whose runs are containers of one engine."""

    kind: str = "docker"

    @property
    def engine(self) -> Engine:
        """The engine itself."""
        return Engine(self.kind, engines.host(self.kind))

    def environment(self) -> dict[str, str]:
        """With the engine in the settings."""
        return super().environment() | {"FETCHML_RUNTIME": self.kind, "FETCHML_ENGINE": engines.host(self.kind)}

    def store_id(self) -> str:
        """The label of everything that is ours."""
        with sqlite3.connect(f"file:{self.base / 'state.db'}?mode=ro", uri=True) as store:
            return str(store.execute("select value from meta where key = 'store_id'").fetchone()[0])

    def leftovers(self) -> list[str]:
        """Containers and secrets too."""
        ours = self.engine.containers(f"fetchml.dev/store={self.store_id()}")
        return [*super().leftovers(), *(entry["Names"][0] for entry in ours)]

    def change(self, old: str, new: str) -> bytes:
        """Commit the spec with other words; its user part."""
        self.spec.write_text(self.spec.read_text().replace(old, new))
        subprocess.run(["git", "commit", "-qam", "other words"], cwd=self.repo, check=True, env=self.environment())
        return self.user_part()

    def clear(self) -> None:
        """Whatever a failed test left on the engine."""
        if (self.base / "state.db").exists():
            for entry in self.engine.containers(f"fetchml.dev/store={self.store_id()}"):
                self.engine.remove(entry["Names"][0].lstrip("/"))


def spec_of(image: str) -> str:
    """The usual experiment, in an image."""
    return SPEC.replace(
        SPEC[SPEC.index("environment: {") : SPEC.index("\n  command")], f'environment: {{image: "{image}"}}'
    )


@pytest.fixture
def world(kind: str, tmp_path: Path) -> Iterator[ContainerWorld]:
    made = ContainerWorld(tmp_path, kind=kind)
    made.make(spec=spec_of(engines.image("BUSYBOX")))
    yield made
    made.clear()


@pytest.mark.needs("git")
@pytest.mark.parametrize(("kind", "point"), POINTS)
def test_a_run_survives(world: ContainerWorld, point: str) -> None:
    before = world.user_part()
    killed = world.ml("run", "specs/victim.yaml", point=point)
    assert killed.returncode == KILLED, f"{point} was not reached: {killed.stdout}{killed.stderr}"
    again = world.ml("run", "specs/victim.yaml")
    assert again.returncode == 0, again.stdout + again.stderr
    check_after_recovery(world, before)


@pytest.mark.needs("git")
@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("kind", [pytest.param("docker", marks=pytest.mark.needs("docker"))])
def test_a_cancel(world: ContainerWorld, phase: str) -> None:
    before = world.change('pause: "0.3"', 'pause: "60"')
    reconciler = world.start("run", "specs/victim.yaml", point=f"{phase}:container.stop")
    eventually(world.starts)
    assert world.ml("cancel", "victim").returncode == 0
    assert reconciler.wait(timeout=60) == KILLED
    again = world.ml("run", "specs/victim.yaml")
    assert again.returncode == 7, again.stdout + again.stderr
    assert world.status()["phase"] == "Cancelled"
    assert world.user_part() == before
    assert all(len(lines) == 1 for lines in world.starts().values())
    assert world.leftovers() == []


@pytest.mark.needs("git")
@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("kind", [pytest.param("docker", marks=pytest.mark.needs("docker"))])
def test_fetching_the_image(world: ContainerWorld, phase: str) -> None:
    named = engines.publish(
        "fetched", str(time.monotonic_ns()), f"FROM {engines.image('BUSYBOX')}\nENV NOW={phase}{time.time()}\n"
    )
    before = world.change(engines.image("BUSYBOX"), named)
    assert world.ml("run", "specs/victim.yaml", point=f"{phase}:images.fetch").returncode == KILLED
    again = world.ml("run", "specs/victim.yaml")
    assert again.returncode == 0, again.stdout + again.stderr
    check_after_recovery(world, before)
