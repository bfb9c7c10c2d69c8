"""From bytes to documents with positions, and back to bytes with a status block.

Promises: one loader for every command; all problems of a file at once, each with line and column; the user part of a
document (its bytes without its status block) is preserved byte for byte. Does not: touch the file system.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from yaml.nodes import Node

from controller.api import checks, sentences
from controller.api.base import API_VERSION, Resource
from controller.api.canonical import digest_bytes
from controller.api.catalog import Dataset, Quota, TrustPolicy
from controller.api.experiment import Experiment
from controller.api.paths import follow, locate, spell, spelled_nodes
from controller.api.problems import Position, Problem
from controller.api.segments import MAX_DOCUMENTS, Fault, Segment, check_bytes, segments
from controller.api.statusblock import is_flow, user_part, user_part_of, with_status
from controller.api.yaml_loader import compose, parse, position_of

__all__ = ["KINDS", "Document", "Kind", "Loaded", "load", "user_part_of", "with_status"]

Kind = Experiment | Dataset | TrustPolicy | Quota
KINDS: dict[str, type[Experiment] | type[Dataset] | type[TrustPolicy] | type[Quota]] = {
    "Experiment": Experiment,
    "Dataset": Dataset,
    "TrustPolicy": TrustPolicy,
    "Quota": Quota,
}
_MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Document:
    """One valid document of a file."""

    file: str
    """As given to `load` (a path relative to the root, for messages)."""
    index: int
    """Which document of a multi-document file, from 0."""
    of: int
    """How many documents the file has."""
    model: Kind
    user_part: bytes
    """The document's bytes without its status block."""
    text: bytes = field(repr=False)
    """The document's bytes as read."""
    flow: bool = False
    """The root is written in flow style: status goes to a sidecar."""
    line: int = 0
    """Lines of the file before this document."""
    _digests: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def kind(self) -> str:
        """Experiment, Dataset, TrustPolicy or Quota."""
        return self.model.kind

    @property
    def namespace(self) -> str:
        """metadata.namespace."""
        return self.model.metadata.namespace

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.model.metadata.name

    @property
    def spec_sha256(self) -> str:
        """`sha256:<hex>` of the canonical bytes of what the user asks for; computed once."""
        if "spec" not in self._digests:
            self._digests["spec"] = digest_bytes(self.model.canonical())
        return self._digests["spec"]

    @property
    def user_sha256(self) -> str:
        """`sha256:<hex>` of the user part; computed once."""
        if "user" not in self._digests:
            self._digests["user"] = digest_bytes(self.user_part)
        return self._digests["user"]

    def position(self, path: str) -> Position:
        """Line and column of a field such as ``spec.datasets[0].sha256``; of its nearest ancestor when absent."""
        root = compose(self.text)
        if root is None:
            return Position(self.line + 1)
        place = follow(root, path)
        return position_of(place.value if place.found else place.heading, self.line)


@dataclass(frozen=True, slots=True)
class Loaded:
    """All of one file."""

    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()


def load(data: bytes, file: str) -> Loaded:
    """Parse and validate every document of a file; never raises for bad content."""
    fault = check_bytes(data)
    if fault:
        return Loaded((), (_syntax(fault, "", file),))
    found = segments(data)
    if len(found) > MAX_DOCUMENTS:
        message = f"the file has {len(found):,} documents"
        return Loaded(
            (), (Problem(file, Position(), "", message, f"keep it to {MAX_DOCUMENTS:,}", "TooManyDocuments", "syntax"),)
        )
    documents: list[Document] = []
    problems: list[Problem] = []
    for index, segment in enumerate(found):
        document, faults = _one(segment, file, index, len(found))
        problems += faults
        if document:
            documents.append(document)
    if not documents and not problems:
        problems.append(
            Problem(
                file,
                Position(),
                "",
                "the file holds no document",
                "write a spec, or delete the file",
                "EmptyFile",
                "syntax",
            )
        )
    return Loaded(tuple(documents), tuple(problems))


def _syntax(fault: Fault, path: str, file: str) -> Problem:
    return Problem(file, fault.position, path, fault.message, fault.fix, fault.reason, "syntax")


def _one(segment: Segment, file: str, index: int, of: int) -> tuple[Document | None, list[Problem]]:
    """The document of a segment, or its problems; neither when it is empty."""
    root, value, faults = parse(segment)
    if root is None:
        return None, [_syntax(fault, "", file) for fault in faults]
    if not isinstance(value, dict):
        fix = f"begin it with apiVersion: {API_VERSION}"
        wrong = Problem(
            file, position_of(root, segment.line), "", "a document must be a mapping", fix, "InvalidValue", "schema"
        )
        return None, _merged(faults, [wrong], root, file)
    checked = _validate(value)
    problems = list(_semantic_problems(value, root, file, segment.line))
    if isinstance(checked, Resource) and not faults and not problems:
        part = user_part(segment.data, root)
        return Document(file, index, of, checked, part, segment.data, is_flow(root), segment.line), []
    failed = None if isinstance(checked, Resource) else checked
    problems += _schema_problems(failed, value, root, file, segment.line)
    return None, _merged(faults, problems, root, file)


def _validate(value: dict[str, Any]) -> Kind | ValidationError | None:
    """The model of a document; None when its kind says none."""
    model = _model_class(value)
    if model is None:
        return None
    try:
        validated: Kind = model.__pydantic_validator__.validate_python(value, by_alias=True, by_name=False)
    except ValidationError as error:
        return error
    return validated


def _model_class(value: dict[str, Any]) -> type[Experiment] | type[Dataset] | type[TrustPolicy] | type[Quota] | None:
    kind = value.get("kind")
    return KINDS.get(kind) if isinstance(kind, str) else None


def _schema_problems(
    checked: ValidationError | None, value: dict[str, Any], root: Node, file: str, line: int
) -> Iterator[Problem]:
    model = _model_class(value)
    if model is None:
        yield from _header_problems(value, root, file, line)
    elif checked is not None:
        for error in checked.errors(include_url=False):
            yield sentences.problem(error, model, root, file, line)


def _header_problems(value: dict[str, Any], root: Node, file: str, line: int) -> Iterator[Problem]:
    """A document of unknown kind: nothing but its header can be judged."""
    for name, reason, choices in (
        ("apiVersion", "UnknownVersion", [API_VERSION]),
        ("kind", "UnknownKind", list(KINDS)),
    ):
        place = locate(root, (name,))
        given = value.get(name)
        if not place.found:
            fix = f"add {name}: {choices[0]}"
            yield Problem(file, position_of(root, line), name, f"{name} is missing", fix, "MissingField", "schema")
        elif given not in choices:
            near = sentences.closest(str(given), choices)
            fix = f"did you mean {near}?" if near else f"write {' or '.join(choices)}"
            yield Problem(
                file,
                position_of(place.value, line),
                name,
                f"{sentences.show(given)} is unknown here",
                fix,
                reason,
                "schema",
            )


def _semantic_problems(value: dict[str, Any], root: Node, file: str, line: int) -> Iterator[Problem]:
    for steps, reason, message, fix, at_key in checks.findings(value):
        place = locate(root, steps)
        node = place.value if place.found and not at_key else place.heading
        yield Problem(file, position_of(node, line), spell(steps), message, fix, reason, "semantic")


def _merged(faults: tuple[Fault, ...], problems: list[Problem], root: Node, file: str) -> list[Problem]:
    """All problems of one document in order of position, without what only follows from a fault of the text."""
    paths = spelled_nodes(root) if faults else {}
    merged = [_syntax(fault, paths.get(id(fault.node), ""), file) for fault in faults]
    spoiled = tuple(problem.field for problem in merged if problem.field)
    for problem in problems:
        follows = any(problem.field == path or problem.field.startswith((f"{path}.", f"{path}[")) for path in spoiled)
        if not follows and not (faults and problem.reason == "UnknownReference"):
            merged.append(problem)
    return sorted(merged, key=lambda problem: problem.position)[:_MAX_PROBLEMS]
