"""Quota and TrustPolicy documents of the source: what stands for all experiments beside them.

Promises: read again only when one of them changed; one that is invalid now, or whose deletion is not confirmed, stays
in force as it was; quotas apply all, each with its own bounds. Rules of a TrustPolicy may only tighten what the
operator's settings say, because whoever submits specs can write to the same folder: they raise the required trust
level and ask for approval, and `allowNetwork` is left to the settings. What a rule demands and this release cannot
check is refused, not ignored: signed commits and submitters need L3 (the level whose criteria include the signature
of the commit), approvers need L4 (that of signed approvals).
Does not: judge.
"""

import threading
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from controller.api.catalog import Quota, TrustPolicy, TrustRule
from controller.api.documents import Document
from controller.api.problems import InvalidDocumentError
from controller.placement import Limit, limits_of
from controller.ports.source import Key, Source, key_of

KINDS = frozenset({"Quota", "TrustPolicy"})


class Standing:
    """The documents in force. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._documents: dict[Key, tuple[Document, ...]] | None = None
        self._stale: set[Key] = set()

    def changed(self, keys: Iterable[Key]) -> bool:
        """Note that these keys are to be read again; False when none of them is of our kinds."""
        mine = {key for key in keys if key.kind in KINDS}
        with self._lock:
            self._stale |= mine
        return bool(mine)

    def limits(self, source: Source) -> tuple[Limit, ...]:
        """Every quota as numbers."""
        return limits_of(document.model for document in self._now(source) if isinstance(document.model, Quota))

    def rules(self, source: Source, document: Document) -> tuple[TrustRule, ...]:
        """The rules that match this spec, by namespace and path."""
        policies = (other.model for other in self._now(source) if isinstance(other.model, TrustPolicy))
        return tuple(rule for policy in policies for rule in policy.spec.rules if _matches(rule, document))

    def _now(self, source: Source) -> tuple[Document, ...]:
        with self._lock:
            if self._documents is None:
                self._documents = {}
                for document in source.standing(KINDS):
                    self._documents[key_of(document)] = (*self._documents.get(key_of(document), ()), document)
            while self._stale:
                self._read(source, self._documents, self._stale.pop())
            return tuple(document for found in self._documents.values() for document in found)

    @staticmethod
    def _read(source: Source, documents: dict[Key, tuple[Document, ...]], key: Key) -> None:
        try:
            found = source.get(key)
        except InvalidDocumentError:
            return
        if found:
            documents[key] = found
        elif key not in source.keys():  # noqa: SIM118  # a source is no mapping
            documents.pop(key, None)


def _matches(rule: TrustRule, document: Document) -> bool:
    namespaces, paths = rule.namespaces or ("*",), rule.paths or ("*",)
    return any(fnmatchcase(document.namespace, name) for name in namespaces) and any(
        fnmatchcase(document.file, path) for path in paths
    )


def required_level(rules: Iterable[TrustRule]) -> str:
    """The highest level that the rules ask for; L0 without any."""
    return max((level for rule in rules for level in _levels(rule)), default="L0")


def _levels(rule: TrustRule) -> Iterator[str]:
    yield rule.min_trust_level
    if rule.require_signed_commits or rule.submitters:
        yield "L3"
    if rule.approvers:
        yield "L4"
