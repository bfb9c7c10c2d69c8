"""Content-addressed objects on a file system: ``objects/<2 hex>/<62 hex>``.

Promises: an object is there whole or not at all (temporary file, fsync, rename, fsync of the folder); what is read
has its digest. Does not: collect garbage.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from controller.api.canonical import digest_bytes, hex_of
from controller.ports import durable
from controller.ports.objectstore import ObjectStore

PUT = durable.register("objects.put", "an object appears in the object store")


class FileObjects(ObjectStore):
    """Objects beneath one folder, which is made when the first is put."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, sha256: str) -> bool:
        """See ObjectStore.has; False for text that is no digest."""
        try:
            return self._path(sha256).is_file()
        except ValueError:
            return False

    def put(self, data: bytes) -> str:
        """See ObjectStore.put. A damaged object of that digest is replaced.

        Raises:
            OSError: the disk is full or not writable; nothing was changed.
        """
        digest = digest_bytes(data)
        path = self._path(digest)
        if not _holds(path, data):
            path.parent.mkdir(parents=True, exist_ok=True)
            with durable.step(PUT):
                _write(path, data)
        return digest

    def open(self, sha256: str) -> BinaryIO:
        """See ObjectStore.open."""
        try:
            file = self._path(sha256).open("rb")
        except (FileNotFoundError, ValueError) as error:
            raise LookupError(f"{sha256} is not in the object store") from error
        if hashlib.file_digest(file, "sha256").hexdigest() != hex_of(sha256):
            file.close()
            raise ValueError(f"object {sha256} is damaged: its bytes have another digest; put it again")
        file.seek(0)
        return file

    def _path(self, sha256: str) -> Path:
        digits = hex_of(sha256)
        return self._folder / digits[:2] / digits[2:]


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def _write(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o444)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    for folder in (path.parent, path.parent.parent):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
