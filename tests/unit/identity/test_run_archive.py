"""A run in one file: the same bytes always, and whatever else a tar can hold is refused before it is read."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.identity.run_archive import ArchiveError, archive_files, is_archive, top_folder, write_archive

LONG = "results/" + "d" * 90 + "/" + "e" * 120 + "/weights.npz"
FILES = {"run.log": b"one\n", "results/é.txt": b"two", LONG: b"x" * 1500, "empty": b""}


def _written(files: dict[str, bytes], top: str = "digits-abcdefgh") -> bytes:
    out = io.BytesIO()
    write_archive(out, top, dict(files))
    return out.getvalue()


def _tar(tmp_path: Path, *members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    path = tmp_path / "made.tar"
    with tarfile.open(path, "w", format=form) as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **pax: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.pax_headers = kind, link, dict(pax)
    return info


def test_what_was_written_is_read_without_extracting(tmp_path: Path) -> None:
    path = tmp_path / "run.tar"
    path.write_bytes(_written(FILES))
    assert is_archive(path)
    assert top_folder(path) == "digits-abcdefgh"
    found = archive_files(path)
    contents = {}
    for name, opener in found.items():
        with opener() as stream:
            contents[name] = stream.read()
    assert contents == FILES
    with found["run.log"]() as stream:
        assert (stream.read(2), stream.read(100), stream.read(1)) == (b"on", b"e\n", b"")


def test_the_bytes_depend_on_the_files_alone() -> None:
    assert _written(FILES) == _written(dict(reversed(FILES.items())))


def test_any_tar_program_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "run.tar"
    path.write_bytes(_written(FILES))
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path / "out", filter="data")
    assert (tmp_path / "out" / "digits-abcdefgh" / LONG).read_bytes() == FILES[LONG]


HOSTILE: dict[str, tuple[tuple[tarfile.TarInfo, bytes], ...]] = {
    "parent": ((_info("run/../../canary"), b"x"),),
    "absolute": ((_info("/tmp/canary"), b"x"),),
    "symlink": ((_info("run/link", tarfile.SYMTYPE, "/etc/passwd"), b""),),
    "symlink, then through it": (
        (_info("run/results", tarfile.SYMTYPE, "/tmp"), b""), (_info("run/results/canary"), b"x"),
    ),
    "hard link": ((_info("run/link", tarfile.LNKTYPE, "/etc/passwd"), b""),),
    "device": ((_info("run/null", tarfile.CHRTYPE), b""),),
    "fifo": ((_info("run/fifo", tarfile.FIFOTYPE), b""),),
    "folder": ((_info("run/folder", tarfile.DIRTYPE), b""),),
    "two tops": ((_info("run/a"), b"x"), (_info("other/a"), b"x")),
    "no top": ((_info("run.log"), b"x"),),
    "twice": ((_info("run/a"), b"x"), (_info("run/a"), b"y")),
    "twice but for case": ((_info("run/a"), b"x"), (_info("run/A"), b"y")),
    "empty part": ((_info("run//a"), b"x"),),
    "terminal escape": ((_info("run/\x1b[2J"), b"x"),),
    "backslash": ((_info("run/..\\a"), b"x"),),
    "sparse (GNU)": ((_info("run/a", tarfile.GNUTYPE_SPARSE), b""),),
    "sparse (pax)": ((_info("run/a", **{"GNU.sparse.major": "1", "GNU.sparse.realsize": "1099511627776"}), b"x"),),
    "global header": ((_info("run/a", tarfile.XGLTYPE), b"20 path=run/elsewhere\n"),),
    "pax of another key": ((_info("run/a", comment="x"), b"x"),),
    "nothing": (),
}  # fmt: skip


@pytest.mark.parametrize("way", HOSTILE)
def test_what_no_export_holds_is_refused(tmp_path: Path, way: str) -> None:
    with pytest.raises(ArchiveError):
        archive_files(_tar(tmp_path, *HOSTILE[way]))


def _flip(data: bytes) -> bytes:
    return data[:3] + b"!" + data[4:]


def _record(text: bytes) -> bytes:
    """A pax header with these bytes, before a regular file."""
    info = _info("pax", tarfile.XHDTYPE)
    info.size = len(text)
    return info.tobuf(tarfile.USTAR_FORMAT) + text.ljust(512, b"\0") + _info("run/a").tobuf(tarfile.USTAR_FORMAT)


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "header byte": _flip,
    "cut short": lambda data: data[: 512 + 2],
    "not a tar": lambda data: b"PK\x03\x04" + b"\0" * 2000,
    "pax record of length 0": lambda data: _record(b"0 path=a\n"),
    "pax record of length 1": lambda data: _record(b"1 path=a\n"),
    "pax record without end": lambda data: _record(b"999 path=a\n"),
    "pax record of huge length": lambda data: _record(b"9" * 500 + b" path=a\n"),
    "pax size of letters": lambda data: _record(b"11 size=ab\n"),
    "pax size negative": lambda data: _record(b"11 size=-5\n"),
    "pax size beyond the file": lambda data: _record(b"17 size=99999999\n"),
    "pax size of 400 digits": lambda data: _record(b"410 size=" + b"9" * 400 + b"\n"),
    "pax name not UTF-8": lambda data: _record(b"13 path=r/\xff\xff\n"),
}


@pytest.mark.parametrize("way", BROKEN)
def test_a_damaged_archive_is_refused(tmp_path: Path, way: str) -> None:
    path = tmp_path / "run.tar"
    path.write_bytes(BROKEN[way](_written(FILES)))
    with pytest.raises(ArchiveError):
        archive_files(path)


def test_a_compressed_archive_is_told_what_to_do(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "run.tar.gz"
    path.write_bytes(gzip.compress(_written(FILES)))
    with pytest.raises(ArchiveError, match="decompressed"):
        archive_files(path)


def test_what_would_take_too_much_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.tar"
    path.write_bytes(_written(FILES))
    monkeypatch.setattr("controller.identity.run_archive.MAX_MEMBERS", len(FILES) - 1)
    with pytest.raises(ArchiveError, match="more than 3 files"):
        archive_files(path)
    header = _info("pax", tarfile.XHDTYPE)
    header.size = 2**20
    path.write_bytes(header.tobuf(tarfile.USTAR_FORMAT) + b"9" * 2**20)
    with pytest.raises(ArchiveError, match="a header of 1048576 bytes"):
        archive_files(path)
    path.write_bytes(_written({"results/" + "n/" * 3000: b""}))
    with pytest.raises(ArchiveError, match="no plain path"):
        archive_files(path)
