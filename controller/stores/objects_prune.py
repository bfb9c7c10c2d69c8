"""Which objects nobody needs: what is referenced, and what may go.

Promises: an object that is referenced, or was used since the given time, never goes; a manifest that cannot be read
keeps everything (its files are unknown). A digest that merely stands in a text counts as a reference. Does not: know
which texts there are, or look into other people's repositories.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Set
from typing import NamedTuple

from controller.ports.objectstore import AbsentError, StoredObject
from controller.stores.objects import FileObjects

GRACE = 24 * 3600.0
"""Seconds that an unreferenced object lives at least: a sync or launch under way has put or looked at it, and has not
yet written down why."""
_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_LINE = re.compile(rb"\A[0-9a-f]{64}  \./|\A\0")
"""How every manifest begins: with a line, or (no files) with the empty record."""


class Pruned(NamedTuple):
    """What a prune did, or would do."""

    objects: int
    size: int
    """Bytes."""
    kept_by_use: int
    """Objects that somebody began to use meanwhile."""


def mentioned(text: bytes) -> Iterator[str]:
    """Every digest that stands in a text."""
    return ("sha256:" + found.group().decode() for found in _DIGEST.finditer(text))


def reachable(store: FileObjects, roots: Iterable[str]) -> Set[str]:
    """The roots, and what those of them that are manifests name.

    Raises:
        DamagedError: a manifest is damaged.
    """
    kept = set(roots)
    for root in tuple(kept):
        try:
            if _LINE.match(store.first(root, 68)):
                with store.open(root) as file:
                    kept.update(mentioned(file.read()))
        except AbsentError:
            continue
    return kept


def unneeded(
    listing: Iterable[StoredObject], kept: Set[str], before: float, largest: int | None = None
) -> list[StoredObject]:
    """What may go, longest unused first.

    Args:
        listing: all objects.
        kept: digests that are needed.
        before: an object used at or after this time stays (seconds since the epoch).
        largest: stop once all objects together take no more than this many bytes; None: all that may go.
    """
    there = list(listing)
    found = sorted(
        (item for item in there if item.sha256 not in kept and item.used < before), key=lambda item: item.used
    )
    if largest is None:
        return found
    total = sum(item.size for item in there)
    for count, item in enumerate(found):
        if total <= largest:
            return found[:count]
        total -= item.size
    return found


def remove(
    store: FileObjects, objects: Iterable[StoredObject], before: float, progress: Callable[[int], object] = int
) -> Pruned:
    """Delete them, except what was used since `before`, and the leftovers of writers that were killed by then."""
    count = size = kept = 0
    with store.batch():
        for item in objects:
            if store.delete(item.sha256, unless_used_since=before):
                count, size = count + 1, size + item.size
            else:
                kept += 1
            progress(count + kept)
    store.sweep(before)
    return Pruned(count, size, kept)
