"""The status file beside a spec: ``<name>.status.yaml``, one YAML document for each spec document.

Promises: written atomically; a file of that name that is not ours is never touched.
Does not: decide when a status goes here.
"""

import errno
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from typing import Any

from controller.api.documents import Document, with_status
from controller.ports import durable
from controller.ports.source import Key, key_of
from controller.sources import exchange
from controller.sources.scan import LEFTOVER_MARK

WRITE_SIDECAR = durable.register("folder.write_sidecar", "the status file beside a spec is as it should be")

_MARKER = b"# Status written by the reconciler. Do not edit.\n"
_SEPARATOR = b"---\n"


def file_name(path: str) -> str:
    """Name of the sidecar of a spec file (``a.yaml``: ``a.status.yaml``, ``a.yml``: ``a.yml.status.yaml``)."""
    return path.rpartition("/")[2].removesuffix(".yaml") + ".status.yaml"


def write(folder: int, document: Document, status: Mapping[str, Any], known: Iterable[Key]) -> None:
    """Write one document's status; those of the other `known` keys stay, any other goes. No write if nothing changes.

    Raises:
        OSError: it cannot be written; nothing was changed.
    """
    name = file_name(document.file)
    before = _read(folder, name)
    data = merged(before, document, status, {_header(key_of(document)), *map(_header, known)})
    if data != before:
        _replace(folder, name, data)


def merged(
    before: bytes, document: Document, status: Mapping[str, Any], wanted: frozenset[bytes] | set[bytes] | None = None
) -> bytes:
    """A status file with this document's status in it; blocks of headers that are not `wanted` go (None: all stay)."""
    mine = _header(key_of(document))
    blocks = {_head_of(block): block for block in _blocks(before) if block}
    kept = {head: block for head, block in blocks.items() if wanted is None or head in wanted}
    kept[mine] = with_status(mine, status)
    return _SEPARATOR.join(_MARKER + block for _, block in sorted(kept.items()))


def is_ours(data: bytes) -> bool:
    """Did we write this status file? Nothing (no file) counts as ours."""
    return not data or data.startswith(_MARKER)


def _head_of(block: bytes) -> bytes:
    """The lines of `_header` that a block begins with."""
    return b"".join(block.splitlines(keepends=True)[: _header(Key("", "", "")).count(b"\n")])


def remove(folder: int, path: str) -> None:
    """Remove the sidecar if it is ours. Failing to do so loses nothing."""
    name = file_name(path)
    with suppress(OSError):
        if _read(folder, name):
            with durable.step(WRITE_SIDECAR):
                os.unlink(name, dir_fd=folder)


def _header(key: Key) -> bytes:
    lines = (
        "apiVersion: fetchml.dev/v1alpha1",
        f"kind: {key.kind}",
        "metadata:",
        f'  name: "{key.name}"',
        f'  namespace: "{key.namespace}"',
    )
    return "".join(f"{line}\n" for line in lines).encode()


def _blocks(data: bytes) -> list[bytes]:
    return [part.removeprefix(_MARKER) for part in re.split(rb"(?m)^---\n", data)]


def _read(folder: int, name: str) -> bytes:
    """The sidecar's bytes; empty when there is none.

    Raises:
        OSError: a file of that name is not ours, or cannot be read.
    """
    with ExitStack() as stack:
        try:
            data = exchange.hold(stack, folder, name).data
        except FileNotFoundError:
            return b""
    if not is_ours(data):
        raise FileExistsError(errno.EEXIST, f"{name} is in the way and was not written by the reconciler", name)
    return data


def _replace(folder: int, name: str, data: bytes) -> None:
    temp = f".{name}{LEFTOVER_MARK}{exchange.SIDECAR}"
    with durable.step(WRITE_SIDECAR):
        descriptor = exchange.create(folder, temp)
        try:
            exchange.write_all(descriptor, data)
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
            os.rename(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        except OSError:
            exchange.discard(folder, temp)
            raise
        finally:
            os.close(descriptor)
