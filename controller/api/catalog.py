"""The other kinds that users and operators write: Dataset, TrustPolicy, Quota.

Promises: their schemas. Does not: enforce them.
"""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints

from controller.api.base import ByteQuantity, CpuQuantity, Model, Name, Resource, Sha256

VERSION_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._+-]{0,62}[A-Za-z0-9])?$"


class DatasetVersion(Model):
    """Some bytes, and where they came from."""

    version: Annotated[str, StringConstraints(pattern=VERSION_PATTERN)] = "1"
    """What experiments write after the @ of dataset:NAME@VERSION."""
    uri: str = Field(min_length=1, max_length=2048)
    """Where it came from. A file: path is read where the object store does not have the digest."""
    sha256: Sha256
    """Digest of the file, or of the folder as coreutils computes it."""
    form: Literal["file", "folder"] = "file"
    size: int | None = Field(default=None, ge=0)
    """Bytes of all files."""
    files: int | None = Field(default=None, ge=0)


class DatasetSpec(DatasetVersion):
    """A catalogue entry: bytes with a name."""

    description: str = Field(default="", max_length=4096)
    licence: str = Field(default="", max_length=256)
    citation: str = Field(default="", max_length=4096)
    row_schema: dict[str, JsonValue] | None = None
    """JSON Schema of every row (.jsonl, or .csv with a header, .gz or not)."""
    previous: tuple[DatasetVersion, ...] = Field(default=(), max_length=1000, strict=False)
    """Earlier versions, the newest first."""

    @property
    def versions(self) -> tuple[DatasetVersion, ...]:
        """All of them, the newest first."""
        return (self, *self.previous)


class Dataset(Resource):
    """A dataset that experiments may name."""

    kind: Literal["Dataset"]
    spec: DatasetSpec


class PolicySubject(Model):
    """One identity: a key, or its owner as the trust root names it. An empty subject is nobody."""

    key_id: str = Field(default="", max_length=128)
    """A fetchml key id, an OpenSSH fingerprint (SHA256:...) or an OpenPGP primary fingerprint."""
    user: str = Field(default="", max_length=128)


class TrustRule(Model):
    """What is required of the specs in some namespaces and paths."""

    namespaces: tuple[Name, ...] = Field(default=(), strict=False)
    """Empty: every namespace."""
    paths: tuple[str, ...] = Field(default=(), strict=False)
    """Globs over the spec's path in its repository. Empty: every path."""
    min_trust_level: Literal["L0", "L1", "L2", "L3", "L4"] = "L1"
    require_signed_commits: bool = False
    """The commits that brought the spec as it stands are signed by somebody whom the trust root allows."""
    allow_network: bool = False
    """Permits sandbox.network: full."""
    submitters: tuple[PolicySubject, ...] | None = Field(default=None, strict=False)
    """Who must have signed these commits; an empty list denies everybody. Absent: nothing is demanded."""
    approvers: tuple[PolicySubject, ...] | None = Field(default=None, strict=False)
    """One of whom, not the submitter, must have signed an approval of the plan; an empty list denies."""
    require_approval: bool = False
    """True: a plan runs only after `ml approve`."""


class TrustPolicySpec(Model):
    """Rules in order; each one that matches applies."""

    rules: tuple[TrustRule, ...] = Field(default=(), strict=False)


class TrustPolicy(Resource):
    """Who may sign and run what, and which level is required where."""

    kind: Literal["TrustPolicy"]
    spec: TrustPolicySpec


class QuotaSpec(Model):
    """Upper bounds of what runs at one time."""

    owners: tuple[str, ...] = Field(default=(), strict=False)
    """Empty: every owner, each counted alone."""
    cpu: CpuQuantity | None = None
    memory: ByteQuantity | None = None
    gpus: int | None = Field(default=None, ge=0)
    runs: int | None = Field(default=None, ge=0)


class Quota(Resource):
    """How much of the host an owner may use at once."""

    kind: Literal["Quota"]
    spec: QuotaSpec
