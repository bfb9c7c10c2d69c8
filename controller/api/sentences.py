"""What the schema says about a document, in sentences that a researcher understands.

Promises: every error of the models becomes one `Problem` with the place of the value (of the key for an unknown
field, of the parent for a missing one) and a fix that says what to write instead. Does not: decide what is valid (the
models do).
"""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import BaseModel
from yaml.nodes import Node, ScalarNode

from controller.api import base
from controller.api.paths import Place, Step, locate, spell
from controller.api.problems import Position, Problem
from controller.api.yaml_loader import position_of

Schema = Mapping[str, Any]


class Finding(NamedTuple):
    """What one model error says; where it points is decided beside it."""

    reason: str
    message: str
    fix: str


class Case(NamedTuple):
    """One model error with everything that a sentence may need."""

    steps: tuple[Step, ...]
    context: Mapping[str, Any]
    value: Any
    source: str | None
    """The value as a plain scalar of the text, None when it is anything else."""
    model: type[BaseModel]


# --- the shape of a kind ---------------------------------------------------------------------------------------------


@lru_cache
def _root_schema(model: type[BaseModel]) -> Schema:
    return model.model_json_schema(by_alias=True)


def _resolved(schema: Schema, root: Schema) -> Schema:
    for branch in schema.get("anyOf", ()):
        if branch.get("type") != "null":
            return _resolved(branch, root)
    if "$ref" in schema:
        return _resolved(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    return schema


def schema_at(model: type[BaseModel], steps: Sequence[Step]) -> Schema:
    """The JSON Schema of a field; empty when there is no such field."""
    root = _root_schema(model)
    schema = root
    for step in steps:
        values: Any = schema.get("additionalProperties") or next(iter(schema.get("patternProperties", {}).values()), {})
        schema = schema.get("items", {}) if isinstance(step, int) else schema.get("properties", {}).get(step, values)
        schema = _resolved(schema if isinstance(schema, Mapping) else {}, root)
    return schema


@lru_cache
def _homes(model: type[BaseModel]) -> dict[str, list[str]]:
    """Field name -> the paths of the mappings that have it."""
    homes: dict[str, list[str]] = {}

    def visit(steps: tuple[Step, ...]) -> None:
        for name, child in schema_at(model, steps).get("properties", {}).items():
            homes.setdefault(name, []).append(spell(steps))
            resolved = _resolved(child, _root_schema(model))
            if resolved.get("properties"):
                visit((*steps, name))
            elif isinstance(resolved.get("items"), Mapping):
                visit((*steps, name, 0))

    visit(())
    return homes


def closest(word: str, choices: Sequence[str]) -> str | None:
    """The choice that was probably meant."""
    folded = {choice.lower().replace("_", "").replace("-", ""): choice for choice in choices}
    near = difflib.get_close_matches(word.lower().replace("_", "").replace("-", ""), list(folded), n=1, cutoff=0.7)
    return folded[near[0]] if near else None


def show(value: Any) -> str:
    """A value as it may stand in a message: JSON, at most 60 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


# --- sentences by type of error --------------------------------------------------------------------------------------

_EXAMPLES = {
    "apiVersion": f"apiVersion: {base.API_VERSION}",
    "kind": "kind: Experiment",
    "metadata": "metadata: {name: my-experiment}",
    "name": "name: my-name",
    "spec": "a spec: with its fields",
    "command": "command: [python, train.py]",
    "manifest": "manifest: requirements.lock",
    "env": "env: WANDB_API_KEY",
    "uri": "uri: file:data/train.csv",
    "path": "path: model.npz",
    "sha256": 'sha256: "sha256:<64 hex digits>"',
}
_NOUNS = {
    "str": "text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a mapping",
}
_PATTERNS = {
    base.NAME_PATTERN: (
        "is no name: lower-case letters, digits and '-', a letter first, no '-' at the end",
        "write a name such as digits-softmax",
    ),
    base.SHA256_PATTERN: (
        "is no sha256 digest",
        "write sha256: and 64 hexadecimal digits in lower case, as sha256sum prints",
    ),
    base.COMMIT_PATTERN: (
        "is no full commit id",
        "write all 40 hexadecimal digits in lower case, as `git rev-parse HEAD` prints",
    ),
    base.ENV_PATTERN: ("is no name of an environment variable", "use letters, digits and _, not a digit first"),
    base.DURATION_PATTERN: ("is no duration", "write one such as 90s, 30m, 2h or 1h30m"),
    base.CPU_PATTERN: ("is no amount of CPU", 'write cores such as "2" or "0.5", or thousandths such as 500m'),
    base.BYTES_PATTERN: ("is no amount of bytes", "write one such as 512Mi, 2Gi or 1G"),
}


def _noun(value: Any) -> str:
    return "nothing" if value is None else _NOUNS.get(type(value).__name__, type(value).__name__)


def _is(case: Case) -> str:
    """How the value stands in the text, for "not ..."."""
    if case.value is None:
        return "it is empty"
    if isinstance(case.value, list | dict):
        return f"this is {_noun(case.value)}"
    return f"this is {_noun(case.value)}: {show(case.value) if case.source is None else case.source}"


def _missing(case: Case) -> Finding:
    name = str(case.steps[-1])
    return Finding("MissingField", f"{name} is missing", f"add {_EXAMPLES.get(name, name + ': ...')}")


def _unknown(case: Case) -> Finding:
    name, parent = str(case.steps[-1]), spell(case.steps[:-1])
    fields = list(schema_at(case.model, case.steps[:-1]).get("properties", {}))
    message = f"{name} is no field of {parent or 'a document'}"
    near = closest(name, fields)
    if near:
        return Finding("UnknownField", message, f"did you mean {near}?")
    homes = [home for home in _homes(case.model).get(name, ()) if home != parent]
    if homes:
        return Finding("UnknownField", message, f"move it to {homes[0] or 'the top level'}")
    return Finding("UnknownField", message, f"delete it; the fields here are {', '.join(fields)}")


def _text(case: Case) -> Finding:
    if case.value is None:
        return Finding("InvalidValue", "must be text, but it is empty", "write a value, or delete the line")
    fix = f'quote it: "{case.source}"' if case.source is not None else "write one text value"
    return Finding("InvalidValue", f"must be text, but {_is(case)}", fix)


def _typed(what: str, example: str) -> Callable[[Case], Finding]:
    def sentence(case: Case) -> Finding:
        fix = f"write {example}, or delete the line" if case.value is None else f"write {example}"
        return Finding("InvalidValue", f"must be {what}, but {_is(case)}", fix)

    return sentence


def _whole(case: Case) -> Finding:
    unquoted = isinstance(case.value, str) and case.value.isdecimal()
    fix = f"write {case.value} without quotes" if unquoted else "write a whole number such as 1"
    return Finding("InvalidValue", f"must be a whole number, but {_is(case)}", fix)


def _mapping(case: Case) -> Finding:
    fields = list(schema_at(case.model, case.steps).get("properties", {}))
    fix = f"write fields beneath it, such as {fields[0]}" if fields else "write key: value lines beneath it"
    return Finding("InvalidValue", f"must be a mapping, but {_is(case)}", f"{fix}, or delete the line")


def _pattern(case: Case) -> Finding:
    what, fix = _PATTERNS.get(
        case.context["pattern"], (f"does not match {case.context['pattern']}", "write one that does")
    )
    if case.steps[-1] == "python":
        what, fix = "is no version of Python 3", 'write one such as "3.11"'
    if case.steps[-1] == "[key]" and "parameters" in case.steps:
        what, fix = "is no name of a parameter", "use letters, digits, _ . and -, a letter or _ first"
    return Finding("InvalidValue", f"{show(case.value)} {what}", fix)


def _choice(case: Case) -> Finding:
    options = schema_at(case.model, case.steps)
    choices = [str(option) for option in options.get("enum", [options.get("const", "")])]
    name = case.steps[-1]
    reason = {"apiVersion": "UnknownVersion", "kind": "UnknownKind"}.get(str(name), "InvalidValue")
    near = closest(str(case.value), choices)
    fix = f"did you mean {near}?" if near and len(choices) > 1 else f"write {' or '.join(choices)}"
    return Finding(reason, f"must be one of {', '.join(choices)}, but {_is(case)}", fix)


def _size(case: Case) -> Finding:
    limit = case.context.get("max_length", case.context.get("min_length"))
    unit = "items" if isinstance(case.value, list | tuple) else "characters"
    if "max_length" in case.context:
        return Finding("InvalidValue", f"has more than {limit:,} {unit}", f"keep it to {limit:,} {unit}")
    if unit == "items":
        return Finding("InvalidValue", "is an empty list", f"write at least {limit}, or delete the line")
    return Finding("InvalidValue", "is empty text", "write a value, or delete the line")


def _range(case: Case) -> Finding:
    if "ge" in case.context:
        return Finding("InvalidValue", f"is below {case.context['ge']}", f"write a number from {case.context['ge']} up")
    limit = case.context["le"]
    return Finding("InvalidValue", f"is above {limit}", f"write a number up to {limit}")


def _law(case: Case) -> Finding:
    """An error of our own validators: its text is already a sentence, with a fix after a semicolon."""
    message, _, fix = str(case.context["error"]).partition("; ")
    return Finding("InvalidValue", message, fix or "write a value that keeps this rule")


_SENTENCES: dict[str, Callable[[Case], Finding]] = {
    "missing": _missing,
    "extra_forbidden": _unknown,
    "string_type": _text,
    "string_pattern_mismatch": _pattern,
    "string_too_long": _size,
    "string_too_short": _size,
    "too_long": _size,
    "too_short": _size,
    "int_type": _whole,
    "int_from_float": _whole,
    "float_type": _typed("a number", "a number such as 0.5, without quotes"),
    "bool_type": _typed("true or false", "true or false, without quotes"),
    "tuple_type": _typed("a list", "a list such as [a, b]"),
    "list_type": _typed("a list", "a list such as [a, b]"),
    "dict_type": _mapping,
    "model_type": _mapping,
    "model_attributes_type": _mapping,
    "literal_error": _choice,
    "greater_than_equal": _range,
    "less_than_equal": _range,
    "value_error": _law,
}


def _place(root: Node, kind: str, steps: tuple[Step, ...], line: int) -> Position:
    if kind == "missing":
        return position_of(locate(root, steps[:-1]).heading, line)
    if steps and steps[-1] == "[key]":
        return position_of(locate(root, steps[:-1]).heading, line)
    place = locate(root, steps)
    return position_of(place.heading if kind == "extra_forbidden" or _points_at_key(place, kind) else place.value, line)


def _points_at_key(place: Place, kind: str) -> bool:
    """An empty value has no text to point at, and a rule about a whole mapping is best shown at its name."""
    empty = isinstance(place.value, ScalarNode) and not place.value.value and not place.value.style
    return empty or (kind == "value_error" and not isinstance(place.value, ScalarNode))


def _source(place: Place) -> str | None:
    plain = isinstance(place.value, ScalarNode) and not place.value.style
    return place.value.value if plain and place.found else None


def problem(error: Mapping[str, Any], model: type[BaseModel], root: Node, file: str, line: int) -> Problem:
    """One error of `ValidationError.errors()` as a problem of this file."""
    kind, steps = error["type"], tuple(error["loc"])
    case = Case(steps, error.get("ctx", {}), error["input"], _source(locate(root, steps)), model)
    sentence = _SENTENCES.get(kind)
    finding = sentence(case) if sentence else Finding("InvalidValue", error["msg"], "see the schema of this field")
    shown = steps[:-1] if steps and steps[-1] == "[key]" else steps
    return Problem(
        file, _place(root, kind, steps, line), spell(shown), finding.message, finding.fix, finding.reason, "schema"
    )
