"""What every kind shares: strict, frozen models in camelCase, names, digests, quantities and durations.

Promises: unknown fields are errors and nothing is coerced. Does not: resolve or look anything up.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from controller.api.canonical import canonical_bytes

API_VERSION = "fetchml.dev/v1alpha1"
ANNOTATION_RERUN = "fetchml.dev/rerun"

NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"  # RFC 1035 label
SHA256_PATTERN = r"^sha256:[0-9a-f]{64}$"
COMMIT_PATTERN = r"^[0-9a-f]{40}$"
ENV_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
DURATION_PATTERN = r"^([0-9]+(ms|s|m|h|d))+$"
CPU_PATTERN = r"^([0-9]+m|[0-9]+(\.[0-9]{1,3})?)$"
BYTES_PATTERN = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=40)]
Sha256 = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]
Commit = Annotated[str, StringConstraints(pattern=COMMIT_PATTERN)]
EnvName = Annotated[str, StringConstraints(pattern=ENV_PATTERN, max_length=128)]
Duration = Annotated[str, StringConstraints(pattern=DURATION_PATTERN, max_length=32)]
CpuQuantity = Annotated[str, StringConstraints(pattern=CPU_PATTERN, max_length=16)]
ByteQuantity = Annotated[str, StringConstraints(pattern=BYTES_PATTERN, max_length=24)]

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNIT_BYTES = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50,
}  # fmt: skip


class Model(BaseModel):
    """Base of all that users write: strict, frozen, camelCase, unknown fields refused.

    A validator is built when it is first used, which every command but the schemas' generator gains from. That is not
    safe in several threads at once: whoever starts threads calls `build_models` before.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,
    )


def models(base: type[Model] = Model) -> Iterator[type[Model]]:
    """Every model that has been defined, each after those that it holds."""
    for model in base.__subclasses__():
        yield model
        yield from models(model)


def build_models() -> None:
    """Build every validator now."""
    for model in models():
        model.model_rebuild()


def seconds(duration: str) -> float:
    """Seconds of a duration such as ``1h30m`` or ``500ms``."""
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in re.findall(r"([0-9]+)(ms|[smhd])", duration))


def cores(quantity: str) -> float:
    """CPU cores of a Kubernetes quantity such as ``2``, ``0.5`` or ``500m``."""
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def byte_count(quantity: str) -> int:
    """Bytes of a Kubernetes quantity such as ``2Gi`` or ``500M``."""
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", quantity).groups()  # type: ignore[union-attr]  # the pattern was checked
    return int(float(number) * _UNIT_BYTES[unit])


def _labels_ok(labels: dict[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        if len(key) > 317 or len(value) > 63:
            raise ValueError(f"label {key!r} is too long: a value has at most 63 characters")
    return labels


class Metadata(Model):
    """Who the object is. On Kubernetes the API server adds more; in a file these are all."""

    name: Name
    """RFC 1035 label, at most 40 characters."""
    namespace: Name = "default"
    """The team or project that the object belongs to."""
    labels: Annotated[dict[str, str], AfterValidator(_labels_ok)] = Field(default_factory=dict)
    """Free key-value pairs for selection; they never change what runs."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Free key-value pairs; a new value of fetchml.dev/rerun asks for one more run of the same plan."""


class Resource(Model):
    """Base of every kind: apiVersion, kind, metadata, spec; status is kept as written (output, never evidence)."""

    api_version: Literal["fetchml.dev/v1alpha1"]
    """Version of this API."""
    metadata: Metadata
    status: dict[str, Any] | None = None
    """Written by the reconciler. Do not edit."""

    def desired(self) -> dict[str, object]:
        """What the user asks for as JSON with defaults, without status and annotations, and without empty labels."""
        left_out = {"annotations"} if self.metadata.labels else {"annotations", "labels"}
        dumped: dict[str, object] = self.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude={"metadata": left_out, "status": True}
        )
        return dumped

    def canonical(self) -> bytes:
        """The RFC 8785 bytes that spec_sha256 is over."""
        return canonical_bytes(self.desired())
