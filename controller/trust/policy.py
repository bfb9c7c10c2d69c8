"""A trust policy held against a finished run: did it reach the level, and was it brought and approved by whom it says?

Promises: pure. Only what the run's own verified records show counts. A rule with paths applies to every run of its
namespaces, because a run does not record where its spec lay; so it can only be too strict.
Does not: verify the records (verify.py does, before).
"""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from controller.api.catalog import PolicySubject, TrustRule
from controller.api.manifest import RunManifest
from controller.facts.facts import Subject
from controller.trust.approval import Approval
from controller.trust.levels import at_least
from controller.trust.records import Check, failed

POLICY = "policy"


def policy_checks(
    rules: Iterable[TrustRule], manifest: RunManifest, level: str, approvals: tuple[Approval, ...]
) -> tuple[Check, ...]:
    """One check for each demand of each rule that applies; one that says so when none does."""
    applying = [rule for rule in rules if _applies(rule, manifest.namespace)]
    checks = tuple(check for rule in applying for check in _rule(rule, manifest, level, approvals))
    nothing = Check(POLICY, ok=True, message=f"no rule applies to the namespace {manifest.namespace}")
    return checks or (nothing,)


def _applies(rule: TrustRule, namespace: str) -> bool:
    return any(fnmatchcase(namespace, name) for name in rule.namespaces or ("*",))


def _rule(rule: TrustRule, manifest: RunManifest, level: str, approvals: tuple[Approval, ...]) -> Iterator[Check]:
    wanted = rule.min_trust_level
    yield _check(at_least(level, wanted), "TrustLevelTooLow", f"{wanted} is required, the run reached {level}")
    if rule.require_signed_commits or rule.submitters is not None:
        yield _submitters(rule, manifest)
    if rule.require_approval or rule.approvers is not None:
        yield _approvers(rule, manifest, approvals)


def _check(holds: bool, reason: str, message: str) -> Check:
    return Check(POLICY, ok=True, message=message) if holds else failed(POLICY, reason, message, "")


def _submitters(rule: TrustRule, manifest: RunManifest) -> Check:
    seen = manifest.submission
    if seen is None or not all(seen.signers):
        return _check(False, "CommitNotSigned", "the run records no signer of the commits that brought its spec")
    who = ", ".join(sorted(set(seen.signers)))
    allowed = rule.submitters is None or all(
        _names(rule.submitters, owner, key) for owner, key in zip(seen.signers, seen.keys, strict=True)
    )
    return _check(allowed, "SubmitterNotAllowed", f"its spec was signed by {who}")


def _approvers(rule: TrustRule, manifest: RunManifest, approvals: tuple[Approval, ...]) -> Check:
    submitters = manifest.submission.signers if manifest.submission else ()
    counting = [
        each.owner or each.key_id
        for each in approvals
        if each.owner not in submitters and (rule.approvers is None or _names(rule.approvers, each.owner, each.key_id))
    ]
    message = (
        f"its plan was approved by {', '.join(counting)}" if counting else "nobody whom it names approved its plan"
    )
    return _check(bool(counting), "ApprovalMissing", message)


def _names(subjects: Iterable[PolicySubject], owner: str, key_id: str) -> bool:
    return any(Subject(each.user, each.key_id).allows(owner, key_id) for each in subjects)
