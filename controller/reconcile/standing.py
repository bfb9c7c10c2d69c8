"""Quota, TrustPolicy and Dataset documents of the source: what stands for all experiments beside them.

Promises: read again only when one of them changed; one that is invalid now, or whose deletion is not confirmed, stays
in force as it was; quotas apply all, each with its own bounds. Rules of a TrustPolicy may only tighten what the
operator's settings and policies say, because whoever submits specs can write to the same folder: they raise the
required trust level, ask for signatures and approvals, and `allowNetwork` is left to the settings. Every rule that
matches applies; two that name different people must both be satisfied.
Does not: judge.
"""

import threading
from collections.abc import Iterable
from fnmatch import fnmatchcase

from controller.api.catalog import Dataset, PolicySubject, Quota, TrustPolicy, TrustRule
from controller.api.documents import Document
from controller.api.problems import InvalidDocumentError
from controller.facts.facts import Subject, Subjects
from controller.placement import Limit, limits_of
from controller.ports.source import Key, Source, key_of

KINDS = frozenset({"Dataset", "Quota", "TrustPolicy"})


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
        return matching((rule for policy in policies for rule in policy.spec.rules), document)

    def datasets(self, source: Source, namespace: str) -> tuple[Dataset, ...]:
        """The catalogue entries of a namespace."""
        models = (other.model for other in self._now(source))
        return tuple(each for each in models if isinstance(each, Dataset) and each.metadata.namespace == namespace)

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


def matching(rules: Iterable[TrustRule], document: Document) -> tuple[TrustRule, ...]:
    """The rules that match this spec, by namespace and path."""
    return tuple(rule for rule in rules if _matches(rule, document))


def required_level(rules: Iterable[TrustRule]) -> str:
    """The highest level that the rules ask for; L0 without any."""
    return max((rule.min_trust_level for rule in rules), default="L0")


def subjects(stated: Iterable[tuple[PolicySubject, ...] | None]) -> tuple[Subjects, ...]:
    """What several rules say of who may; one that says nothing is left out."""
    return tuple(tuple(Subject(each.user, each.key_id) for each in rule) for rule in stated if rule is not None)
