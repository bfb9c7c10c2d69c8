"""What a reconcile works with: the ports, and the work on one key.

Promises: `Ports` is everything from outside that the reconciler may use; `Work` is what the steps learn about one
key, in order.
Does not: do anything.
"""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from controller.api.catalog import TrustRule
from controller.api.documents import Document
from controller.api.problems import Problem
from controller.api.status import ExperimentStatus
from controller.facts.facts import Facts
from controller.plan.plan import Plan
from controller.ports.clock import Clock
from controller.ports.events import Events
from controller.ports.images import Images
from controller.ports.inputs import Inputs, Progress, no_progress
from controller.ports.inventory import Inventory
from controller.ports.runtime import Runtime
from controller.ports.signer import Signer
from controller.ports.source import Key, Source
from controller.ports.store import AttemptRow, ExperimentRow, RunRow, Store
from controller.ports.trust import NoTrust, Trust
from controller.preflight import Preflight
from controller.reconcile.outcome import Outcome
from controller.reconcile.place import Line
from controller.reconcile.standing import Standing
from controller.trust.levels import Judgement

if TYPE_CHECKING:
    from controller.reconcile.evaluate import Evaluation


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator's settings say, as far as the reconciler needs it."""

    allow_network: tuple[str, ...] = ()
    require_approval: bool = False
    max_cpu: float = 0.0
    max_memory: int = 0
    log_bytes: int = 64 * 2**20
    poll_seconds: float = 0.5
    rules: tuple[TrustRule, ...] = ()
    """Of the operator's own trust policies; those of the source are read beside them."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything outside the reconciler."""

    source: Source
    store: Store
    runtime: Runtime
    inputs: Inputs
    inventory: Inventory
    signer: Signer | None
    clock: Clock
    events: Events
    base: Path
    """Folder of our records."""
    policy: Policy = field(default_factory=Policy)
    progress: Progress = no_progress
    images: Images | None = None
    """Of a runtime with an engine."""
    trust: Trust = field(default_factory=NoTrust)
    """Whose word counts."""
    placing: threading.Lock = field(default_factory=threading.Lock)
    """Held while a run is placed and its intent committed: two workers never hand out the same CPU."""
    line: Line = field(default_factory=Line)
    """Who waits for room; touched under `placing` only."""
    standing: Standing = field(default_factory=Standing)
    """Quotas and trust policies of the source; a cache that may be dropped at any moment."""
    judged: dict[Key, "Evaluation"] = field(default_factory=dict)
    """Evaluations of specs whose run is active; a cache that may be dropped at any moment."""


@dataclass(slots=True)
class Work:
    """One pass over one key. Steps fill it in order; the exit reads it."""

    key: Key
    document: Document | None = None
    problems: tuple[Problem, ...] = ()
    clash: tuple[str, ...] = ()
    row: ExperimentRow | None = None
    evaluation: "Evaluation | None" = None
    fresh: bool = False
    """The evaluation was made in this pass, so a launch may rest on it."""
    facts: Facts | None = None
    plan: Plan | None = None
    preflight: Preflight | None = None
    ceiling: Judgement | None = None
    run: RunRow | None = None
    attempt: AttemptRow | None = None
    placement: str = ""
    elsewhere: bool = False
    foreign: bool = False
    """Known to the store from a place that this source does not cover: followed, never retired."""
    outcome: Outcome | None = None
    status: ExperimentStatus | None = None
    failed: bool = False
    """An error ended a part of the pass: it is tried again with backoff."""
