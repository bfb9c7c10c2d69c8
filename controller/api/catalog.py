"""The other kinds that users and operators write: Dataset, TrustPolicy, Quota.

Promises: their schemas. Does not: enforce them.
"""

from typing import Literal

from pydantic import Field

from controller.api.base import ByteQuantity, CpuQuantity, Model, Name, Resource, Sha256


class DatasetSpec(Model):
    """A catalogue entry: bytes with a name."""

    description: str = Field(default="", max_length=4096)
    uri: str = Field(min_length=1, max_length=2048)
    sha256: Sha256
    licence: str = Field(default="", max_length=256)
    citation: str = Field(default="", max_length=4096)
    version: str = Field(default="1", max_length=64)


class Dataset(Resource):
    """A dataset that experiments may name."""

    kind: Literal["Dataset"]
    spec: DatasetSpec


class PolicySubject(Model):
    """One identity: a signing key or an account name. Empty subjects mean deny."""

    key_id: str = Field(default="", max_length=128)
    user: str = Field(default="", max_length=128)


class TrustRule(Model):
    """What is required of the specs in some namespaces and paths."""

    namespaces: tuple[Name, ...] = Field(default=(), strict=False)
    """Empty: every namespace."""
    paths: tuple[str, ...] = Field(default=(), strict=False)
    """Globs over the spec's path in its repository. Empty: every path."""
    min_trust_level: Literal["L0", "L1", "L2", "L3", "L4"] = "L1"
    require_signed_commits: bool = False
    allow_network: bool = False
    """Permits sandbox.network: full."""
    submitters: tuple[PolicySubject, ...] = Field(default=(), strict=False)
    approvers: tuple[PolicySubject, ...] = Field(default=(), strict=False)
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
