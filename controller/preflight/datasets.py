"""Every dataset has a stated digest, is there, may be used, and has that digest.

Reasons: DatasetChecksumMissing, DatasetChecksumMismatch, and what the facts say about its place (PathOutsideRoots,
SymlinkInDataset, SpecialFile, UnsupportedScheme, DatasetNotInCatalogue, ...) (Refuse); DatasetNotFound,
UnreadableDataset (Wait).
"""

from collections.abc import Iterator

from controller.api.experiment import DatasetRef
from controller.facts.facts import DatasetFacts
from controller.preflight.model import Context, Finding, Rule

RULE = Rule("datasets")

_WAITING = frozenset({"DatasetNotFound", "UnreadableDataset"})
_FIXES = {
    "PathOutsideRoots": "use a path in the repository, or ask the operator to add its folder to dataset_roots",
    "SymlinkInDataset": "replace the link by the file itself",
    "SpecialFile": "a dataset holds regular files and folders only",
    "UnsupportedScheme": "write uri: file:<path from the repository's root>",
    "DatasetNotInCatalogue": "ml dataset list shows what there is; ml dataset add makes an entry",
    "UnreadableDataset": "let the reconciler's user read it (chmod)",
}


def check(context: Context) -> Iterator[Finding]:
    """The objections to each dataset, in spec order."""
    by_name = {facts.name: facts for facts in context.facts.datasets}
    objections = [
        finding
        for index, dataset in enumerate(context.spec.datasets)
        for finding in _objections(f"spec.datasets[{index}]", dataset, by_name.get(dataset.name))
    ]
    yield from objections or [RULE.passed(_message(context))]


def _message(context: Context) -> str:
    count, total = len(context.spec.datasets), sum(facts.size for facts in context.facts.datasets)
    return f"{count} verified, {total} bytes" if count else "no datasets"


def _objections(field: str, dataset: DatasetRef, facts: DatasetFacts | None) -> Iterator[Finding]:
    stated = dataset.sha256 or (facts.pinned if facts else None)
    if stated is None and not dataset.uri.startswith("dataset:"):
        yield _without_digest(field, dataset, facts)
    if facts is None or not facts.found or facts.reason:
        yield _unusable(f"{field}.uri", dataset, facts)
    elif facts.pinned is not None and dataset.sha256 not in (None, facts.pinned):
        message = f"{dataset.name}: the catalogue has {dataset.uri} with {facts.pinned}, the spec says {dataset.sha256}"
        fix = "leave sha256 out to take the catalogue's, or name the version that was meant with dataset:NAME@VERSION"
        yield RULE.refuse("DatasetChecksumMismatch", message, f"{field}.sha256", fix)
    elif stated is not None and facts.sha256 != stated:
        said = "the spec" if dataset.sha256 else "the catalogue"
        message = f"{dataset.name}: {dataset.uri} has {facts.sha256}, {said} says {stated}"
        fix = f'write sha256: "{facts.sha256}" if the new data is meant, else restore the data'
        yield RULE.refuse("DatasetChecksumMismatch", message, f"{field}.sha256", fix)


def _without_digest(field: str, dataset: DatasetRef, facts: DatasetFacts | None) -> Finding:
    digest = facts.sha256 if facts is not None and facts.sha256 else "sha256:<what sha256sum prints>"
    return RULE.refuse(
        "DatasetChecksumMissing", f"{dataset.name} has no stated digest", field, f'write sha256: "{digest}"'
    )


def _unusable(field: str, dataset: DatasetRef, facts: DatasetFacts | None) -> Finding:
    reason = (facts.reason if facts else "") or "DatasetNotFound"
    message = f"{dataset.name}: " + ((facts.message if facts else "") or f"{dataset.uri} is not there")
    fix = _FIXES.get(reason) or _put_it_there(dataset.uri)
    return (RULE.wait if reason in _WAITING else RULE.refuse)(reason, message, field, fix)


def _put_it_there(uri: str) -> str:
    if uri.startswith("dataset:"):
        return "ml dataset add the data here, or set object_store to the store that has it"
    if uri.startswith(("http:", "https:")):
        return "ml dataset prefetch the spec; addresses are never fetched because a spec names them"
    return f"put the data at {uri}, or correct the uri"
