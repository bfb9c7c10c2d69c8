"""A folder's digest is what coreutils says, whatever its names and contents are."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.inputs.datasets import hash_again
from controller.inputs.snapshots import SnapshotFile, manifest_of
from controller.stores.objects import FileObjects

pytestmark = pytest.mark.needs("coreutils")

COREUTILS = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum -z | sha256sum"
SNAPSHOT = (
    "{ find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum -z; printf '\\0'; "
    "find . -type f -perm -100 -print0 | LC_ALL=C sort -z; } | sha256sum"
)

HOSTILE = [
    b"a",
    b"a.b",
    b"a-b",
    b"A",
    b"\\",
    b"\n",
    b"a\nb",
    b"a\\nb",
    b"-n",
    b" ",
    b"\xff\xfe",
    b"*",
    b"'",
    b'"',
    b"$(x)",
    b"\r",
]
LONG = [b"x" * 255, b"\n" * 255, b"\xff" * 255, "ä".encode(), b"a\xcc\x88"]
NAMES = st.one_of(
    st.sampled_from(HOSTILE + LONG),
    st.binary(min_size=1, max_size=8).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b"..")),
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(b"/".join)
FOLDERS = st.dictionaries(PATHS, st.tuples(st.binary(max_size=40), st.booleans()), max_size=12)


def _lay_out(folder: Path, files: dict[bytes, tuple[bytes, bool]]) -> None:
    for path, (content, executable) in files.items():
        place = folder / os.fsdecode(path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        except OSError:
            continue  # one name is a file and a folder: the first one stays
        place.chmod(0o755 if executable else 0o644)


def _shell(command: str, folder: Path) -> str:
    done = subprocess.run(["sh", "-c", command], cwd=folder, check=True, capture_output=True)
    return "sha256:" + done.stdout.decode().split()[0]


@given(FOLDERS)
@settings(max_examples=60, deadline=None)
def test_a_folder_has_the_digest_that_coreutils_prints(files: dict[bytes, tuple[bytes, bool]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        _lay_out(Path(name), files)
        assert hash_again("", os.path.realpath(name)).sha256 == _shell(COREUTILS, Path(name))


@given(FOLDERS)
@settings(max_examples=40, deadline=None)
def test_a_snapshot_has_the_digest_that_its_one_liner_prints(files: dict[bytes, tuple[bytes, bool]]) -> None:
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as store:
        _lay_out(Path(name), files)
        objects = FileObjects(Path(store))
        found = [
            SnapshotFile(
                os.fsencode(place.relative_to(name)),
                objects.put(place.read_bytes()),
                bool(place.stat().st_mode & 0o100),
            )
            for place in Path(name).rglob("*")
            if place.is_file()
        ]
        assert objects.put(manifest_of(found)) == _shell(SNAPSHOT, Path(name))


def test_an_empty_folder_and_a_large_file(tmp_path: Path) -> None:
    assert hash_again("", str(tmp_path)).sha256 == _shell(COREUTILS, tmp_path)
    (tmp_path / "large").write_bytes(b"0123456789" * 300_000)
    assert hash_again("", str(tmp_path)).sha256 == _shell(COREUTILS, tmp_path)
    assert hash_again("", str(tmp_path / "large")).sha256 == _shell("sha256sum large", tmp_path)
