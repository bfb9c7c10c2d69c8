"""The dependency lock is in the source, has the stated digest, and pins every requirement by version and hash.

Reasons: DependencyManifestMissing, DependencyManifestInvalid, DependencyNotPinned, DependencyChecksumMissing,
DependencyChecksumMismatch (Refuse); SourceNotReady (Wait: the lock cannot be read before the source is there).
"""

from collections.abc import Iterator

from controller.api.experiment import Dependencies
from controller.facts.facts import LockFacts
from controller.preflight.model import Context, Finding, Rule, names, source_pending

RULE = Rule("dependencies")
_MANIFEST = "spec.environment.dependencies.manifest"
_SHA256 = "spec.environment.dependencies.sha256"


def check(context: Context) -> Iterator[Finding]:
    """One finding per objection to the lock."""
    stated, lock, source = context.spec.environment.dependencies, context.facts.lock, context.spec.source
    if stated is None:
        yield RULE.passed("no dependencies")
    elif source is None:
        message = f"{stated.manifest!r} cannot be read: the spec has no source"
        yield RULE.refuse("DependencyManifestMissing", message, _MANIFEST, "add spec.source, which holds the lock")
    elif (lock is None or not lock.found) and (pending := source_pending(source, context.facts)):
        yield RULE.wait(
            "SourceNotReady",
            f"{stated.manifest!r} cannot be read: {pending}",
            _MANIFEST,
            "make the source available first",
        )
    elif lock is None or not lock.found:
        message = f"{stated.manifest!r} is not in the source" + (f": {lock.error}" if lock and lock.error else "")
        yield RULE.refuse(
            "DependencyManifestMissing", message, _MANIFEST, f"commit {stated.manifest}, relative to source.git.path"
        )
    else:
        yield from tuple(_objections(stated, lock)) or (RULE.passed(f"{lock.packages} package(s), all pinned by hash"),)


def _objections(stated: Dependencies, lock: LockFacts) -> Iterator[Finding]:
    if lock.error:
        message = f"{lock.manifest}: {lock.error}"
        yield RULE.refuse(
            "DependencyManifestInvalid", message, _MANIFEST, "write it with pip-compile --generate-hashes or uv export"
        )
    if lock.unpinned:
        message = f"without an exact version and a sha256 hash: {names(lock.unpinned)}"
        yield RULE.refuse(
            "DependencyNotPinned", message, _MANIFEST, "write it with pip-compile --generate-hashes or uv export"
        )
    if stated.sha256 is None:
        message = f"{lock.manifest} has no stated digest"
        yield RULE.refuse(
            "DependencyChecksumMissing", message, _MANIFEST.rpartition(".")[0], f'write sha256: "{lock.sha256}"'
        )
    elif stated.sha256 != lock.sha256:
        message = f"{lock.manifest} has {lock.sha256}, the spec says {stated.sha256}"
        yield RULE.refuse(
            "DependencyChecksumMismatch", message, _SHA256, f'write sha256: "{lock.sha256}" if the new lock is meant'
        )
