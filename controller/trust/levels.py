"""Trust levels L0 to L4: computed from evidence, cumulative, every cap with its reason.

Promises: `judge` is a table of criteria over `Evidence`; a criterion that is not known to be met caps the level.
`launch_ceiling` says what a run may reach at most, `judge_run` what a finished run has reached, from its manifest and
from what others signed about it since (`Later`).
Does not: take anybody's word for a level, look anything up, or verify signatures (`envelope` does). L4 of this scale is
not a level of SLSA, whose build track ends at 3.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from controller.api.experiment import Experiment
from controller.facts.facts import DatasetFacts, Facts
from controller.trust.sandbox import hides_keys, isolation_gaps, outer_uid

if TYPE_CHECKING:
    from controller.api.manifest import RunManifest

LEVELS = ("L0", "L1", "L2", "L3", "L4")
_PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Cap:
    """Why the level is not higher."""

    level: str
    """The highest level that this cap allows."""
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """The level, and every cap, lowest first."""

    level: str
    caps: tuple[Cap, ...] = ()

    @property
    def binding(self) -> tuple[Cap, ...]:
        """The caps that hold the level where it is."""
        return tuple(cap for cap in self.caps if cap.level == self.level)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known. True: shown; False: shown not to be so; None: not known (yet)."""

    commit_exists: bool | None = None
    commit_reachable: bool | None = None
    tree_clean: bool | None = None
    pushed: bool | None = None
    snapshot_verified: bool | None = None
    image_pinned: bool | None = None
    lock_pinned: bool | None = None
    interpreter_recorded: bool | None = None
    datasets_verified: bool | None = None
    manifest_complete: bool | None = None
    plan_recomputes: bool | None = None
    key_out_of_reach: bool | None = None
    """The run could not read the signing key: a sandbox that hides it, or another user id."""
    inputs_unchanged: bool | None = None
    inputs_untouched: bool | None = None
    """No file of an input was written, touched or replaced, not even with the same bytes."""
    inputs_rehashed: bool | None = None
    signing_key: bool | None = None
    signature_verifies: bool | None = None
    spec_equals_blob: bool | None = None
    """The user part equals the git blob, read by the reconciler itself."""
    submitter_is_other: bool | None = None
    """The key's owner is not the submitter."""
    run_uid_is_other: bool | None = None
    """The key's owner is not the run's (outer) uid."""
    beyond_process: bool | None = None
    """Not the process runtime."""
    sandbox_observed: bool | None = None
    commit_signed: bool | None = None
    """The commit that introduced the user part is signed by an allowed key."""
    isolated: bool | None = None
    image_fresh: bool | None = None
    """A fresh container; a warmed image only if its layers were proved equal."""
    reviewed: bool | None = None
    """Two distinct allowed identities signed the same plan hash."""
    no_network: bool | None = None
    reproduced: bool | None = None
    comparison_signed: bool | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    """By reason: what to add to the cap's message."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that a level above `level` needs."""

    level: str
    reason: str
    met: Callable[[Evidence], bool | None]
    message: str


CRITERIA = (
    Criterion("L0", "CommitNotFound", lambda e: e.commit_exists, "the commit of the code was not found"),
    Criterion("L0", "CommitNotReachable", lambda e: e.commit_reachable, "the commit is not reachable from the ref"),
    Criterion("L0", "DirtyTree", lambda e: e.tree_clean, "the work tree differs from the commit"),
    Criterion("L0", "NotPushed", lambda e: e.pushed, "the commit is in no remote-tracking ref; push it"),
    Criterion("L0", "SnapshotNotVerified", lambda e: e.snapshot_verified, "the snapshot was not found and verified"),
    Criterion("L0", "ImageNotPinned", lambda e: e.image_pinned, "the image is not pinned by digest"),
    Criterion("L0", "LockMissing", lambda e: e.lock_pinned, "the dependencies are not pinned by a lock with hashes"),
    Criterion("L0", "InterpreterNotRecorded", lambda e: e.interpreter_recorded, "no interpreter is recorded"),
    Criterion("L0", "DatasetNotVerified", lambda e: e.datasets_verified, "not every dataset has a verified sha256"),
    Criterion("L0", "ManifestIncomplete", lambda e: e.manifest_complete, "the run manifest is not complete"),
    Criterion("L0", "PlanHashMismatch", lambda e: e.plan_recomputes, "the stored plan does not have the stated digest"),
    Criterion(
        "L0",
        "RunCanForge",
        lambda e: e.key_out_of_reach,
        "the run has no sandbox and the reconciler's user id: it could read the signing key and forge its records",
    ),
    Criterion(
        "L0",
        "InputsChangedDuringRun",
        lambda e: e.inputs_unchanged,
        "an input has another digest after the run than before: what the run read is not known",
    ),
    Criterion(
        "L0",
        "InputsTouchedDuringRun",
        lambda e: e.inputs_untouched,
        "an input was written, touched or replaced between its two checks: it has the same bytes again, but that the "
        "run read these is not shown",
    ),
    Criterion("L1", "NoSigningKey", lambda e: e.signing_key, "there is no signing key; make one with `ml key new`"),
    Criterion("L1", "SignatureMissing", lambda e: e.signature_verifies, "no statement verifies against the trust root"),
    Criterion(
        "L1",
        "SpecNotCommitted",
        lambda e: e.spec_equals_blob,
        "the spec was not shown to equal its committed blob in git",
    ),
    Criterion("L1", "RehashMissing", lambda e: e.inputs_rehashed, "the inputs were not all hashed again after the run"),
    Criterion(
        "L1",
        "SubmitterIsReconciler",
        lambda e: e.submitter_is_other,
        "whoever submitted the spec also runs the reconciler and owns its key",
    ),
    Criterion(
        "L1",
        "RunSharesKeyOwner",
        lambda e: e.run_uid_is_other,
        "outside its sandbox the run has the user id that owns the signing key",
    ),
    Criterion(
        "L2", "ProcessRuntime", lambda e: e.beyond_process, "the process runtime shares the host's kernel and user"
    ),
    Criterion("L2", "NoSandboxFacts", lambda e: e.sandbox_observed, "no isolation was observed from inside the run"),
    Criterion(
        "L2",
        "CommitNotSigned",
        lambda e: e.commit_signed,
        "the commit that introduced the spec was not shown to be signed by an allowed key",
    ),
    Criterion("L2", "NotIsolated", lambda e: e.isolated, "the isolation observed inside the run has gaps"),
    Criterion(
        "L2",
        "ImageNotFresh",
        lambda e: e.image_fresh,
        "the run was not shown to start in a fresh container from exactly the pinned image",
    ),
    Criterion("L3", "NotReviewed", lambda e: e.reviewed, "no two distinct identities signed this plan"),
    Criterion("L3", "NetworkAllowed", lambda e: e.no_network, "the run may use the network"),
    Criterion("L3", "NotReproduced", lambda e: e.reproduced, "no run on another machine has given the same results"),
    Criterion("L3", "ComparisonNotSigned", lambda e: e.comparison_signed, "no second key has signed a comparison"),
)
"""Every criterion of design laws section "Trust levels", by the level that its absence leaves."""


def judge(evidence: Evidence, *, unknown: Literal["cap", "hope"] = "cap") -> Judgement:
    """The level that the evidence shows. With ``hope``, what is not known yet counts as met: the most it may reach."""
    failed = (c for c in CRITERIA if not (unknown == "hope" if c.met(evidence) is None else c.met(evidence)))
    return judgement_of(Cap(c.level, c.reason, _message(c, evidence)) for c in failed)


def _message(criterion: Criterion, evidence: Evidence) -> str:
    detail = evidence.details.get(criterion.reason)
    return f"{criterion.message}: {detail}" if detail else criterion.message


def judgement_of(caps: Iterable[Cap]) -> Judgement:
    """The level that a set of caps leaves: the lowest; of two caps with one reason the lower is kept."""
    kept: dict[str, Cap] = {}
    for cap in caps:
        if cap.reason not in kept or cap.level < kept[cap.reason].level:
            kept[cap.reason] = cap
    ordered = tuple(sorted(kept.values(), key=lambda cap: cap.level))
    return Judgement(ordered[0].level if ordered else LEVELS[-1], ordered)


def at_least(level: str, required: str) -> bool:
    """Does `level` reach `required`?"""
    return LEVELS.index(level) >= LEVELS.index(required)


def launch_ceiling(experiment: Experiment, facts: Facts, runtime: str, plan_sha256: str = "") -> Judgement:
    """What a run of this spec may reach at most on this host, by what is known before it starts."""
    return judge(launch_evidence(experiment, facts, runtime, plan_sha256), unknown="hope")


def _verified(stated: str | None, found: DatasetFacts | None) -> bool:
    """Has it the digest that the spec states, or the catalogue entry that the spec names?"""
    return found is not None and found.sha256 is not None and found.sha256 == (stated or found.pinned)


def launch_evidence(experiment: Experiment, facts: Facts, runtime: str, plan_sha256: str = "") -> Evidence:
    """The evidence before a launch of this plan. What only the run can show stays None."""
    spec, policy, sandbox = experiment.spec, facts.policy, facts.host.sandbox
    owners = {each.owner for each in facts.approvals if each.owner and each.plan_sha256 == plan_sha256}
    process = runtime == _PROCESS
    code = _code_evidence(experiment, facts)
    found = {dataset.name: dataset for dataset in facts.datasets if dataset.found}
    return replace(
        code,
        image_pinned=process or "@sha256:" in (spec.environment.image or ""),
        lock_pinned=_lock_pinned(experiment, facts, process=process),
        interpreter_recorded=not process or bool(facts.interpreter and facts.interpreter.found),
        datasets_verified=all(_verified(data.sha256, found.get(data.name)) for data in spec.datasets),
        key_out_of_reach=not process or (sandbox.launcher != "none" and sandbox.mount_namespace),
        signing_key=policy.signing_key,
        submitter_is_other=not policy.submitter_is_reconciler,
        run_uid_is_other=False if process else None,
        beyond_process=not process,
        commit_signed=facts.submission.signed,
        reviewed=len(owners) >= REVIEWERS,
        no_network=spec.sandbox.network == "none",
        details={
            "RunCanForge": sandbox.why,
            "SubmitterIsReconciler": policy.submitter_why,
            "CommitNotSigned": facts.submission.message,
            "NotReviewed": _reviewed_by(owners),
        },
    )


REVIEWERS = 2
"""Distinct identities that must have signed one plan hash for L4."""


def _reviewed_by(owners: Collection[str]) -> str:
    return f"signed by {', '.join(sorted(owners))} only" if owners else ""


def _code_evidence(experiment: Experiment, facts: Facts) -> Evidence:
    source, git, snapshot = experiment.spec.source, facts.git, facts.snapshot
    own = git is not None and git.found and git.repo in {"", "."}
    evidence = Evidence(
        commit_exists=True,
        commit_reachable=True,
        tree_clean=True,
        pushed=True,
        snapshot_verified=True,
        spec_equals_blob=own and git is not None and not git.dirty and git.exists,
    )
    if source is None:
        return evidence
    if source.snapshot:
        return replace(evidence, snapshot_verified=bool(snapshot and snapshot.found and snapshot.verified))
    if git is None or not git.found:
        return replace(evidence, commit_exists=False)
    return replace(
        evidence,
        commit_exists=git.exists,
        commit_reachable=git.reachable,
        tree_clean=not git.dirty,
        pushed=git.pushed or not git.has_remote,
    )


def _lock_pinned(experiment: Experiment, facts: Facts, *, process: bool) -> bool:
    """A lock with hashes; or none, where there is an image or just the interpreter (stated, if there is code)."""
    environment, lock = experiment.spec.environment, facts.lock
    stated = environment.dependencies
    if stated is None:
        return not process or experiment.spec.source is None or environment.python is not None
    return bool(lock and lock.found and stated.sha256 and lock.sha256 == stated.sha256 and not lock.unpinned)


@dataclass(frozen=True, slots=True)
class Later:
    """What others signed about a run, before or after it ended; verified."""

    reviewers: tuple[str, ...] = ()
    """The distinct people who approved its plan."""
    reproduced: bool = False
    """A re-run on another machine and store gave the same, by a comparison that was derived again."""
    comparison_signed: bool = False
    """By another key than the one that signed the run."""
    why: str = ""
    """What is wrong with a comparison that does not count."""


NOTHING_LATER = Later()
JUDGED_AGAIN = frozenset({"NotReviewed", "NotReproduced", "ComparisonNotSigned"})
"""Caps of the launch that are no longer in force once the run is judged: what they ask for may have come since."""


def judge_run(manifest: RunManifest, *, plan_sha256: str, signed: bool, later: Later = NOTHING_LATER) -> Judgement:
    """What a finished run has reached.

    `plan_sha256` is the digest recomputed from the stored plan bytes; `signed` says that the statement about this
    manifest verifies against the trust root. The caps known at launch stay in force, but those in JUDGED_AGAIN.
    """
    judged = judge(run_evidence(manifest, plan_sha256=plan_sha256, signed=signed, later=later))
    caps = (cap for cap in manifest.trust_ceiling.caps if cap.reason not in JUDGED_AGAIN)
    return judgement_of((*(Cap(cap.level, cap.reason, cap.message) for cap in caps), *judged.caps))


def run_evidence(manifest: RunManifest, *, plan_sha256: str, signed: bool, later: Later = NOTHING_LATER) -> Evidence:
    """The evidence in a manifest. What was judged at launch counts as met here: its caps are in trust_ceiling."""
    from controller.api.manifest import completeness, lifecycle_problems  # its models cost `ml explain` 60 ms

    facts, runtime, data = manifest.runtime.sandbox, manifest.runtime, manifest.datasets
    process = runtime.name == _PROCESS
    owner, outside = runtime.reconciler_uid, outer_uid(facts)
    gaps = isolation_gaps(facts, owner)
    incomplete = (*completeness(manifest), *lifecycle_problems(manifest))
    changed = [d.name for d in data if d.sha256_after is not None and d.sha256_after != d.sha256]
    touched = [d.name for d in data if d.touched and d.name not in changed]
    missing = [d.name for d in data if d.sha256_after is None]
    return Evidence(
        commit_exists=manifest.source is None or manifest.commit_id is not None,
        commit_reachable=True,
        tree_clean=True,
        pushed=True,
        snapshot_verified=True,
        image_pinned=process or "@sha256:" in (manifest.image or ""),
        lock_pinned=manifest.deps_manifest is None or manifest.deps_manifest.sha256 is not None,
        interpreter_recorded=not process or runtime.interpreter is not None,
        datasets_verified=all(d.sha256 for d in data),
        manifest_complete=not incomplete,
        plan_recomputes=plan_sha256 == manifest.plan_sha256,
        key_out_of_reach=not process or hides_keys(facts) or (None not in {owner, outside} and owner != outside),
        inputs_unchanged=not changed,
        inputs_untouched=not touched,
        inputs_rehashed=not missing,
        signing_key=True,
        signature_verifies=signed,
        spec_equals_blob=True,
        submitter_is_other=True,
        run_uid_is_other=None not in {owner, outside} and owner != outside,
        beyond_process=not process,
        sandbox_observed=bool(facts),
        isolated=not gaps,
        image_fresh=process or facts.get("fresh") is True,
        commit_signed=manifest.submission is not None and all(manifest.submission.signers),
        reviewed=len(later.reviewers) >= REVIEWERS,
        no_network=True,
        reproduced=later.reproduced,
        comparison_signed=later.comparison_signed,
        details={
            "NotReviewed": _reviewed_by(later.reviewers),
            "NotReproduced": later.why,
            "ComparisonNotSigned": later.why,
            "ManifestIncomplete": ", ".join(incomplete),
            "InputsChangedDuringRun": ", ".join(changed),
            "InputsTouchedDuringRun": ", ".join(touched),
            "RehashMissing": ", ".join(missing),
            "NotIsolated": ", ".join(gaps),
        },
    )
