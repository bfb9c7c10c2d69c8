"""A run in one file: a plain tar of regular files beneath one top folder (ADR 0040).

Promises: the same files give the same bytes on every machine; reading extracts nothing: each file is a range of the
archive, opened when it is asked for. An archive with a link, a device, a sparse file, an absolute name, `..`, a name
twice (letter case aside), or more than one top folder is refused as a whole, before a byte of content is read.
Does not: compress (compressors differ between versions; a plain tar cannot be a decompression bomb either), verify, or
know what the files mean. Source of the form: POSIX pax, `path` and `size` records only.
"""

import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO

BLOCK = 512
MAX_MEMBERS = 100_000
MAX_NAME = 4096 + 256
"""Bytes: a results path of the manifest, beneath the folders above it."""
_MAX_PAX = 64 * 1024
_REGULAR, _PAX = b"0", b"x"


class ArchiveError(ValueError):
    """Not an archive that `ml export` made, or one that somebody changed; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    offset: int
    size: int


def is_archive(path: Path) -> bool:
    """Does the file begin as a tar does? (Its content may still be refused.)"""
    try:
        with path.open("rb") as file:
            return file.read(BLOCK)[257:262] == b"ustar"
    except OSError:
        return False


def write_archive(
    out: IO[bytes],
    top: str,
    files: Mapping[str, bytes | Callable[[], BinaryIO]],
    advance: Callable[[int], None] = lambda _count: None,
) -> None:
    """Write `files` (path beneath `top`, to bytes or opener), sorted by path; `advance` hears of bytes that were read.

    Raises:
        OSError: a file cannot be read, or became shorter while it was.
    """
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(files):
            source = files[path]
            with io.BytesIO(source) if isinstance(source, bytes) else source() as stream:
                info = tarfile.TarInfo(f"{top}/{path}")  # mode 0644, no owner, no time
                info.size = stream.seek(0, os.SEEK_END)
                stream.seek(0)
                archive.addfile(info, _Counted(stream, advance))  # type: ignore[arg-type]  # only read() is called


class _Counted:
    """A stream that says how much was read."""

    def __init__(self, stream: IO[bytes], advance: Callable[[int], None]) -> None:
        self._stream, self._advance = stream, advance

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._advance(len(data))
        return data


def archive_files(path: Path) -> dict[str, Callable[[], BinaryIO]]:
    """Path beneath the top folder, to opener: what `run_folder` gives for a folder.

    Raises:
        ArchiveError: see the module.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ArchiveError(f"{path} is not a regular file")
        members = list(_members(file, path))
    return {name: partial(_part, path, member) for name, member in _beneath_top(members, path).items()}


def top_folder(path: Path) -> str:
    """The name of the one top folder: the run's id in an archive that `ml export` made (errors as above)."""
    with path.open("rb") as file:
        return next((member.name.partition("/")[0] for member in _members(file, path)), "")


def _members(file: BinaryIO, path: Path) -> Iterator[_Member]:
    """Every regular file, in order, without its content."""
    end, count, pax = os.fstat(file.fileno()).st_size, 0, dict[str, str]()
    while (header := file.read(BLOCK)) and header.strip(b"\0"):
        kind, name, size = _header(header, path)
        size, start = int(pax.get("size", size)), file.tell()
        if start + size > end:
            raise ArchiveError(f"{path} ends in the middle of {name!r}: it is damaged")
        if kind == _PAX:
            pax = _pax(file.read(size), path)
        else:
            count += 1
            if count > MAX_MEMBERS:
                raise ArchiveError(f"{path} holds more than {MAX_MEMBERS} files")
            yield _Member(pax.get("path", name), start, size)
            pax = {}
        file.seek(start + (size + BLOCK - 1) // BLOCK * BLOCK)


def _header(header: bytes, path: Path) -> tuple[bytes, str, int]:
    """Type, name and size; only what `write_archive` writes."""
    kind = header[156:157]
    if header[257:262] != b"ustar":
        raise ArchiveError(f"{path} is not a tar archive; a compressed one must be decompressed first")
    try:
        if sum(header[:148]) + sum(header[156:]) + 8 * 0x20 != _octal(header[148:156]) or len(header) != BLOCK:
            raise ArchiveError(f"{path}: a header is damaged")
        prefix, name = (header[start:stop].split(b"\0")[0].decode() for start, stop in ((345, 500), (0, 100)))
        size = _octal(header[124:136])
    except ValueError as error:
        raise ArchiveError(str(error) if isinstance(error, ArchiveError) else f"{path}: a header is damaged") from error
    name = f"{prefix}/{name}" if prefix else name
    if kind not in (_REGULAR, _PAX):
        raise ArchiveError(f"{path}: {name!r} is no regular file (tar type {kind!r}); links and the like are refused")
    if kind == _PAX and size > _MAX_PAX:
        raise ArchiveError(f"{path}: a header of {size} bytes; at most {_MAX_PAX} are read")
    return kind, name, size


def _octal(text: bytes) -> int:
    digits = text.strip(b" \0")
    if digits.strip(b"01234567"):
        raise ValueError(f"{digits!r} is no octal number")
    return int(digits or b"0", 8)


def _pax(data: bytes, path: Path) -> dict[str, str]:
    """The records of a pax header, each "length key=value\\n"."""
    found = {}
    while data:
        text, _, rest = data.partition(b" ")
        length = int(text) if text.isdigit() and len(text) < 8 else 0
        key, equals, value = rest[: max(length - len(text) - 1, 0)].partition(b"=")
        if not equals or not value.endswith(b"\n") or key not in (b"path", b"size"):
            raise ArchiveError(f"{path}: a header says {key[:40]!r}; only path and size are understood")
        try:
            found[key.decode()] = value[:-1].decode()
        except UnicodeDecodeError as error:
            raise ArchiveError(f"{path}: a name is not UTF-8") from error
        data = data[length:]
    size = found.get("size", "0")
    if not size.isdecimal() or len(size) > 19:
        raise ArchiveError(f"{path}: a header states the size {size[:40]!r}")
    return found


def _beneath_top(members: list[_Member], path: Path) -> dict[str, _Member]:
    """Members by their path beneath the one top folder."""
    found: dict[str, _Member] = {}
    folded: set[str] = set()
    for member in members:
        parts = member.name.split("/")
        odd = {"", ".", ".."} & set(parts) or not member.name.isprintable() or "\\" in member.name
        if odd or len(parts) < 2 or len(member.name.encode()) > MAX_NAME:
            raise ArchiveError(f"{path}: {member.name[:200]!r} is no plain path beneath a folder")
        if parts[0] != members[0].name.split("/")[0]:
            raise ArchiveError(f"{path} has more than one top folder: {members[0].name!r} and {member.name!r}")
        if member.name.casefold() in folded:
            raise ArchiveError(f"{path} holds {member.name!r} twice (letter case aside)")
        folded.add(member.name.casefold())
        found["/".join(parts[1:])] = member
    if not found:
        raise ArchiveError(f"{path} holds no files")
    return found


class _Range(io.RawIOBase):
    """Some bytes of a file, as a file of their own."""

    def __init__(self, path: Path, member: _Member) -> None:
        self._file = path.open("rb", buffering=0)
        self._member = member
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._member.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]  # a buffer is what BufferedReader gives
        left = max(self._member.size - self._at, 0)
        data = os.pread(self._file.fileno(), min(len(buffer), left), self._member.offset + self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _part(path: Path, member: _Member) -> BinaryIO:
    return io.BufferedReader(_Range(path, member))
