"""The launchers, as parameters."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.runtimes.bench import Bench

LAUNCHERS = [
    pytest.param("bwrap", marks=pytest.mark.needs("bwrap")),
    pytest.param("unshare", marks=pytest.mark.needs("userns")),
    pytest.param("none", marks=pytest.mark.needs("linux")),
]


@pytest.fixture(params=LAUNCHERS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A runtime with each launcher in turn."""
    made = Bench(tmp_path, request.param)
    yield made
    made.close()
