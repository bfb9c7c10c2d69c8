"""What was found out about a spec's references and about the host: frozen values, gathered once.

Promises: plain immutable data with a digest (`facts_sha256`), so that a decision can be repeated from it.
Does not: gather anything (reconcile/observe.py does, through the ports) or judge (preflight does).
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from controller.api.canonical import digest_value


@dataclass(frozen=True, slots=True)
class GitFacts:
    """The repository of spec.source.git (or of the spec itself) as its objects say."""

    found: bool
    error: str = ""
    unreadable: bool = False
    """git could not read its own objects; `error` says which."""
    repo: str = ""
    """The reference as written (never a host path)."""
    commit: str | None = None
    """The stated commit, or the newest that changed the user part or the path when none was stated."""
    stated: bool = False
    exists: bool = False
    reachable: bool = False
    """The commit is contained in the configured ref (HEAD's branch by default)."""
    ref: str = ""
    path_exists: bool = False
    dirty: tuple[str, ...] = ()
    """Paths below source.git.path (and the spec's own user part) that differ from the commit; at most 20."""
    has_remote: bool = False
    pushed: bool = False
    """Contained in a remote-tracking ref; no network was needed."""
    hostile: tuple[str, ...] = ()
    """Entries of the tree at path that may not be exported: symlinks out of the tree, submodules, names with '..' or
    '.git'."""


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """A content-addressed snapshot."""

    sha256: str
    found: bool
    verified: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class LockFacts:
    """The dependency lock, read at the commit."""

    manifest: str
    found: bool
    sha256: str | None = None
    packages: int = 0
    unpinned: tuple[str, ...] = ()
    """Requirements without an exact version and a sha256 hash; at most 20."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class InterpreterFacts:
    """The Python that the process runtime will use."""

    requested: str | None
    found: bool
    version: str = ""
    """Full version such as 3.11.2."""
    implementation: str = "cpython"
    platform: str = ""
    """sysconfig platform such as linux-x86_64."""
    path: str = ""
    """Real path of the executable on this host; not part of a plan."""
    prefix: str = ""
    """Installation folder (sys.base_prefix); not part of a plan."""


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """One dataset as found on disk or in the commit."""

    name: str
    found: bool
    sha256: str | None = None
    size: int = 0
    files: int = 0
    tracked: bool = False
    """Read from the commit rather than from the work tree."""
    reason: str = ""
    """Why it may not be used, as a stable reason (PathOutsideRoots, SymlinkInDataset, SpecialFile, UnreadableDataset,
    UnsupportedScheme, ...)."""
    message: str = ""
    path: str = ""
    """Real host path, not part of a plan; when tracked, the path in the commit from the repository's root."""
    pinned: str | None = None
    """The digest that its catalogue entry states; None where the spec names no entry."""
    stamp: str = ""
    """Moves when a file or folder of it is written, touched or replaced, though its bytes stay; empty when tracked."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image reference stands for on the engine."""

    reference: str
    """As the spec has it."""
    sha256: str | None = None
    """Digest of the manifest; None for a tag that is not resolved."""
    present: bool = False
    """The engine has it."""
    loader_variables: tuple[str, ...] = ()
    """LD_* variables that it sets; only known of an image that is present."""
    error: str = ""
    """Why the engine could not be asked."""


@dataclass(frozen=True, slots=True)
class SecretFacts:
    """One secret reference; never its value."""

    name: str
    declared: bool
    allowed: bool


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """One GPU of the host."""

    uuid: str
    model: str
    memory: int
    vendor: str = "nvidia"
    healthy: bool = True
    why: str = ""

    def suits(self, vendor: str, model: str | None, memory: int | None) -> bool:
        """Of this vendor, with `model` in its name (whatever the case) and at least `memory` bytes."""
        return self.vendor == vendor and (model or "").lower() in self.model.lower() and self.memory >= (memory or 0)


@dataclass(frozen=True, slots=True)
class SandboxFacts:
    """What this host can enforce; tried once, not assumed."""

    launcher: str
    """bwrap, unshare or none."""
    mount_namespace: bool
    network_namespace: bool
    seccomp: bool
    why: str = ""
    """Why there is no (full) isolation, as a sentence."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The machine that would run it."""

    hostname: str
    machine_id: str
    boot_id: str
    kernel: str
    os: str
    arch: str
    cpu_model: str
    cpus: int
    memory: int
    """Bytes."""
    disk_free: int
    """Bytes free where the runs lie."""
    gpus: tuple[GpuFacts, ...] = ()
    sandbox: SandboxFacts = field(
        default_factory=lambda: SandboxFacts("none", mount_namespace=False, network_namespace=False, seccomp=False)
    )


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a rule allows: an owner as the trust root names it, a key, or this key of this owner. Empty: nobody."""

    user: str = ""
    key_id: str = ""

    def allows(self, owner: str, key_id: str) -> bool:
        """Is it this one?"""
        named = bool(self.user or self.key_id)
        return named and self.user in ("", owner) and self.key_id in ("", key_id)


Subjects = tuple[Subject, ...]


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """What the operator's settings and TrustPolicy objects say about this spec."""

    network_full_allowed: bool = False
    require_approval: bool = False
    min_trust_level: str = "L0"
    require_signed_commits: bool = False
    submitters: tuple[Subjects, ...] = ()
    """One for each rule that names submitters; every rule must allow the signer."""
    approvers: tuple[Subjects, ...] = ()
    """One for each rule that names approvers; every rule needs an approval of its own kind."""
    submitter_is_reconciler: bool = True
    """It was not shown that the person who wrote the spec cannot read the signing key, as on a workstation."""
    submitter_why: str = ""
    """What stands in the way of showing it."""
    signing_key: bool = True
    """A signing key exists and is readable by the reconciler only."""


@dataclass(frozen=True, slots=True)
class SubmissionFacts:
    """Who vouches for the spec as it stands: the signatures of the commits that brought it."""

    commits: tuple[str, ...] = ()
    signers: tuple[str, ...] = ()
    """Whose signature each commit has; empty when it is not shown."""
    keys: tuple[str, ...] = ()
    reason: str = ""
    """Why the first that does not count does not (CommitNotSigned, SignerNotAllowed, ...); empty when all do."""
    message: str = ""

    @property
    def signed(self) -> bool:
        """Every commit is signed by somebody who may."""
        return bool(self.commits) and all(self.signers)


@dataclass(frozen=True, slots=True)
class ApprovalFacts:
    """One approval whose signature verifies."""

    plan_sha256: str
    owner: str
    key_id: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything preflight and plan may know about the world."""

    host: HostFacts
    git: GitFacts | None = None
    """None: the spec lies in no repository and names none."""
    snapshot: SnapshotFacts | None = None
    lock: LockFacts | None = None
    interpreter: InterpreterFacts | None = None
    image: ImageFacts | None = None
    """None: the spec names none, or the runtime has no engine."""
    datasets: tuple[DatasetFacts, ...] = ()
    secrets: tuple[SecretFacts, ...] = ()
    policy: PolicyFacts = field(default_factory=PolicyFacts)
    places: tuple[str, ...] = ()
    """The files with a spec of this namespace and name, as far as they are known; two are one too many."""
    approved_plans: tuple[str, ...] | None = None
    """Plan digests that `ml approve` recorded for this experiment; None: nothing was ever approved."""
    submission: SubmissionFacts = field(default_factory=SubmissionFacts)
    approvals: tuple[ApprovalFacts, ...] = ()
    """Signed approvals of any plan of this experiment."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    def sha256(self) -> str:
        """Digest of all facts; `ml explain` prints it."""
        return digest_value(self.as_dict())
