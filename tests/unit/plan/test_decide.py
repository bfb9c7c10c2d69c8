"""The decision table: named situations, whole actions."""

from dataclasses import replace

import pytest

from controller.plan.decide import Action, AttemptView, Desired, Kind, RunView, decide, failure_reason
from tests.builders import sha

A = Desired("d-aaaaaaaa", sha("a"), retries_max=2, retry_reasons=("NodeLost",))
B = Desired("d-bbbbbbbb", sha("b"), retries_max=2, retry_reasons=("NodeLost",))


def run_a(state="active", *attempts, **more):
    return RunView("d-aaaaaaaa", sha("a"), state, attempts=attempts or (AttemptView(1, "started"),), **more)


def ended(number=1, code=0, reason="", state="exited"):
    return AttemptView(number, state, code, reason)


RERUN = "a new fetchml.dev/rerun annotation starts it again"
REFUSED = "and spec.scheduling.onSpecChange is refuse; restore the spec, or set a new fetchml.dev/rerun annotation"

CASES = {
    "new spec": (A, (), Action(Kind.LAUNCH, A.run_id, "PlanIsNew", "no run of plan sha256:aaaaaaaaaaaa exists")),
    "suspended new spec": (
        replace(A, suspend=True),
        (),
        Action(Kind.HOLD, A.run_id, "Suspended", "spec.suspend is true: nothing is started"),
    ),
    "active": (A, (run_a(),), Action(Kind.FOLLOW, A.run_id, "AttemptActive", "attempt 1 is started")),
    "active stays while suspended": (
        replace(A, suspend=True),
        (run_a(),),
        Action(Kind.FOLLOW, A.run_id, "AttemptActive", "attempt 1 is started"),
    ),
    "intended only": (
        A,
        (run_a("active", AttemptView(1, "intended")),),
        Action(Kind.FOLLOW, A.run_id, "AttemptActive", "attempt 1 is intended"),
    ),
    "no attempt at all": (
        A,
        (RunView(A.run_id, sha("a"), "active"),),
        Action(Kind.RETRY, A.run_id, "AttemptMissing", "the run has no attempt yet"),
    ),
    "succeeded": (
        A,
        (run_a("active", ended()),),
        Action(Kind.FINISH, A.run_id, "Completed", "attempt 1 exited with 0", outcome="succeeded"),
    ),
    "collected already": (
        A,
        (run_a("active", ended(state="collected")),),
        Action(Kind.FINISH, A.run_id, "Completed", "attempt 1 exited with 0", outcome="succeeded"),
    ),
    "exit 0 but an output is missing": (
        A,
        (run_a("active", ended(), failure="OutputMissing"),),
        Action(
            Kind.FINISH,
            A.run_id,
            "OutputMissing",
            "attempt 1 ended: OutputMissing (exit code 0); not retried for this reason",
            outcome="failed",
        ),
    ),
    "non-zero exit": (
        A,
        (run_a("active", ended(code=3)),),
        Action(
            Kind.FINISH,
            A.run_id,
            "NonZeroExit",
            "attempt 1 ended: NonZeroExit (exit code 3); not retried for this reason",
            outcome="failed",
        ),
    ),
    "lost node": (
        A,
        (run_a("active", ended(code=None, reason="NodeLost")),),
        Action(Kind.RETRY, A.run_id, "NodeLost", "attempt 1 ended: NodeLost; retry 1 of 2"),
    ),
    "lost node while suspended": (
        replace(A, suspend=True),
        (run_a("active", ended(code=None, reason="NodeLost")),),
        Action(
            Kind.HOLD,
            A.run_id,
            "Suspended",
            "attempt 1 ended: NodeLost; the retry waits while spec.suspend is true",
        ),
    ),
    "last retry": (
        A,
        (run_a("active", ended(1, None, "NodeLost"), ended(2, None, "NodeLost")),),
        Action(Kind.RETRY, A.run_id, "NodeLost", "attempt 2 ended: NodeLost; retry 2 of 2"),
    ),
    "retries used up": (
        A,
        (run_a("active", *(ended(n, None, "NodeLost") for n in (1, 2, 3))),),
        Action(
            Kind.FINISH,
            A.run_id,
            "NodeLost",
            "attempt 3 ended: NodeLost; 2 of 2 retries used",
            outcome="failed",
        ),
    ),
    "finished": (
        A,
        (run_a("succeeded", ended(state="recorded")),),
        Action(Kind.NOTHING, A.run_id, "AlreadyFinished", f"run {A.run_id} succeeded; {RERUN}"),
    ),
    "failed is finished too": (
        A,
        (run_a("failed", ended(code=1, state="recorded")),),
        Action(Kind.NOTHING, A.run_id, "AlreadyFinished", f"run {A.run_id} failed; {RERUN}"),
    ),
    "A, B, and back to A": (
        A,
        (RunView(B.run_id, sha("b"), "succeeded"), run_a("succeeded")),
        Action(Kind.NOTHING, A.run_id, "AlreadyFinished", f"run {A.run_id} succeeded; {RERUN}"),
    ),
    "changed after the end": (
        B,
        (run_a("succeeded"),),
        Action(Kind.LAUNCH, B.run_id, "PlanIsNew", "no run of plan sha256:bbbbbbbbbbbb exists"),
    ),
    "changed while running: finish": (
        B,
        (run_a(),),
        Action(
            Kind.FOLLOW,
            A.run_id,
            "AttemptActive",
            f"the new plan waits until run {A.run_id} ends",
            held="SpecChangeWaits",
        ),
    ),
    "changed while running: a lost node is not retried": (
        B,
        (run_a("active", ended(code=None, reason="NodeLost")),),
        Action(
            Kind.FINISH,
            A.run_id,
            "NodeLost",
            f"the new plan waits until run {A.run_id} ends",
            outcome="failed",
            held="SpecChangeWaits",
        ),
    ),
    "changed while running: replace": (
        replace(B, on_spec_change="replace"),
        (run_a(),),
        Action(Kind.STOP, A.run_id, "SpecReplaced", "the spec changed and spec.scheduling.onSpecChange is replace"),
    ),
    "replaced and stopped": (
        replace(B, on_spec_change="replace"),
        (run_a("active", ended(code=143)),),
        Action(
            Kind.FINISH,
            A.run_id,
            "SpecReplaced",
            "the spec changed and spec.scheduling.onSpecChange is replace",
            outcome="cancelled",
        ),
    ),
    "a plan that may not start replaces nothing": (
        replace(B, on_spec_change="replace", admissible=False),
        (run_a(),),
        Action(
            Kind.FOLLOW,
            A.run_id,
            "AttemptActive",
            f"the new plan waits until run {A.run_id} ends",
            held="SpecChangeWaits",
        ),
    ),
    "a suspended plan replaces nothing": (
        replace(B, on_spec_change="replace", suspend=True),
        (run_a(),),
        Action(
            Kind.FOLLOW,
            A.run_id,
            "AttemptActive",
            f"the new plan waits until run {A.run_id} ends",
            held="SpecChangeWaits",
        ),
    ),
    "changed while running: refuse": (
        replace(B, on_spec_change="refuse"),
        (run_a(),),
        Action(
            Kind.FOLLOW,
            A.run_id,
            "AttemptActive",
            f"run {A.run_id} of another plan is active {REFUSED}",
            held="SpecChangeRefused",
        ),
    ),
    "changed after success: refuse": (
        replace(B, on_spec_change="refuse"),
        (run_a("succeeded"),),
        Action(
            Kind.REFUSE,
            B.run_id,
            "SpecChangeRefused",
            f"run {A.run_id} of another plan succeeded {REFUSED}",
        ),
    ),
    "refuse protects no failure": (
        replace(B, on_spec_change="refuse"),
        (run_a("failed"),),
        Action(Kind.LAUNCH, B.run_id, "PlanIsNew", "no run of plan sha256:bbbbbbbbbbbb exists"),
    ),
    "refuse yields to a new rerun token": (
        replace(B, on_spec_change="refuse", rerun="2"),
        (run_a("succeeded"),),
        Action(Kind.LAUNCH, B.run_id, "PlanIsNew", "no run of plan sha256:bbbbbbbbbbbb exists"),
    ),
    "cancelled by the user": (
        A,
        (run_a(cancel_requested=True),),
        Action(Kind.STOP, A.run_id, "CancelRequested", "a user cancelled it"),
    ),
    "cancelled and stopped": (
        A,
        (run_a("active", ended(code=143, reason="Stopped"), cancel_requested=True),),
        Action(Kind.FINISH, A.run_id, "CancelRequested", "a user cancelled it", outcome="cancelled"),
    ),
    "cancelled before any attempt": (
        A,
        (RunView(A.run_id, sha("a"), "active", cancel_requested=True),),
        Action(Kind.FINISH, A.run_id, "CancelRequested", "a user cancelled it", outcome="cancelled"),
    ),
    "cancelled, then looked at again": (
        A,
        (run_a("cancelled"),),
        Action(Kind.NOTHING, A.run_id, "AlreadyFinished", f"run {A.run_id} cancelled; {RERUN}"),
    ),
    "spec deleted": (None, (run_a(),), Action(Kind.STOP, A.run_id, "SpecDeleted", "the spec is gone")),
    "spec deleted and stopped": (
        None,
        (run_a("active", ended(code=143)),),
        Action(Kind.FINISH, A.run_id, "SpecDeleted", "the spec is gone", outcome="cancelled"),
    ),
    "spec deleted, nothing runs": (
        None,
        (run_a("succeeded"),),
        Action(Kind.NOTHING, "", "SpecDeleted", "the spec is gone and nothing of it runs"),
    ),
    "finished elsewhere": (
        replace(A, finished_elsewhere="Succeeded"),
        (),
        Action(
            Kind.NOTHING,
            "",
            "FinishedElsewhere",
            "the file says Succeeded, which this store cannot confirm; a new fetchml.dev/rerun annotation runs it here",
        ),
    ),
    "a status block is no evidence against the store": (
        replace(A, finished_elsewhere="Succeeded"),
        (run_a(),),
        Action(Kind.FOLLOW, A.run_id, "AttemptActive", "attempt 1 is started"),
    ),
    "a status block of before, and a store that knows": (
        replace(B, finished_elsewhere="Failed"),
        (run_a("succeeded"),),
        Action(Kind.LAUNCH, B.run_id, "PlanIsNew", "no run of plan sha256:bbbbbbbbbbbb exists"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_decide(case):
    desired, runs, expected = CASES[case]
    assert decide(desired, runs) == expected


@pytest.mark.parametrize(
    ("attempt", "reason"),
    [
        (ended(), ""),
        (ended(code=1), "NonZeroExit"),
        (ended(code=0, reason="DeadlineExceeded"), "DeadlineExceeded"),
        (ended(code=None), "RuntimeLost"),
    ],
)
def test_failure_reason(attempt, reason):
    assert failure_reason(attempt) == reason
