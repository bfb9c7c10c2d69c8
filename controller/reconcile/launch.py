"""What is remembered at launch, so that a run can be resumed, watched and recorded without its spec.

Promises: `launch_record` is plain JSON, made from the evaluation that passed; `LaunchRecord` reads it back.
Does not: touch files.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from controller.api.base import seconds
from controller.api.documents import Document
from controller.api.experiment import Experiment, ExperimentSpec, GitSource
from controller.facts.facts import DatasetFacts, Facts, GitFacts, InterpreterFacts, SubmissionFacts
from controller.trust.levels import Judgement


def launch_record(document: Document, experiment: Experiment, facts: Facts, ceiling: Judgement) -> dict[str, Any]:
    """Everything a later process needs; host paths are allowed here, unlike in a plan."""
    spec = experiment.spec
    mounts = {dataset.name: dataset.mount_path or f"/data/{dataset.name}" for dataset in spec.datasets}
    return {
        "document_file": document.file,
        "spec_text": document.text.decode(),
        "spec": spec.model_dump(mode="json", by_alias=True, exclude_none=True),
        "namespace": experiment.metadata.namespace,
        "git": asdict(facts.git) if facts.git else None,
        "interpreter": asdict(facts.interpreter) if facts.interpreter else None,
        "datasets": [asdict(dataset) | {"mount_path": mounts[dataset.name]} for dataset in facts.datasets],
        "facts_sha256": facts.sha256(),
        "submission": _submission(facts.submission),
        "resolved": resolved(facts),
        "trust_ceiling": {"level": ceiling.level, "caps": [asdict(cap) for cap in ceiling.caps]},
    }


def resolved(facts: Facts) -> dict[str, Any]:
    """What the references of a spec were resolved to, as the status shows it."""
    return {
        "commit": facts.git.commit if facts.git else None,
        "image_digest": facts.image.sha256 if facts.image else None,
        "deps_manifest_sha256": facts.lock.sha256 if facts.lock else None,
        "snapshot_sha256": facts.snapshot.sha256 if facts.snapshot else None,
        "datasets": [{"name": item.name, "sha256": item.sha256 or ""} for item in facts.datasets],
    }


def _submission(seen: SubmissionFacts) -> dict[str, Any] | None:
    """As the manifest has it."""
    if not seen.commits:
        return None
    return {"commits": list(seen.commits), "signers": list(seen.signers), "keys": list(seen.keys)}


@dataclass(frozen=True, slots=True)
class LaunchRecord:
    """The launch record, read back."""

    raw: Mapping[str, Any]

    @property
    def spec(self) -> ExperimentSpec:
        """The spec as it was validated at launch."""
        return ExperimentSpec.model_validate(self.raw["spec"])

    @property
    def git(self) -> GitFacts | None:
        """Facts of the source's repository."""
        return GitFacts(**_tuples(self.raw["git"])) if self.raw["git"] else None

    @property
    def git_source(self) -> GitSource | None:
        """spec.source.git."""
        source = self.spec.source
        return source.git if source else None

    @property
    def interpreter(self) -> InterpreterFacts | None:
        """The interpreter that was found."""
        return InterpreterFacts(**self.raw["interpreter"]) if self.raw["interpreter"] else None

    @property
    def datasets(self) -> tuple[tuple[DatasetFacts, str], ...]:
        """Each dataset with its mount path."""
        return tuple(
            (DatasetFacts(**{key: value for key, value in entry.items() if key != "mount_path"}), entry["mount_path"])
            for entry in self.raw["datasets"]
        )

    @property
    def document_file(self) -> str:
        """Where the spec stood."""
        return str(self.raw["document_file"])

    @property
    def grace(self) -> float:
        """Seconds between SIGTERM and SIGKILL."""
        checkpoint = self.spec.checkpoint
        return float(checkpoint.grace_seconds if checkpoint else 10)

    @property
    def deadline(self) -> float | None:
        """Seconds of one attempt."""
        deadline = self.spec.scheduling.deadline
        return seconds(deadline) if deadline else None


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
