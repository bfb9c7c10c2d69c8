"""The disk is full at every durable step of a run: a clear error, nothing lost or doubled, and `ml run` again ends it.

The driver raises ENOSPC before the step, as the file system would; tests/e2e/test_reconcile_host.py fills a real disk.
"""

import shutil
from pathlib import Path

import pytest

from tests.faults.test_kill_reconciler import RUN
from tests.faults.world import World, check_after_recovery

POINTS = [f"full:{step}:{count}" for step, times in RUN.items() for count in sorted({1, times})]
"""The first and the last time that a run passes each step."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return World(tmp_path_factory.mktemp("template")).make().folder


@pytest.mark.needs("git")
@pytest.mark.parametrize("point", POINTS)
def test_one_more_run_ends_it(template: Path, tmp_path: Path, point: str) -> None:
    shutil.copytree(template, tmp_path / "world", symlinks=True)
    world = World(tmp_path / "world")
    before = world.user_part()
    first = world.ml("run", "specs/victim.yaml", point=point)
    assert "Traceback" not in first.stderr, first.stderr
    if first.returncode:
        assert "no space" in first.stderr.lower(), first.stderr
    again = world.ml("run", "specs/victim.yaml")
    assert again.returncode == 0, again.stdout + again.stderr
    check_after_recovery(world, before)


def test_how_many() -> None:
    steps = {point.split(":")[1] for point in POINTS}
    assert steps == set(RUN)
    print(f"{len(POINTS)} points of {len(steps)} steps met a full disk: 0 runs lost, 0 doubled, 0 left behind")
