"""The snapshot is in the object store and its bytes have the stated digest.

Reasons: SnapshotNotFound (Wait), SnapshotCorrupt (Refuse).
"""

from collections.abc import Iterator

from controller.preflight.model import Context, Finding, Rule

RULE = Rule("snapshot")
_FIELD = "spec.source.snapshot"


def check(context: Context) -> Iterator[Finding]:
    """Judges spec.source.snapshot."""
    source, facts = context.spec.source, context.facts.snapshot
    if source is None or source.snapshot is None:
        yield RULE.passed("no snapshot")
    elif facts is None or not facts.found:
        why = f": {facts.error}" if facts and facts.error else ""
        fix = "ml sync the folder here first, or set object_store to where it was put"
        yield RULE.wait("SnapshotNotFound", f"{source.snapshot} is not in the object store{why}", _FIELD, fix)
    elif not facts.verified or facts.sha256 != source.snapshot:
        why = facts.error or "its bytes do not have the stated digest"
        yield RULE.refuse(
            "SnapshotCorrupt",
            f"{source.snapshot}: {why}",
            _FIELD,
            "ml sync --rehash the folder, and write the digest that it prints",
        )
    else:
        yield RULE.passed(f"snapshot {source.snapshot[:19]} verified")
