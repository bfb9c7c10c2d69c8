"""On a file system that can share blocks, a put and a checkout copy nothing, and still share nothing writable."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.stores.objects import FileObjects

pytestmark = pytest.mark.needs("xfs")
SIZE = 48 << 20


@pytest.fixture
def xfs(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 512 MiB, in a sparse file."""
    image, place = tmp_path / "image", tmp_path / "xfs"
    with image.open("wb") as file:
        file.truncate(512 << 20)
    place.mkdir()
    subprocess.run(["mkfs.xfs", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def used(place: Path) -> int:
    os.sync()
    status = os.statvfs(place)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def test_blocks_are_shared_until_somebody_writes(xfs: Path) -> None:
    store = FileObjects(xfs / "objects")
    source, target = xfs / "source", xfs / "target"
    source.write_bytes(os.urandom(SIZE))
    before = used(xfs)
    sha256 = store.put_file(source)
    store.checkout(sha256, target)
    assert used(xfs) - before < SIZE / 4, "two more names, and no second copy"
    with target.open("r+b") as file:
        file.write(b"a run writes here")
    source.write_bytes(b"and the user there")
    with store.open(sha256) as kept:  # verified
        assert len(kept.read()) == SIZE
