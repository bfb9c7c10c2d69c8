"""A repository for each test."""

from pathlib import Path

import pytest

from tests.fakes.repo import Repo, ready_repo


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """Spec and code are committed."""
    return ready_repo(tmp_path / "repo")
