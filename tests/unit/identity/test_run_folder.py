"""Verification reads the run folder itself, and nothing that a link in it points to."""

import os
from pathlib import Path

import pytest

from controller.identity.run_folder import open_beneath, run_folder
from controller.trust.verify import verified, verify_run
from tests.fakes.signed_run import signed_run
from tests.fakes.signer import FakeSigner

SIGNER = FakeSigner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A signed run on disk."""
    for name, data in signed_run(SIGNER).items():
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "run"


def test_a_run_on_disk_verifies(folder: Path) -> None:
    (folder / "attempts" / "1").mkdir(parents=True)
    (folder / "attempts" / "1" / "status.json").write_text("{}")
    (folder / "checkpoints").mkdir()
    files = run_folder(folder)
    assert "results/plots/loss.svg" in files
    assert not any(name.startswith(("attempts", "checkpoints")) for name in files)
    assert verified(verify_run(files, SIGNER.root))


def test_nothing_is_opened_before_it_is_read(folder: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    files = run_folder(folder)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    verify_run(files, SIGNER.root)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("name", ["results/model.npz", "run.log", "plan.json"])
def test_a_link_to_the_same_bytes_is_not_the_file(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    failed = [check for check in verify_run(run_folder(folder), SIGNER.root) if not check.ok]
    assert any(check.file == name and "cannot be read" in check.message for check in failed)


def test_a_linked_results_folder_is_not_entered(folder: Path, tmp_path: Path) -> None:
    (folder / "results").rename(tmp_path / "elsewhere")
    (folder / "results").symlink_to(tmp_path / "elsewhere")
    failed = {check.file for check in verify_run(run_folder(folder), SIGNER.root) if not check.ok}
    assert {"results/model.npz", "results/metrics.jsonl"} <= failed
    with pytest.raises(OSError, match=r"directory|links"):
        open_beneath(folder, "results/model.npz")


def test_a_pipe_is_refused_without_waiting(folder: Path) -> None:
    (folder / "run.log").unlink()
    os.mkfifo(folder / "run.log")
    failed = [check for check in verify_run(run_folder(folder), SIGNER.root) if not check.ok]
    assert [(check.name, check.file) for check in failed] == [("subject", "run.log")]
    assert failed[0].message.endswith("run.log is not a regular file")


def test_what_is_no_run_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="not a run folder"):
        run_folder(tmp_path / "missing")
