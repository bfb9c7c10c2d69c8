"""Fixtures of the command line tests."""

from pathlib import Path

import pytest

from tests.e2e.cli import Repo, copy_of, make_template


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `ml init` made, committed; copied by each test that changes it."""
    return make_template(tmp_path_factory.mktemp("cli"))


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Repo:
    """A fresh repository."""
    return copy_of(template, tmp_path / "project")


@pytest.fixture(scope="session")
def ran(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """A repository in which `hello` succeeded and `broken` failed; only looked at."""
    from tests.e2e.cli import FAILING, spec

    repo = copy_of(template, tmp_path_factory.mktemp("ran") / "project")
    repo.write("specs/hello.yaml", spec("hello"))
    repo.write("specs/broken.yaml", spec("broken", FAILING))
    (repo.root / "specs" / "first.yaml").unlink()
    repo.ml("reconcile", "specs", "--once")
    return repo
