"""A real disk that is full, or read-only: a clear refusal, nothing half, and work goes on once there is space."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.needs("tmpfs")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("disks")
    command = ["unshare", "--mount", sys.executable, "-m", "tests.fixtures.store.full", str(folder)]
    ran = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(ran.stdout)


def test_a_write_that_finds_no_space_says_so_and_is_done_later(result: Any) -> None:
    cases = result["writing"]
    refused = [case for case in cases if case["why"]]
    assert {case["why"] for case in refused} == {"DiskFull"}
    assert len({case["done"] for case in refused}) > 5, "the disk filled up at different operations"
    assert all(case["whole"] for case in cases)
    assert all(case["experiments"] == min(case["done"], 3) - (case["done"] > 6) for case in cases), "readable when full"
    print(f"store: disk full at {len(refused)} points of writing, 0 writes lost or half done")


def test_a_store_is_not_half_made_on_a_full_disk(result: Any) -> None:
    cases = result["made"]
    assert {case["why"] for case in cases} == {"DiskFull", ""}
    assert {case["later"] for case in cases} == {""}


def test_a_backup_that_finds_no_space_leaves_the_older_one(result: Any) -> None:
    for case in result["copied"]:
        assert case == {"leave": case["leave"], "why": "DiskFull", "older": True, "left": ["copy.db"]}


def test_a_read_only_disk_is_refused_and_can_still_be_read(result: Any) -> None:
    assert result["read_only"] == {"open": "StoreReadOnly", "make": "StoreReadOnly", "read": 1}
